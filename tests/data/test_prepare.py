"""Preparation as a whole, in a small world."""

import dataclasses
import re
import shutil

import numpy as np
import pytest

from data.config import DataConfig
from data.prepare import prepare_pretraining, prepare_sft, prepare_tokenizer

SIZE = {"steps": 16, "batch_size": 8}


@pytest.fixture(scope="module")
def filled_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def texts(tokenizer, mixture, source):
    """All segments of a source as text."""
    packed = mixture.sources[source].packed
    for row, segments in zip(packed.tokens, packed.segment_ids, strict=True):
        for segment in range(1, segments.max() + 1):
            yield tokenizer.decode(row[segments == segment])


def test_pretraining(small_library, config, task, filled_cache):
    prepared = prepare_pretraining(config, task, **SIZE, cache_dir=filled_cache)
    batches = prepared.batches
    mixture = batches.stream
    assert [source.name for source in mixture.sources] == [
        "docstrings",
        "problems",
        "bare_problems",
    ]
    assert abs(mixture.densities[0] - config.reasoning_density) <= 1 / config.block_size
    assert prepared.tokenizer.vocab_size == config.vocab_size
    alone = prepare_tokenizer(config, task, cache_dir=filled_cache)
    assert alone.model == prepared.tokenizer.model
    assert batches[0]["tokens"].shape == (8, config.sequence_length)
    assert len(list(texts(prepared.tokenizer, mixture, 1))) == config.num_problems
    for text in texts(prepared.tokenizer, mixture, 1):
        assert text.startswith("<problem>") and "<abstraction>" in text and "<answer>" in text
    assert not any("<abstraction>" in text for text in texts(prepared.tokenizer, mixture, 2))


def test_sft_is_on_other_problems(small_library, config, task, filled_cache):
    pretraining = prepare_pretraining(config, task, **SIZE, cache_dir=filled_cache)
    sft = prepare_sft(config, task, **SIZE, cache_dir=filled_cache)
    assert sft.tokenizer.model == pretraining.tokenizer.model

    def problems(mixture, source):
        found = texts(sft.tokenizer, mixture, source)
        return {text.partition("<abstraction>")[0].partition("<solution>")[0] for text in found}

    seen = problems(pretraining.batches.stream, 1)
    taught = problems(sft.abstraction.stream, 0)
    assert len(taught) == config.sft_problems and taught.isdisjoint(seen)
    assert problems(sft.solution.stream, 0) == problems(sft.solution.stream, 1) == taught
    shares = [row["token_share"] for row in sft.solution.stream.summary()]
    assert shares[1] == pytest.approx(config.bare_share, abs=1 / config.block_size)


def test_both_players_learn_from_one_erring_teacher_but_solutions_are_right(
    small_library, config, task, filled_cache
):
    sft = prepare_sft(config, task, **SIZE, cache_dir=filled_cache)

    def split(text):
        problem, _, rest = text.partition("<abstraction>")
        rule, _, solution = rest.partition("<solution>")
        return problem, rule.strip().split(" then "), re.findall(r" ([a-z].*?) -> ", solution)

    proposed = {
        problem: rule
        for problem, rule, _ in map(split, texts(sft.tokenizer, sft.abstraction.stream, 0))
    }
    solved = list(map(split, texts(sft.tokenizer, sft.solution.stream, 0)))
    assert {problem: rule for problem, rule, _ in solved} == proposed
    wrong = sum(rule != steps for _, rule, steps in solved)
    assert wrong == round(config.teacher_error * config.sft_problems)


def test_preparing_again_gives_the_same_and_touches_nothing(
    small_library, config, task, filled_cache
):
    first = prepare_pretraining(config, task, **SIZE, cache_dir=filled_cache).batches
    before = {path: path.stat().st_mtime_ns for path in filled_cache.rglob("*.npy")}
    second = prepare_pretraining(config, task, **SIZE, cache_dir=filled_cache).batches
    assert second.stream.fingerprint == first.stream.fingerprint
    assert {path: path.stat().st_mtime_ns for path in filled_cache.rglob("*.npy")} == before


def test_a_fresh_or_damaged_cache_gives_the_same_stream(
    small_library, config, task, filled_cache, tmp_path
):
    wanted = prepare_pretraining(config, task, **SIZE, cache_dir=filled_cache).batches
    copy = tmp_path / "copy"
    shutil.copytree(filled_cache, copy)
    next(copy.glob("docstrings-*/tokens.npy")).write_bytes(b"half")
    next(copy.glob("tokenizer-*/*.model")).unlink()
    next(copy.glob("rules-*/**/*.array_record*")).write_bytes(b"")
    found = prepare_pretraining(config, task, **SIZE, cache_dir=copy).batches
    assert found.stream.fingerprint == wanted.stream.fingerprint


def test_pure_mixtures(small_library, config, task, filled_cache):
    for density in (0.0, 1.0):
        settings = dataclasses.replace(config, reasoning_density=density)
        batches = prepare_pretraining(settings, task, **SIZE, cache_dir=filled_cache).batches
        assert batches.stream.densities == [density]
        sources = batches.stream.sources
        groups = {sources[index].is_reasoning for index in np.unique(batches[0]["source_id"])}
        assert groups == {density == 1.0}


def test_problems_that_do_not_fit_are_refused(small_library, config, task, filled_cache):
    short = dataclasses.replace(config, sequence_length=16)
    with pytest.raises(ValueError, match="source problems: document .* does not fit .* of 16"):
        prepare_pretraining(short, task, **SIZE, cache_dir=filled_cache)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reasoning_density": 1.2}, r"reasoning_density must lie in \[0, 1\]; got 1.2"),
        ({"teacher_error": -1}, r"teacher_error must lie in \[0, 1\]"),
        ({"num_problems": 0}, "num_problems must be at least 1"),
        ({"sequence_length": 1}, "sequence_length must be at least 2"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**change)
