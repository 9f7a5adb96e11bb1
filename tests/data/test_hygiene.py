"""Clean training text: hashes, splits, duplicates, near duplicates and decontamination."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.hygiene import (
    MAX_SAMPLES,
    Cleaned,
    Decontaminator,
    Dropped,
    Duplicates,
    clean,
    split_of,
    whole_text,
)
from data.near_duplicates import (
    BLOCK,
    NearDuplicates,
    minhash,
    ngram_hashes,
    rows_per_band,
    text_hash,
    word_hashes,
)
from data.spans import END_OF_THINK, THINK, Spans, thought

ROOT = Path(__file__).resolve().parents[2]
PROBLEM = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
)


def numbered(start, stop):
    """A text of different words."""
    return " ".join(f"word{number}" for number in range(start, stop))


def example(text):
    return Spans(answer=(text,))


# Hashes and splits


def test_a_hash_ignores_case_width_and_spaces_only():
    same = ["Two  words", " two\nwords\t", "TWO\u00a0WORDS", "\uff34wo words"]  # a wide T
    assert len({text_hash(text) for text in same}) == 1
    different = ["two words", "two words.", "twowords", "words two", ""]
    assert len({text_hash(text) for text in different}) == len(different)
    assert 0 <= text_hash("\ud800") < 2**64  # a lone surrogate


def test_the_share_held_out_is_near_the_one_asked_for():
    num, share = 20_000, 0.1
    problems = [f"What is {number} + 1?" for number in range(num)]
    held_out = {p for p in problems if split_of(p, share, seed=0) == "held_out"}
    assert abs(len(held_out) - num * share) < 5 * math.sqrt(num * share * (1 - share))
    more = {p for p in problems if split_of(p, 2 * share, seed=0) == "held_out"}
    assert held_out < more
    other_seed = {p for p in problems if split_of(p, share, seed=1) == "held_out"}
    expected = num * share**2  # independent choices
    assert abs(len(held_out & other_seed) - expected) < 5 * math.sqrt(expected)


def test_all_or_none_is_held_out():
    problems = [str(number) for number in range(1000)]
    assert {split_of(problem, 0, seed=0) for problem in problems} == {"train"}
    assert {split_of(problem, 1, seed=0) for problem in problems} == {"held_out"}


@given(st.lists(st.text("ab +1", min_size=1).filter(str.strip), min_size=1), st.integers(-9, 9))
def test_a_problem_has_one_split_however_it_is_written(problems, seed):
    for problem in problems:
        written = "\t" + problem.upper().replace(" ", " \n ")
        assert split_of(written, 0.5, seed) == split_of(problem, 0.5, seed)


def test_traces_of_a_problem_stay_together_in_any_order():
    rows = [(f"problem {row % 50}", f"trace {row}") for row in range(200)]

    def held_out(rows):
        return {row for row in rows if split_of(row[0], 0.3, seed=3) == "held_out"}

    shuffled = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]
    assert held_out(rows) == held_out(shuffled)
    assert len(held_out(rows)) == 4 * len({problem for problem, _ in held_out(rows)}) > 0


def test_a_split_needs_a_problem_and_a_share():
    with pytest.raises(ValueError, match="this one is blank"):
        split_of(" ", 0.1, seed=0)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]; got 10"):
        split_of("problem", 10, seed=0)


# Decontamination


@pytest.mark.parametrize(
    "text",
    [
        PROBLEM,
        f"Here is one. {PROBLEM} Solve it!",
        f"x{PROBLEM.upper()}".replace("xN", "x N").replace(",", " --"),
        "natalia SOLD clips; to 48 of *her* friends\nin “April”, and then she...",  # its first 13
        "april and then she sold half as many clips in may",
    ],
)
def test_a_prompt_is_found_inside_other_text(text):
    words = "april and then she sold half as many clips in may"  # 11 words, given as a prompt too
    assert Decontaminator([PROBLEM, words]).overlap(text)


def test_twelve_shared_words_are_not_thirteen():
    prompt = numbered(0, 40)
    decontaminator = Decontaminator([prompt])
    assert not decontaminator.overlap(f"before {numbered(10, 22)} after")
    assert decontaminator.matched(f"before {numbered(10, 23)} after") == numbered(10, 23)
    assert not decontaminator.overlap(" ".join(reversed(prompt.split())))
    assert Decontaminator([prompt], ngram=12).overlap(f"before {numbered(10, 22)} after")


def test_a_prompt_of_few_words_must_be_there_whole():
    decontaminator = Decontaminator([numbered(0, 5), numbered(10, 22)])
    assert decontaminator.matched(f"Say {numbered(0, 5)}!") == numbered(0, 5)
    assert decontaminator.matched(f"Say {numbered(10, 22)}!") == numbered(10, 22)
    assert not decontaminator.overlap(f"Say {numbered(0, 4)} {numbered(10, 21)}!")


def test_a_shorter_prompt_must_be_the_whole_text():
    decontaminator = Decontaminator(["What is 2 + 2?"])
    assert decontaminator.matched("what is 2 + 2?") == "what is 2 + 2?"
    assert not decontaminator.overlap("What is 2 - 2?")
    assert not decontaminator.overlap("What is 2 + 2? It is 4.")
    assert not decontaminator.overlap("")


def test_decontamination_needs_prompts_with_words():
    with pytest.raises(ValueError, match="got none"):
        Decontaminator([])
    with pytest.raises(ValueError, match="prompt 2 is blank"):
        Decontaminator(["a", " "])
    with pytest.raises(ValueError, match="ngram must be from 5 to 64 words; got 4"):
        Decontaminator(["a"], ngram=4)


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abc"), min_size=5))
def test_decontamination_agrees_with_comparing_words(text, prompt):
    size = min(6, len(prompt))
    runs = {tuple(prompt[start : start + size]) for start in range(len(prompt) - size + 1)}
    expected = any(tuple(text[start : start + size]) in runs for start in range(len(text)))
    assert Decontaminator([" ".join(prompt)], ngram=6).overlap(" ".join(text)) == expected


# Duplicates and near duplicates


def test_duplicates_are_seen():
    duplicates = Duplicates()
    texts = ["One", "two", " one ", "two", "three", "one."]
    assert [duplicates.seen_before(text) for text in texts] == [0, 0, 1, 1, 0, 0]


def test_runs_of_words_are_hashed_in_order():
    hashes = word_hashes("ababc")
    pairs = ngram_hashes(hashes, 2)
    assert pairs.dtype == np.uint64
    assert pairs[0] == pairs[2]  # a b, b a, a b, b c
    assert len(set(pairs.tolist())) == 3
    assert [len(ngram_hashes(hashes, size)) for size in (1, 5, 6, 64)] == [5, 1, 0, 0]


@given(
    st.integers(0, 300), st.integers(1, 300), st.integers(1, 300), st.sampled_from([16, 128, 1024])
)
def test_minhash_estimates_the_jaccard_similarity(shared, left, right, num_hashes):
    members = word_hashes(map(str, range(shared + left + right)))
    both = members[:shared]
    a = minhash(np.concatenate([both, members[shared : shared + left]]), num_hashes)
    b = minhash(np.concatenate([both, members[shared + left :]]), num_hashes)
    jaccard = shared / (shared + left + right)
    standard_error = math.sqrt(jaccard * (1 - jaccard) / num_hashes)
    assert abs(np.mean(a == b) - jaccard) <= 5 * standard_error


def test_the_standard_error_is_the_one_stated():
    # 400 pairs of sets with j = 0.8 (of 50 members, 40 shared), 128 hashes.
    errors = []
    for pair in range(400):
        members = word_hashes(f"{pair} {member}" for member in range(50))
        signatures = minhash(members[:45], 128), minhash(members[5:], 128)
        errors.append(np.mean(np.equal(*signatures)) - 0.8)
    standard_error = math.sqrt(0.8 * 0.2 / 128)
    assert abs(np.mean(errors)) < 5 * standard_error / math.sqrt(400)
    # The standard deviation of 400 has a relative standard error of 1 / sqrt(800).
    assert abs(np.std(errors) / standard_error - 1) < 5 / math.sqrt(800)


def test_a_long_set_is_hashed_in_blocks():
    members = word_hashes(map(str, range(2 * BLOCK + 1)))
    blocks = [minhash(members[start : start + BLOCK], 8) for start in range(0, len(members), BLOCK)]
    np.testing.assert_array_equal(minhash(members, 8), np.minimum.reduce(blocks))
    np.testing.assert_array_equal(minhash(members, 8), minhash(np.repeat(members[::-1], 2), 8))


def test_bands_are_as_wide_as_they_may_be():
    # With 6 rows: 1 - (1 - 0.8^6)^21 = 0.998; with 7: 1 - (1 - 0.8^7)^18 = 0.986.
    assert rows_per_band(0.8, 128) == 6
    assert rows_per_band(1, 128) == 128
    assert rows_per_band(0.01, 128) == 1


def test_near_duplicates_are_found():
    texts = [
        numbered(0, 100),
        numbered(200, 300),
        numbered(0, 100) + ".",  # 96 shingles of 97: j = 0.99
        numbered(0, 50) + " other " + numbered(51, 100),  # 91 of 101 shingles: j = 0.90
        numbered(50, 150),  # 46 of 146 shingles: j = 0.32
        numbered(200, 300).upper(),
    ]
    near = NearDuplicates()
    assert [near.add(text) for text in texts] == [None, None, 0, 0, None, 1]


def test_near_duplicates_well_above_the_threshold_are_all_found():
    # At j = 0.92 (95 of 103 shingles) one band agrees with probability 0.6, any of 21 surely; an
    # estimate below 0.8 is five standard errors away.
    near = NearDuplicates()
    for pair in range(0, 40_000, 200):
        earlier = 2 * (pair // 200)
        assert near.add(numbered(pair, pair + 103)) is None
        assert near.add(numbered(pair + 4, pair + 107)) == earlier


def test_only_texts_that_stay_have_near_duplicates():
    near = NearDuplicates(threshold=0.45)
    texts = [numbered(0, 100), numbered(25, 125), numbered(50, 150)]  # neighbours: j = 0.59
    assert [near.add(text) for text in texts] == [None, 0, None]  # the first and last: j = 0.32


def test_the_most_similar_text_is_named():
    near = NearDuplicates(threshold=0.25)
    texts = [numbered(0, 100), numbered(80, 180), numbered(20, 180)]  # j of the last: 0.43, 0.62
    assert [near.add(text) for text in texts] == [None, None, 1]


def test_chance_matches_of_bands_remove_nothing():
    # At j = 0.58 (73 of 125 shingles), 57% of the pairs share a band; an estimate of 0.8 is five
    # standard errors away.
    near = NearDuplicates()
    for pair in range(0, 40_000, 200):
        assert near.add(numbered(pair, pair + 103)) is None
        assert near.add(numbered(pair + 26, pair + 129)) is None


def test_signs_make_a_difference():
    near = NearDuplicates()
    plus = " + ".join(map(str, range(20)))
    assert [near.add(text) for text in (plus, plus.replace("+", "-"), plus)] == [None, None, 0]


def test_a_text_shorter_than_a_shingle_only_duplicates_itself():
    near = NearDuplicates()
    texts = ["", "one two three four", "one two three", "One  two three four", "one two", "\n"]
    assert [near.add(text) for text in texts] == [None, None, None, 1, None, 0]


def test_near_duplicates_refuse_numbers_out_of_range():
    for threshold in (0, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"must be in \(0, 1\]"):
            NearDuplicates(threshold)
    with pytest.raises(ValueError, match="num_hashes=0 and shingle=5"):
        NearDuplicates(num_hashes=0)
    with pytest.raises(ValueError, match="num_hashes=128 and shingle=65"):
        NearDuplicates(shingle=65)


# Cleaning


def test_cleaning_by_hand():
    first = Spans(prompt=(numbered(0, 60),), trace=thought(numbered(60, 120)), answer=("yes",))
    evaluation = numbered(500, 520)
    examples = [
        first,
        Spans(prompt=(numbered(0, 60).upper(),), trace=first.trace, answer=("yes",)),  # exact
        Spans(prompt=first.prompt, trace=first.trace, answer=("no",)),  # near
        Spans(prompt=first.prompt, trace=thought(numbered(130, 190)), answer=("yes",)),  # stays
        Spans(prompt=(f"Q: {evaluation}",), answer=("yes",)),  # contaminated
        Spans(prompt=("Q",), trace=thought(evaluation), answer=("yes",)),  # contaminated
        example(numbered(300, 400)),  # the same as a reference
        example(numbered(300, 400) + "!"),  # near a reference
        example("yes"),
    ]
    counts = Cleaned()
    kept = clean(
        examples,
        counts,
        reference=[example("no"), example(numbered(300, 400))],
        decontaminator=Decontaminator([evaluation]),
    )
    assert list(kept) == [examples[place] for place in (0, 3, 8)]
    samples = counts.samples
    counts.samples = []
    assert counts == Cleaned(
        num_in=9, num_out=3, contaminated=2, held_out=2, exact=1, near=1, samples=[]
    )
    assert [(sample.place, sample.reason, sample.cause) for sample in samples] == [
        (1, "exact", ""),
        (2, "near", "near example 0"),
        (4, "contaminated", numbered(500, 513)),
        (5, "contaminated", numbered(500, 513)),
        (6, "held_out", ""),
        (7, "held_out", "near reference example 1"),
    ]
    assert samples[2].text == f"Q: {evaluation}yes"[:200]


def test_the_whole_of_an_example_is_what_a_model_sees():
    spans = Spans(prompt=("a",), trace=(THINK, "b", END_OF_THINK), answer=("c",))
    assert whole_text(spans) == "a<think>b</think>c"


def test_few_samples_are_kept():
    counts = Cleaned()
    assert len(list(clean([example("a")] * 10, counts))) == 1
    assert counts.exact == 9
    assert counts.samples == [Dropped("exact", place, "a", "") for place in range(1, 4)]
    assert len(counts.samples) == MAX_SAMPLES


def test_without_a_threshold_only_exact_duplicates_go():
    texts = [numbered(0, 100), numbered(0, 99), numbered(0, 100)]
    counts = Cleaned()
    kept = clean(map(example, texts), counts, reference=[example(texts[1])], threshold=None)
    assert list(kept) == [example(texts[0])]
    assert (counts.exact, counts.held_out, counts.near) == (1, 1, 0)


def test_cleaning_streams_and_checks_its_arguments_at_once():
    def endless():
        while True:
            yield example(f"{counts.num_in}")

    counts = Cleaned()
    kept = clean(endless(), counts)
    assert [next(kept) for _ in range(3)] == [example(text) for text in "012"]
    assert counts.num_in == counts.num_out == 3
    with pytest.raises(ValueError, match="threshold"):
        clean([], Cleaned(), threshold=0)


@given(
    st.lists(st.sampled_from(["a", "A ", "b", "c d e f g h", "C d e  f g h"]), min_size=1),
    st.randoms(use_true_random=False),
)
def test_order_changes_who_stays_but_not_how_many_kinds(texts, random):
    shuffled = random.sample(texts, len(texts))
    outcomes = []
    for order in (texts, shuffled):
        counts = Cleaned()
        kept = {text_hash(whole_text(spans)) for spans in clean(map(example, order), counts)}
        assert counts.num_in == counts.num_out + counts.exact == len(texts)
        assert counts.num_out == len(kept)
        outcomes.append(kept)
    assert outcomes[0] == outcomes[1] == {text_hash(text) for text in texts}


PROGRAM = """
from data.hygiene import *
from data.near_duplicates import *
texts = [" ".join(f"{start} {i * i % 90}" for i in range(60 - start % 7)) for start in range(12)]
texts = [*texts, *(text + " end" for text in texts), "short", "Short"]
near, counts = NearDuplicates(), Cleaned()
print([text_hash(text) for text in texts], [split_of(text, 0.5, 1) for text in texts])
print(minhash(word_hashes(texts), 16).tolist(), [near.add(text) for text in texts])
spans = [Spans(answer=(text,)) for text in texts]
print(list(clean(spans, counts, reference=spans[3:5], decontaminator=Decontaminator(texts[:2]))))
print(counts)
"""


def test_nothing_depends_on_pythons_own_hash():
    outputs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert "near=0" not in outputs[0] and "contaminated=0" not in outputs[0]


def test_hashes_stay_the_same_from_version_to_version():
    """A split or a report made today is the same tomorrow."""
    assert text_hash("Two words") == 14727076500890504880
    assert minhash(ngram_hashes(word_hashes("abcdef"), 5), 2).tolist() == [467541734, 1423737862]
    assert split_of("Two words", 0.84, seed=0) == "train"  # its number is 0.842
    assert split_of("Two words", 0.85, seed=0) == "held_out"
