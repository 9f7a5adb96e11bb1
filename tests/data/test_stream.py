"""The stream: exact shares in every block, any index without replay, and refused changes."""

import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.stream import Batches, BatchIterator, PackedSource, Stream, mix, rebased
from jaxreason.mixture import Document, Documents, StageSize, best_fit, positions_of
from jaxreason.model import ModelConfig, forward, init

LENGTH = 40


def source(name, size, num_documents, *, is_reasoning, **more):
    """A source of equally long documents, one a sequence; the first token names the document."""
    documents = Documents.join(
        Document(np.full(size, 1 + index, np.int32)) for index in range(num_documents)
    )
    packed = best_fit(documents, LENGTH)
    return PackedSource(name, packed, is_reasoning, num_documents=num_documents, **more)


SOURCES = (
    source("text", 2 * LENGTH // 4 + 1, 13, is_reasoning=False),
    source("proofs", LENGTH, 5, is_reasoning=True),
)


def stream(density=0.5, length=240, sources=SOURCES, **changes):
    settings = {"block_size": 30, "seed": 0} | changes
    return mix(sources, [StageSize(length, density)], **settings)


def test_shapes_and_types():
    rows = stream().rows(range(6))
    for name in ("tokens", "segment_ids", "positions"):
        assert rows[name].shape == (6, LENGTH) and rows[name].dtype == np.int32
    assert rows["loss_mask"].shape == (6, LENGTH) and rows["loss_mask"].dtype == bool
    for name in ("source_id", "pass_index", "stage"):
        assert rows[name].shape == (6,) and rows[name].dtype == np.int32


def test_a_stream_can_be_sent_to_another_process():
    batches = Batches(stream(), 6)
    batches[0]
    again = pickle.loads(pickle.dumps(batches))
    np.testing.assert_array_equal(again[3]["tokens"], batches[3]["tokens"])


def test_a_row_is_its_sources_row():
    rows = stream().rows(range(18, 24))
    for row, source_id in enumerate(rows["source_id"]):
        packed = SOURCES[source_id].packed
        matches = (packed.tokens == rows["tokens"][row]).all(axis=1)
        item = matches.argmax()
        assert matches.any()
        np.testing.assert_array_equal(rows["segment_ids"][row], packed.segment_ids[item])
        np.testing.assert_array_equal(rows["loss_mask"][row], packed.loss_mask[item])


@pytest.mark.parametrize(("density", "block"), [(0.5, 30), (0.01, 300), (0.99, 300), (0.001, 64)])
def test_every_block_of_the_stream_has_the_density_to_one_sequence(density, block):
    chosen = stream(density, length=40 * block, block_size=block)
    for number in range(40):
        rows = chosen.rows(range(number * block, (number + 1) * block))
        loss = rows["loss_mask"].sum(axis=1)
        reasoning = loss[rows["source_id"] == 1].sum()
        assert abs(reasoning - density * loss.sum()) <= LENGTH


@pytest.mark.parametrize("density", [0.001, 0.999])
def test_extreme_shares_are_exact_over_the_stream(density):
    rows = stream(density, length=20_000, block_size=64).rows(range(20_000))
    loss = rows["loss_mask"].sum(axis=1)
    reasoning = loss[rows["source_id"] == 1].sum()
    assert abs(reasoning - density * loss.sum()) <= LENGTH


@pytest.mark.parametrize("density", [0.2, 0.001, 0.999])
def test_shares_are_of_tokens_where_documents_are_twenty_times_as_long(density):
    # Documents of 30 and 600 tokens in sequences of 640: by documents, the share would be another.
    sources = [
        PackedSource(name, best_fit(documents, 640), name == "proofs", num_documents=number)
        for name, size, number in (("text", 30, 400), ("proofs", 600, 50))
        for documents in [Documents.join([Document(np.ones(size, np.int32))] * number)]
    ]
    block, blocks = 512, 8
    mixed = stream(density, length=block * blocks, sources=sources, block_size=block)
    loss, is_reasoning = np.zeros(len(mixed)), np.zeros(len(mixed), bool)
    for first in range(0, len(mixed), block):
        rows = mixed.rows(range(first, first + block))
        loss[first : first + block] = rows["loss_mask"].sum(axis=1)
        is_reasoning[first : first + block] = rows["source_id"] == 1
    reasoning = (loss * is_reasoning).reshape(blocks, block).sum(axis=1)
    off = reasoning - density * loss.reshape(blocks, block).sum(axis=1)
    assert np.abs(off).max() <= 640 and abs(off.sum()) <= 640


def test_stages_begin_and_end_where_they_should():
    staged = mix(SOURCES, [StageSize(60, 0.0), StageSize(40, 0.5)], block_size=16, seed=0)
    rows = staged.rows(range(100))
    np.testing.assert_array_equal(rows["stage"], np.arange(100) >= 60)
    assert not rows["source_id"][:60].any() and rows["source_id"][60:].any()
    assert staged.densities[0] == 0 and abs(staged.densities[1] - 0.5) < 1 / 40


def test_resuming_anywhere_gives_the_same_stream():
    batches = Batches(stream(), 6)
    whole = list(BatchIterator(batches))
    assert len(whole) == len(batches) == 40
    for step in range(len(batches)):
        resumed = BatchIterator(batches)
        resumed.set_state({**BatchIterator(batches).get_state(), "sequences": step * 6})
        for name, array in next(resumed).items():
            np.testing.assert_array_equal(array, whole[step][name])


def test_a_state_follows_the_reading_and_fits_other_batch_sizes():
    small, large = BatchIterator(Batches(stream(), 6)), BatchIterator(Batches(stream(), 12))
    for _ in range(4):
        next(small)
    state = json.loads(json.dumps(small.get_state()))
    assert state["sequences"] == 24
    large.set_state(state)
    tokens = np.concatenate([next(small)["tokens"], next(small)["tokens"]])
    np.testing.assert_array_equal(next(large)["tokens"], tokens)
    with pytest.raises(ValueError, match="24 sequences were read, which is no whole number of"):
        BatchIterator(Batches(stream(), 7)).set_state(state)


def test_grains_checkpoints_take_the_iterator(tmp_path):
    iterator, other = BatchIterator(Batches(stream(), 6)), BatchIterator(Batches(stream(), 6))
    next(iterator)
    handler = grain.checkpoint.CheckpointHandler()
    handler.save(tmp_path, iterator)
    handler.restore(tmp_path, other)
    np.testing.assert_array_equal(next(other)["tokens"], next(iterator)["tokens"])


def test_a_changed_stream_is_refused_and_told_apart():
    state = BatchIterator(Batches(stream(), 6)).get_state()
    changes = {"seed": "seed was 0, is 1", "block_size": "block_size was 30, is 31"}
    for name, message in changes.items():
        changed = stream(**{name: 1 + {"seed": 0, "block_size": 30}[name]})
        with pytest.raises(ValueError, match=f"not the one that was read: .*{message}"):
            BatchIterator(Batches(changed, 6)).set_state(state)
    with pytest.raises(ValueError, match=r"stages was .*, is"):
        BatchIterator(Batches(stream(0.4), 6)).set_state(state)
    other = (SOURCES[0], source("proofs", LENGTH - 1, 5, is_reasoning=True))
    with pytest.raises(ValueError, match=r"sources\.proofs was"):
        BatchIterator(Batches(stream(sources=other), 6)).set_state(state)


def test_a_changed_mixture_goes_on_with_nothing_lost_or_repeated():
    old, new = stream(0.5), stream(0.2, sources=SOURCES[::-1], length=120)
    going_on = rebased(old, 90, new)
    first, second = old.rows(range(90)), going_on.rows(range(120))
    for name, size in (("text", 13), ("proofs", 5)):
        parts = []
        for rows, sources in ((first, old.sources), (second, going_on.sources)):
            index = [source.name for source in sources].index(name)
            parts.append(rows["tokens"][rows["source_id"] == index, 0])
        read = np.concatenate(parts)
        for start in range(0, len(read) - size, size):
            assert sorted(read[start : start + size]) == list(range(1, size + 1))
    other = (source("text", 30, 13, is_reasoning=False), SOURCES[1])
    with pytest.raises(ValueError, match="source text has other contents now"):
        rebased(old, 90, stream(sources=other))


def test_a_source_that_is_left_out_keeps_its_place_if_it_stays_in_the_stream():
    old = stream(0.5)
    quiet = rebased(old, 90, stream(0.0, length=60))
    back = rebased(quiet, 60, stream(0.5, length=60))
    parts = old.rows(range(90)), quiet.rows(range(60)), back.rows(range(60))
    read = np.concatenate([rows["tokens"][rows["source_id"] == 1, 0] for rows in parts])
    for start in range(0, len(read) - 5, 5):
        assert sorted(read[start : start + 5]) == [1, 2, 3, 4, 5]
    state = BatchIterator(Batches(back, 6)).get_state()
    with pytest.raises(ValueError, match=r"cursors was \[\d+, \d+\], is \[\]"):
        BatchIterator(Batches(stream(0.5, length=60), 6)).set_state(json.loads(json.dumps(state)))


@pytest.mark.parametrize("num_processes", [2, 4])
def test_any_number_of_processes_reads_one_global_stream(num_processes, tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np\n"
        "from test_stream import Batches, BatchIterator, stream\n"
        "own = Batches(stream(), 8, process=int(sys.argv[2]), num_processes=int(sys.argv[3]))\n"
        "np.save(sys.argv[4], np.stack([batch['tokens'] for batch in BatchIterator(own)]))\n"
    )
    here = str(Path(__file__).parent)
    files = [tmp_path / f"{process}.npy" for process in range(num_processes)]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, here, str(process), str(num_processes), str(file)]
        )
        for process, file in enumerate(files)
    ]
    assert [process.wait(timeout=300) for process in started] == [0] * num_processes
    parts = np.concatenate([np.load(file) for file in files], axis=1)
    alone = [batch["tokens"] for batch in BatchIterator(Batches(stream(), 8))]
    np.testing.assert_array_equal(parts, alone)
    np.testing.assert_array_equal(parts.reshape(240, LENGTH), stream().rows(range(240))["tokens"])


def test_processes_that_do_not_fit_are_refused():
    for settings in ({"num_processes": 4}, {"process": 2, "num_processes": 2}):
        with pytest.raises(ValueError, match="positive multiple of num_processes"):
            Batches(stream(), 6, **settings)
    with pytest.raises(ValueError, match="less than one batch of 300"):
        Batches(stream(), 300)
    with pytest.raises(IndexError, match="batches run from 0 to 39; got 40"):
        Batches(stream(), 6)[40]


def test_the_fingerprint_is_of_contents_not_of_types():
    packed = SOURCES[0].packed
    narrow = dataclasses.replace(packed, tokens=packed.tokens.astype(np.uint16))
    again = PackedSource("text", narrow, False, num_documents=13)
    assert stream(sources=(again, SOURCES[1])).fingerprint == stream().fingerprint
    other = dataclasses.replace(packed, tokens=packed.tokens + 1)
    changed = PackedSource("text", other, False, num_documents=13)
    assert stream(sources=(changed, SOURCES[1])).fingerprint != stream().fingerprint


def test_summary_by_hand():
    # Text: 13 sequences of 21 tokens of 40, 20 of them with loss; proofs: 5 of 40, 39 with loss.
    # Half of the tokens: 20 n = 39 (30 - n) at n = 19.8, so 20 and 10 of 30.
    chosen = stream(length=30)
    text, proofs = chosen.summary()
    assert text == {
        "source": "text",
        "group": "base",
        "documents": 13,
        "tokens": 13 * 21,
        "sequences": 13,
        "padding": pytest.approx(19 / 40),
        "token_share": pytest.approx(400 / 790),
        "passes": pytest.approx(20 / 13),
    }
    assert proofs["token_share"] == pytest.approx(chosen.densities[0]) == pytest.approx(390 / 790)
    assert proofs["passes"] == pytest.approx(10 / 5)


def test_impossible_streams_are_refused():
    silent = Documents.join([Document(np.ones(3, np.int32), prompt_length=3)])
    with pytest.raises(ValueError, match="source silent is empty"):
        PackedSource("silent", best_fit(silent, 4), True, num_documents=1)
    short = PackedSource(
        "short", best_fit(Documents.join([Document(np.ones(3, np.int32))]), 4), False, 1
    )
    with pytest.raises(ValueError, match="one sequence length"):
        stream(sources=(short, SOURCES[1]))
    with pytest.raises(ValueError, match="the schedule is of sources"):
        Stream(SOURCES[::-1], stream().schedule)
    with pytest.raises(IndexError, match="run from 0 to 239"):
        stream().rows([240])


def test_documents_of_a_sequence_do_not_see_each_other():
    # Segment ids isolate, not positions: change the first document, and the second one's logits
    # stay equal to the bit.
    config = ModelConfig(vocab_size=64, dim=16, num_layers=2, num_heads=2, num_kv_heads=1)
    params = init(config, jax.random.key(0))
    documents = Documents.join(Document(np.arange(1, size, dtype=np.int32)) for size in (9, 7))
    packed = best_fit(documents, 20)
    segment_ids = jnp.asarray(packed.segment_ids)
    positions = jnp.asarray(positions_of(packed.segment_ids))

    def logits(tokens):
        tokens = jnp.asarray(tokens)
        return forward(config, params, tokens, positions=positions, segment_ids=segment_ids)

    changed = packed.tokens + 20 * (packed.segment_ids == 1)
    before, after = logits(packed.tokens), logits(changed)
    second = packed.segment_ids[0] == 2
    np.testing.assert_array_equal(before[0, second], after[0, second])
    assert (np.asarray(before[0, ~second]) != np.asarray(after[0, ~second])).any()
