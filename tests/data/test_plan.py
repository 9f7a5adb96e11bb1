"""Plans: the sizes that packing gives, caps whose numbers are true, and passes that are matched."""

import dataclasses
import re
import time
import tracemalloc

import numpy as np
import pytest

import data.plan
from data.build import open_stream
from data.inventory import take_inventory
from data.mixture_config import MixtureConfig, Source, Stage
from data.plan import plan, print_plan
from data.readers import Files
from data.selection import Selection, select
from data.tokenized import TokenizedSource
from jaxreason.mixture import Documents

LENGTH = 64


@pytest.fixture(scope="session")
def planned(mixture_cache):
    """Plans a mixture of the corpus."""

    def make(config):
        return plan(config, take_inventory(config, mixture_cache).selections())

    return make


def row(made, name):
    return next(row for row in made.rows() if row["source"] == name)


@pytest.mark.parametrize("packing", ["best_fit", "cut"])
@pytest.mark.parametrize("overlong", ["split", "truncate", "drop"])
def test_what_is_planned_is_what_is_built_to_the_token(
    mixture, planned, mixture_cache, packing, overlong
):
    settings = dict.fromkeys(("text", "math"), {"packing": packing, "overlong": overlong})
    config = mixture(settings=settings)
    made, stream = planned(config), open_stream(config, mixture_cache).stream
    for source, built in zip(made.sources, stream.sources, strict=True):
        assert source.num_sequences == len(built.packed.tokens)
        assert source.loss_tokens == built.packed.loss_mask.sum()
    assert stream.schedule.stages == made.allocation.sequences
    assert stream.densities == made.densities
    for expected, built in zip(made.rows(), stream.summary(), strict=True):
        assert expected["share"] == built["token_share"] and expected["passes"] == built["passes"]


def test_after_whole_passes_the_tokens_read_are_those_planned(mixture, planned, mixture_cache):
    sizes = {source.config.name: source.num_sequences for source in planned(mixture()).sources}
    stages = ((2 * sizes["text"] * LENGTH, 0.0), (3 * sizes["math"] * LENGTH, 1.0))
    config = mixture(stages=stages)
    made, stream = planned(config), open_stream(config, mixture_cache).stream
    rows = stream.rows(range(len(stream)))
    loss = np.bincount(rows["source_id"], weights=rows["loss_mask"].sum(axis=1))
    assert [row["given"] for row in made.rows()] == loss.tolist()
    assert [row["share"] for row in made.rows()] == (loss / loss.sum()).tolist()
    assert [row["passes"] for row in made.rows()] == [2, 3]


def test_stages_have_exactly_their_length(mixture, planned):
    made = planned(mixture(stages=((LENGTH * 40, 0.1), (LENGTH * 23 + 31, 0.5), (20, 0.0))))
    assert made.stage_sequences == [40, 23, 1]
    assert sum(row["sequences"] for row in made.rows()) == 64


def capped(mixture, **changes):
    """Math may be passed through half of once, which is not enough for its half of half of all."""
    settings = {"math": {"max_passes": 0.5}, "logic": {"max_passes": 50}}
    return mixture("text", "math", "logic", stages=((9600, 0.5),), settings=settings, **changes)


def with_max_passes(config, name, passes):
    changed = [
        dataclasses.replace(source, max_passes=passes) if source.name == name else source
        for source in config.sources
    ]
    return dataclasses.replace(config, sources=tuple(changed))


def with_sequences(config, number):
    stage = Stage(number * LENGTH, config.stages[0].reasoning_token_share)
    return dataclasses.replace(config, stages=(stage,))


def test_the_numbers_of_a_cap_that_binds_are_true(mixture, planned):
    config = capped(mixture)
    with pytest.raises(
        ValueError, match="source math would be passed through .* 64 tokens"
    ) as told:
        planned(config)
    numbers = r"a stream of (\d+) sequences of the (\d+); raise max_passes to ([\d.]+) for math"
    attainable, asked, cap = re.search(numbers, str(told.value)).groups()
    assert int(asked) == 150
    assert planned(with_sequences(config, int(attainable))).stage_sequences == [int(attainable)]
    with pytest.raises(ValueError, match="source math would be passed through"):
        planned(with_sequences(config, int(attainable) + 1))
    assert planned(with_max_passes(config, "math", float(cap))).stage_sequences == [150]
    with pytest.raises(ValueError, match="source math would be passed through"):
        planned(with_max_passes(config, "math", float(cap) - 0.01))


def test_shrinking_keeps_shares_and_says_what_was_asked_for(mixture, planned, capsys):
    made, free = planned(capped(mixture, on_cap="shrink")), planned(capped_at_will(mixture))
    math = next(s for s in made.sources if s.config.name == "math")
    assert row(made, "math")["sequences"] == math.num_sequences // 2
    assert row(made, "math")["capped"] == "yes" and row(made, "text")["capped"] == ""
    for name in ("text", "math", "logic"):
        assert row(made, name)["requested"] == row(free, name)["requested"]
        assert row(made, name)["share"] == pytest.approx(row(free, name)["share"], abs=0.01)
    print_plan(made)
    assert f"shrank every stage to {made.allocation.scale:.1%}" in capsys.readouterr().out


def capped_at_will(mixture):
    return with_max_passes(capped(mixture), "math", 50)


def test_redistribution_keeps_length_and_density(mixture, planned):
    made, free = planned(capped(mixture, on_cap="redistribute")), planned(capped_at_will(mixture))
    assert made.stage_sequences == free.stage_sequences == [150]
    off = abs(made.densities[0] - 0.5) * sum(row["given"] for row in made.rows())
    assert off <= LENGTH
    assert row(made, "math")["passes"] <= 0.5
    assert row(made, "math")["given"] < row(made, "math")["requested"]
    assert row(made, "logic")["given"] > row(made, "logic")["requested"]
    assert [row["capped"] for row in made.rows()] == ["", "yes", ""]


def test_a_group_that_can_not_make_up_for_a_cap_is_refused(mixture, planned):
    settings = {"math": {"max_passes": 0.5}}
    config = mixture(stages=((9600, 0.5),), settings=settings, on_cap="redistribute")
    with pytest.raises(ValueError, match="source math can give no more than max_passes allow"):
        planned(config)


@pytest.mark.parametrize("packing", ["best_fit", "cut"])
@pytest.mark.parametrize("target", [1, 1.3, 2.5, 4, 12])
def test_passes_are_matched_to_one_sequence(mixture, planned, packing, target):
    settings = {"math": {"match_passes": target, "packing": packing, "corrupted_share": 0.3}}
    made = planned(mixture(stages=((3840, 0.0), (10_000, 0.3)), settings=settings))
    taken = row(made, "math")
    source = next(source for source in made.sources if source.config.name == "math")
    assert abs(taken["sequences"] / target - source.num_sequences) <= 1
    assert taken["documents"] < 80
    np.testing.assert_array_equal(
        source.selection.chosen, source.available.chosen[: taken["documents"]]
    )


def test_several_sources_are_matched_at_once(mixture, planned):
    targets = {"text": 3.0, "code": 2.0, "math": 5.0, "logic": 1.5}
    settings = {name: {"match_passes": target} for name, target in targets.items()}
    made = planned(mixture(*targets, stages=((6400, 0.2),), settings=settings))
    for source, found in zip(made.sources, made.rows(), strict=True):
        wanted = found["sequences"] / targets[source.config.name]
        assert abs(wanted - source.num_sequences) <= 1


def test_where_documents_are_longer_than_sequences_the_nearest_is_taken(mixture, planned):
    settings = {"text": {"match_passes": 2.0}}
    made = planned(mixture("text", stages=((16 * 60, 0.0),), settings=settings, sequence_length=16))
    (source,) = made.sources
    assert abs(30 - source.num_sequences) <= 136 / 16 / 2 + 1


def test_a_source_too_small_to_be_passed_so_seldom_is_refused(mixture, planned):
    def matched(target):
        return mixture(stages=((20_000, 0.5),), settings={"math": {"match_passes": target}})

    with pytest.raises(ValueError, match="all of its 80 documents .* raise match_passes") as told:
        planned(matched(0.5))
    target = float(re.search(r"match_passes to ([\d.]+), or ask", str(told.value)).group(1))
    assert row(planned(matched(target)), "math")["documents"] == 80
    with pytest.raises(ValueError, match="source math is too small for match_passes"):
        planned(matched(0.95 * target))


def test_passes_that_do_not_settle_are_refused(mixture, planned, monkeypatch):
    monkeypatch.setattr(data.plan, "MATCHING_ROUNDS", 1)
    with pytest.raises(ValueError, match="match_passes can't be met, since fewer documents"):
        planned(mixture(settings={"math": {"match_passes": 4.0}}))


@pytest.mark.parametrize("overlong", ["split", "truncate", "drop"])
def test_overlong_documents_are_counted(mixture, planned, mixture_cache, overlong):
    config = mixture(settings={"math": {"overlong": overlong}}, sequence_length=32)
    lengths = take_inventory(config, mixture_cache).sources[1].documents.lengths
    found = row(planned(config), "math")
    assert found["overlong"] == (lengths > 32).sum() > 40
    left = {"split": lengths, "truncate": np.minimum(lengths, 32), "drop": lengths[lengths <= 32]}
    assert found["tokens lost"] == lengths.sum() - left[overlong].sum()
    assert row(planned(config), "text")["overlong"] > 0  # cut, and nothing is lost
    assert row(planned(config), "text")["tokens lost"] == 0


def test_overlong_documents_are_refused_where_asked(mixture, planned):
    config = mixture(settings={"math": {"overlong": "error"}}, sequence_length=32)
    with pytest.raises(ValueError, match="source math: .* of 80 documents do not fit 32 tokens"):
        planned(config)
    config = mixture(settings={"math": {"overlong": "drop"}}, sequence_length=4)
    with pytest.raises(ValueError, match="every document of source math is longer than 4 tokens"):
        planned(config)


def huge(name: str, path) -> Selection:
    """A selection of 200,000 documents of 5,000 tokens in a file that takes no room."""
    path.touch()
    with path.open("r+b") as file:
        file.truncate(2 * 10**9)
    number = 200_000
    zeros = np.zeros(number, np.int64)
    documents = Documents(
        np.memmap(path, np.uint16, mode="r"), np.arange(1, number + 1) * 5000, zeros, zeros
    )
    source = TokenizedSource(
        name, documents, zeros, ("",), zeros, np.arange(number, dtype=np.uint64), zeros, {}, name
    )
    return select(source, Source(name, Files("unread")), 0, set())


@pytest.mark.parametrize("packing", ["best_fit", "cut"])
def test_a_plan_of_a_billion_tokens_reads_none_of_them(tmp_path, packing):
    source = Source("huge", Files("unread"), packing=packing, max_passes=2)
    config = MixtureConfig((source,), (Stage(10**9, 0.0),))
    selection = huge("huge", tmp_path / "tokens.bin")
    tracemalloc.start()
    start = time.perf_counter()
    made = plan(config, [selection])
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made.sources[0].loss_tokens > 0.99 * 10**9
    assert seconds < 5 and peak < 150e6
