"""The audit finds what was planned, and every fault that is put into a stream on purpose."""

import dataclasses
import re

import matplotlib.image
import numpy as np
import pytest

from data.audit import audit, main, report, windows
from data.audit_figure import draw
from data.build import open_stream
from data.stream import PackedSource, Stream, mix
from jaxreason.mixture import Document, Documents, Packed, StageSize, best_fit, concatenate_and_cut

EOS, LENGTH = 2, 64


def documents(number, size, first, prompt=3):
    """Documents of different tokens that end in the end of sequence."""
    tokens = (np.r_[first + index * size + np.arange(size - 1), EOS] for index in range(number))
    return Documents.join(Document(each.astype(np.int32), prompt, 2) for each in tokens)


TEXT = concatenate_and_cut(documents(200, 50, 100, prompt=0), LENGTH)
MATH = best_fit(documents(90, 20, 50_000), LENGTH)


def source(name, packed, **more):
    return PackedSource(name, packed, name == "math", num_documents=1, **more)


def stream_of(*packed, density=0.25, length=320):
    names = ("text", "math", "more")
    sources = [source(*pair) for pair in zip(names, packed, strict=False)]
    return mix(sources, [StageSize(length, density)], block_size=16, seed=0)


def found(stream, density=0.25):
    return audit(stream, EOS, [density])


def row(result, name):
    return next(row for row in result.rows if row["source"] == name)


def changed(packed, **arrays):
    """The same sequences with arrays changed by functions, in place."""
    copies = {name: array.copy() for name, array in vars(packed).items()}
    for name, change in arrays.items():
        change(copies[name])
    return Packed(**copies)


def test_a_sound_stream_has_no_faults():
    stream = stream_of(TEXT, MATH)
    result = found(stream)
    for expected in stream.summary():
        seen = row(result, expected["source"])
        assert seen["passes"] == expected["passes"]
        assert seen["share"] == pytest.approx(expected["token_share"], abs=0.005)
        assert seen["planned"] == expected["token_share"]
        assert seen["repeated"] == seen["mask errors"] == seen["shared"] == 0
    assert row(result, "math")["cut"] == 0
    assert result.sequences_off.max() < 1.1
    assert result.passes[-1].tolist() == [each["passes"] for each in stream.summary()]


def test_whole_passes_are_counted_to_the_token():
    stream = mix(
        [source("text", TEXT)], [StageSize(2 * len(TEXT.tokens), 0.0)], block_size=9, seed=0
    )
    result = audit(stream, EOS, [0.0])
    (seen,), (expected,) = result.rows, stream.summary()
    assert seen["tokens"] == 2 * expected["tokens"] and seen["passes"] == 2
    assert seen["padding"] == expected["padding"]
    # 200 documents of 50 tokens over edges of 64: every document that no edge falls on is whole.
    edges = np.arange(64, 200 * 50, 64)
    cuts = np.count_nonzero(edges % 50)
    assert seen["pieces"] == 2 * (200 + cuts) and seen["cut"] == 2 * cuts
    assert seen["distinct"] == 200 + cuts
    assert result.loss.sum() == 2 * TEXT.loss_mask.sum() and not result.reasoning.any()


def test_what_was_built_is_what_is_found(mixture, mixture_cache):
    built = open_stream(mixture("text", "code", "math", "logic"), mixture_cache)
    result = audit(built.stream, built.tokenizer.eos_id, [0.0, 0.25])
    for expected in built.stream.summary():
        seen = row(result, expected["source"])
        assert seen["passes"] == expected["passes"]
        assert seen["share"] == pytest.approx(expected["token_share"], abs=0.02)
        assert seen["repeated"] == seen["mask errors"] == 0
    assert row(result, "text")["cut"] > 0
    assert not result.reasoning[result.planned == 0].any()


@pytest.mark.parametrize("place", [0, 20])
def test_a_document_that_stands_in_a_source_twice_is_found(place):
    def copy(tokens):
        tokens[7, place : place + 20] = tokens[3, place : place + 20]

    result = found(stream_of(TEXT, changed(MATH, tokens=copy), length=400))
    assert row(result, "math")["passes"] >= 2
    assert row(result, "math")["repeated"] == int(row(result, "math")["passes"])
    assert row(result, "text")["repeated"] == 0


def test_short_ends_of_cut_documents_that_agree_are_no_duplicates():
    def agree(tokens):
        tokens[:] = np.where(TEXT.segment_ids == 1, 7, tokens)  # what a sequence goes on with
        tokens[:, -1] = 8  # how the last one begins

    ends = (TEXT.segment_ids == 1).sum(axis=1)
    assert (ends < 32).any() and len(set(ends[ends < 32].tolist())) < (ends < 32).sum()
    long = len(ends[ends >= 32]) - len(set(ends[ends >= 32].tolist()))
    stream = mix(
        [source("text", changed(TEXT, tokens=agree))], [StageSize(157, 0.0)], block_size=9, seed=0
    )
    assert row(audit(stream, EOS, [0.0]), "text")["repeated"] == long


def test_a_sequence_that_stands_in_a_source_twice_is_found():
    def copy(array):
        array[7] = array[3]

    twice = changed(TEXT, tokens=copy, segment_ids=copy, loss_mask=copy)
    stream = stream_of(twice, MATH)
    where = stream.rows(range(len(stream)))
    passes = where["pass_index"][
        (where["source_id"] == 0) & (where["tokens"] == TEXT.tokens[3]).all(1)
    ]
    again = len(passes) - len(set(passes.tolist()))
    assert again >= 1
    assert row(found(stream), "text")["repeated"] >= again


def mask_first(loss_mask):
    loss_mask[5, 20] = True


def mask_padding(loss_mask):
    loss_mask[5, 60:] = True


def mask_hole(loss_mask):
    loss_mask[5, 30] = False


@pytest.mark.parametrize(("change", "errors"), [(mask_first, 1), (mask_padding, 4), (mask_hole, 1)])
def test_a_wrong_mask_is_found(change, errors):
    stream = stream_of(TEXT, changed(MATH, loss_mask=change))
    rows = stream.rows(range(len(stream)))
    times = (rows["tokens"] == MATH.tokens[5]).all(axis=1).sum()
    assert times >= 1
    assert row(found(stream), "math")["mask errors"] == errors * times


def test_loss_on_prompts_shows_in_the_shares():
    def all_but_firsts(loss_mask):
        loss_mask |= (MATH.segment_ids > 0) & (np.arange(LENGTH) % 20 > 0)

    sound = source("math", MATH)
    wrong = changed(MATH, loss_mask=all_but_firsts)
    planned = dataclasses.replace(sound, packed=wrong)  # with the tokens that were planned
    sources = [source("text", TEXT), planned]
    result = found(mix(sources, [StageSize(320, 0.25)], block_size=16, seed=0))
    assert row(result, "math")["share"] > row(result, "math")["planned"] + 0.01
    assert result.density.mean() > 0.26


def test_a_document_that_was_cut_is_found():
    def cut(tokens):
        tokens[4, 39] = 77  # instead of the end of sequence

    stream = stream_of(TEXT, changed(MATH, tokens=cut))
    rows = stream.rows(range(len(stream)))
    times = (rows["tokens"][:, :39] == MATH.tokens[4, :39]).all(axis=1).sum()
    assert row(found(stream), "math")["cut"] == times >= 1


def test_a_document_that_two_sources_have_is_found():
    def borrow(tokens):
        tokens[0, 20:40] = MATH.tokens[3, 20:40]

    more = changed(best_fit(documents(30, 20, 90_000), LENGTH), tokens=borrow)
    result = found(stream_of(TEXT, MATH, more, length=600))
    assert [row(result, name)["shared"] for name in ("text", "math", "more")] == [0, 1, 1]


def test_another_density_than_asked_for_is_found():
    stream = stream_of(TEXT, MATH, density=0.25)
    result = found(stream, density=0.5)
    assert result.sequences_off.min() > 2 and (result.planned == 0.5).all()
    stages = ((150, 10), (90, 70))  # the reasoning is not spread as asked for
    schedule = dataclasses.replace(stream.schedule, stages=stages)
    result = audit(Stream(stream.sources, schedule), EOS, [0.25, 0.25])
    assert result.density[0] < 0.1 < 0.35 < result.density[-1]


def test_windows_are_whole_blocks_of_one_stage():
    stream = mix(
        [source("text", TEXT), source("math", MATH)],
        [StageSize(1000, 0.0), StageSize(50, 0.5)],
        block_size=2,
        seed=0,
    )
    found = windows(stream)  # 525 blocks: windows of 3
    assert found[0] == (0, 6) and found[166] == (996, 1000) and found[167] == (1000, 1006)
    assert [end for _, end in found[:-1]] == [start for start, _ in found[1:]]
    assert found[-1] == (1048, 1050)


def test_the_report_says_how_far_the_density_is_off():
    text = report(found(stream_of(TEXT, MATH)))
    assert re.search(
        r"20 windows of up to 16 sequences: their density is off by \d\.\d\d seq", text
    )
    header = text.splitlines()[0].split()
    assert {"share", "planned", "passes", "repeated", "cut", "padding"} <= set(header)


def test_the_picture_is_drawn(tmp_path):
    result = found(stream_of(TEXT, MATH))
    draw(tmp_path / "audit.png", result, ["text", "math"])
    picture = matplotlib.image.imread(tmp_path / "audit.png")
    assert picture.shape[:2] == (720, 1080) and picture[..., :3].std() > 0.01
    with pytest.raises(ValueError, match=r"the picture .*no folder/audit\.png can't be written"):
        draw(tmp_path / "no folder" / "audit.png", result, ["text", "math"])


def test_the_program_prints_and_draws(mixture, mixture_cache, tmp_path, capsys):
    main(mixture(), mixture_cache, tmp_path / "audit.svg")
    printed = capsys.readouterr().out
    assert "text" in printed and "math" in printed and f"Wrote {tmp_path / 'audit.svg'}" in printed
    assert (tmp_path / "audit.svg").read_text().count("million tokens") == 1
