"""What a mixture may be: defaults, and mistakes told before anything is read."""

import dataclasses
import math

import pytest

from data.mixture_config import MixtureConfig, Source, Stage, TokenizerConfig, sequences_of
from data.readers import Docstrings, Files, HuggingFaceFolder, Tfds, WordProblems

READ = Files("nowhere.jsonl")
WEB = Source("web", READ)


def mixture(**settings):
    return MixtureConfig(**({"sources": (WEB,), "stages": (Stage(1000, 0.0),)} | settings))


def test_base_text_is_cut_and_reasoning_stays_whole_unless_told_otherwise():
    assert not WEB.is_reasoning and not WEB.packs_whole
    math_source = Source("math", READ, "gsm8k", "reasoning")
    assert math_source.is_reasoning and math_source.packs_whole
    assert not dataclasses.replace(math_source, packing="cut").packs_whole
    assert dataclasses.replace(WEB, packing="best_fit").packs_whole


@pytest.mark.parametrize(
    "read", [READ, HuggingFaceFolder("x"), Docstrings(), Tfds("gsm8k"), WordProblems()]
)
def test_a_source_reads_from_any_reader(read):
    assert Source("any", read).read == read


@pytest.mark.parametrize("read", ["corpus.jsonl", None, 3])
def test_what_is_no_reader_is_refused(read):
    with pytest.raises(ValueError, match="read of source web must be one of `data.readers`"):
        Source("web", read)


@pytest.mark.parametrize("name", ["", "a/b", "../up", "two words", "a\n"])
def test_a_name_that_no_folder_may_have_is_refused(name):
    with pytest.raises(ValueError, match="name is made of letters"):
        Source(name, READ)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("group", "reason"),
        ("part", "test"),
        ("on_bad_row", "warn"),
        ("packing", "bestfit"),
        ("overlong", "spilt"),
        ("near_duplicates", 0),
        ("near_duplicates", 1.1),
        ("weight", -1),
        ("weight", math.nan),
        ("weight", math.inf),
        ("max_passes", 0),
        ("families", "algebra"),
        ("min_trace_tokens", -1),
        ("corrupted_share", 1.01),
        ("corrupted_share", -0.01),
        ("max_documents", 0),
        ("max_templates", 0),
        ("max_documents", 1e6),
        ("match_passes", 0),
    ],
)
def test_a_setting_out_of_range_is_told_with_its_source(setting, value):
    with pytest.raises(ValueError, match=f"^{setting} of source web must .*; got ") as error:
        Source("web", READ, **{setting: value})
    assert str(error.value).endswith(f"got {value!r}.")


def test_an_unknown_renderer_is_told_with_the_nearest():
    with pytest.raises(ValueError, match="no renderer 'gsm8'; did you mean 'gsm8k'"):
        Source("web", READ, "gsm8")


@pytest.mark.parametrize(
    ("tokens", "share", "message"),
    [
        (0, 0.5, "tokens of a stage must be above 0"),
        (math.inf, 0.5, "tokens of a stage must be above 0"),
        (10, 1.2, r"reasoning_token_share must lie in \[0, 1\]; got 1.2"),
        (10, math.nan, "reasoning_token_share must lie in"),
    ],
)
def test_a_stage_out_of_range_is_refused(tokens, share, message):
    with pytest.raises(ValueError, match=message):
        Stage(tokens, share)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sources": ()}, "a mixture needs sources"),
        ({"stages": ()}, "a mixture needs stages"),
        ({"sources": WEB}, "sources must be a tuple"),
        ({"stages": Stage(1, 0)}, "stages must be a tuple"),
        ({"evaluation": WEB}, "evaluation must be a tuple"),
        ({"sources": (WEB, WEB)}, "two sources are called web"),
        ({"evaluation": (WEB,)}, "two sources are called web"),
        ({"sequence_length": 1}, "sequence_length must be a whole number from 2 on; got 1"),
        ({"block_size": 2.5}, "block_size must be a whole number from 1 on; got 2.5"),
        ({"seed": -1}, "seed must be a whole number from 0 on; got -1"),
        ({"on_cap": "fail"}, "on_cap must be one of .*'shrink'.*; got 'fail'"),
        ({"held_out_share": 1}, r"held_out_share must lie in \[0, 1\); got 1"),
        (
            {"sources": (Source("web", READ, part="held_out"),)},
            "source web is of the part that is held out, and held_out_share is 0",
        ),
        (
            {"evaluation": (Source("exam", READ, part="held_out"),)},
            "source exam is of the part that is held out, and held_out_share is 0",
        ),
    ],
)
def test_a_mixture_that_can_not_work_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        mixture(**settings)


@pytest.mark.parametrize("setting", ["vocab_size", "train_documents"])
def test_a_tokenizer_of_nothing_is_refused(setting):
    with pytest.raises(ValueError, match=f"{setting} must be a whole number from 1 on; got 0"):
        TokenizerConfig(**{setting: 0})


def test_a_mixture_counts_its_tokens():
    assert mixture(stages=(Stage(600, 0.0), Stage(400, 0.2))).total_tokens == 1000


@pytest.mark.parametrize(
    ("tokens", "expected"), [(1, 1), (149, 1), (150, 2), (249, 2), (250, 3), (10_000, 100)]
)
def test_stages_are_rounded_to_the_nearest_whole_sequences(tokens, expected):
    assert sequences_of(tokens, 100) == expected
