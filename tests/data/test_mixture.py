"""The input pipeline: exact shares in every block, and any step without replay."""

import numpy as np
import pytest

from data.mixture import MAX_SEQUENCES, PackedMixture, PackedSource
from jaxreason.mixture import Document, best_fit

LENGTH = 40


def source(name, size, num_documents, *, is_reasoning, weight=1.0):
    """A source of equally long documents, one a sequence; the first token names the document."""
    documents = [
        Document(np.full(size, 1 + index, np.int32), np.ones(size, bool))
        for index in range(num_documents)
    ]
    packed = best_fit(documents, LENGTH)
    return PackedSource(name, packed, is_reasoning, num_documents=num_documents, weight=weight)


def mixture(density=0.5, batch_size=6, **changes):
    sources = [
        source("text", 2 * LENGTH // 4 + 1, 13, is_reasoning=False),
        source("proofs", LENGTH, 5, is_reasoning=True),
    ]
    settings = {"block_size": 30, "seed": 0} | changes
    return PackedMixture(sources, density=density, batch_size=batch_size, **settings)


def test_batch_shapes_and_types():
    batch = mixture().batch(0)
    for name in ("tokens", "segment_ids", "positions"):
        assert batch[name].shape == (6, LENGTH) and batch[name].dtype == np.int32
    assert batch["loss_mask"].shape == (6, LENGTH) and batch["loss_mask"].dtype == bool
    assert batch["source_id"].shape == (6,)


def test_a_row_is_its_sources_row():
    stream = mixture()
    batch = stream.batch(3)
    for row, source_id in enumerate(batch["source_id"]):
        packed = stream.sources[source_id].packed
        item = batch["tokens"][row, 0] - packed.tokens[:, 0].min()
        matches = (packed.tokens == batch["tokens"][row]).all(axis=1)
        assert matches.any(), item
        np.testing.assert_array_equal(
            batch["segment_ids"][row], packed.segment_ids[matches.argmax()]
        )


@pytest.mark.parametrize(("density", "block_size"), [(0.5, 30), (0.01, 300), (0.99, 300)])
def test_every_block_of_the_stream_has_the_density(density, block_size):
    stream = mixture(density, batch_size=block_size // 3, block_size=block_size)
    for block in range(3):
        batches = [stream.batch(3 * block + part) for part in range(3)]
        loss = np.concatenate([batch["loss_mask"].sum(axis=1) for batch in batches])
        source_id = np.concatenate([batch["source_id"] for batch in batches])
        realised = loss[source_id == 1].sum() / loss.sum()
        assert realised == pytest.approx(stream.density)
        assert abs(realised - density) * loss.sum() <= LENGTH


def test_resuming_anywhere_gives_the_same_stream():
    stream, again = mixture(), mixture()
    whole = stream.iterate()
    batches = [next(whole) for _ in range(8)]
    for step in range(8):
        resumed = next(again.iterate(step))
        for name, array in batches[step].items():
            np.testing.assert_array_equal(resumed[name], array)


def test_batch_size_does_not_change_the_stream():
    small, large = mixture(batch_size=4), mixture(batch_size=12)
    parts = [small.batch(step)["tokens"] for step in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), large.batch(0)["tokens"])


def test_the_fingerprint_tells_streams_apart():
    prints = [
        mixture().fingerprint,
        mixture(seed=1).fingerprint,
        mixture(batch_size=7).fingerprint,
        mixture(density=0.4).fingerprint,
    ]
    assert len(set(prints)) == 4
    assert mixture().fingerprint == prints[0]

    other = mixture()
    other.sources[0].packed.tokens[0, 0] += 1
    assert other.fingerprint != prints[0]


def test_summary_by_hand():
    # Text: 13 sequences of 21 tokens of 40, 20 of them with loss; proofs: 5 of 40, 39 with loss.
    # Half of the tokens: 20 n = 39 (30 - n) at n = 19.8, so 20 and 10 in a block of 30.
    stream = mixture()
    text, proofs = stream.summary(num_steps=50)
    assert text == {
        "source": "text",
        "group": "base",
        "documents": 13,
        "tokens": 13 * 21,
        "sequences": 13,
        "padding": pytest.approx(19 / 40),
        "token_share": pytest.approx(400 / 790),
        "passes": pytest.approx(10 * 20 / 13),
    }
    assert proofs["token_share"] == pytest.approx(stream.density) == pytest.approx(390 / 790)
    assert proofs["passes"] == pytest.approx(10 * 10 / 5)


def test_impossible_mixtures_are_refused():
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        mixture(batch_size=0)
    with pytest.raises(ValueError, match="density must lie in"):
        mixture(density=2.0)
    with pytest.raises(ValueError, match="step must be from 0 to"):
        mixture().batch(MAX_SEQUENCES // 6)
    with pytest.raises(ValueError, match="step must be from 0 to"):
        mixture().batch(-1)
    silent = Document(np.ones(3, np.int32), np.zeros(3, bool))
    with pytest.raises(ValueError, match="source silent is empty"):
        PackedSource("silent", best_fit([silent], 4), True, num_documents=1)
    short = PackedSource(
        "short",
        best_fit([Document(np.ones(3, np.int32), np.ones(3, bool))], 4),
        False,
        num_documents=1,
    )
    with pytest.raises(ValueError, match="one sequence length"):
        PackedMixture(
            [short, source("long", 9, 1, is_reasoning=True)],
            density=0.5,
            block_size=4,
            batch_size=2,
            seed=0,
        )
