"""Verifiers of numbers, of LaTeX and of reasoning-gym, on answers whose verdicts are known."""

import importlib.util
import pickle
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.number_answers import read_number
from data.verifier_pool import VerifierPool
from data.verifiers import LatexVerifier, NumberVerifier, ReasoningGymVerifier

INTEGERS = st.integers(-(10**12), 10**12)


@pytest.fixture
def math_verify():
    return pytest.importorskip("math_verify", reason="pip install math-verify")


@pytest.fixture
def gym():
    return pytest.importorskip("reasoning_gym", reason="pip install reasoning-gym")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", "7"),
        ("The answer is 7.", "7"),
        ("First 3, then 12 apples", "12"),
        ("1,000", "1000"),
        ("1,234,567.50", "1234567.5"),
        ("1,2", "2"),  # a list: a comma groups three digits
        ("12,345,6", "6"),
        ("1000.0", "1000"),
        ("0.1", "1/10"),
        (".5", "1/2"),
        ("007", "7"),
        ("1.2.3", "3"),
        ("1e3", "1000"),
        ("2.5E-3", "1/400"),
        ("3e", "3"),
        ("-5", "-5"),
        ("\u22125", "-5"),  # a minus sign
        ("x = -5", "-5"),
        ("(-5)", "-5"),
        ("**-5**", "-5"),
        ("3-5", "5"),
        ("10%-20%", "20"),
        ("x-5", "5"),
        ("f(x)-5", "5"),
        ("- 5", "5"),  # an item of a list
        ("+5", "5"),
        ("$5", "5"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("It costs $1,200.50.", "1200.5"),
        ("€3", "3"),
        ("50%", "50"),
        ("1/2", "1/2"),
        ("-1 / 2", "-1/2"),
        ("0.5/2", "1/4"),
        ("1/2/2024", "2024"),
        ("1 1/2", "3/2"),
        ("-2 3/4", "-11/4"),
        ("of 3 5/2", "5/2"),  # no mixed number
        ("1\n1/2", "1/2"),
        (r"\boxed{7} of 9", "7"),
        (r"\boxed{1} or \boxed{2}, surely 3", "2"),
        (r"\boxed{x = 12}", "12"),
        (r"\boxed{\text{about } 3}", "3"),
        (r"\boxed{\{1, 2\}} 5", "2"),
        (r"\boxed{1,000}", "1000"),
        (r"\boxed{1{,}000}", "1000"),
        (r"\boxed{1\,000}", "1000"),
        (r"\boxed{\$5}", "5"),
        (r"\boxed{50\%}", "50"),
        (r"\boxed{\frac{1}{2}}", "1/2"),
        (r"\boxed{-\dfrac{3}{4}} 1", "-3/4"),
        (r"\boxed{\frac{-3}{4}} 1", "-3/4"),
        (r"\boxed{\frac12}", "1/2"),
        (r"\boxed{1\frac{1}{2}}", "3/2"),
        (r"\boxed{4} and \boxed{5", "4"),  # only a box that closes is one
        (r"\boxed{5", "5"),
        (r"\boxed{6 \boxed{5} 4}", "4"),
        ("6 * 7 = 42\n#### 42", "42"),
        ("#### $1,000\nI checked 3 times.", "1000"),
        ("#### -7\n9", "-7"),
        ("#### 1\n#### 2\n3", "2"),
        ("#### Step 1\nSo it is 8", "8"),  # a heading
        (r"#### 1, but \boxed{2}", "2"),
        ("10^3", "3"),  # documented: nothing is computed
        ("1e999999999", "999999999"),  # nor is a number that does not fit
    ],
)
def test_numbers_are_read(text, number):
    assert read_number(text) == Fraction(number)


@pytest.mark.parametrize(
    "text", ["", "none", "-", r"7 \boxed{x}", "1/0", "0/0.0", "#### ", "9" * 5000]
)
def test_no_number(text):
    assert read_number(text) is None


@given(INTEGERS)
def test_integers_are_read_in_every_notation(number):
    amount = f"{abs(number):,}"
    sign = "-" if number < 0 else ""
    for text in (
        str(number),
        f"{number:,}",
        f"{number}.00",
        f"{sign}${amount}",
        rf"\boxed{{{number}}}",
    ):
        assert read_number(f"After 3 steps: {text}.") == number


@given(INTEGERS, st.integers(1, 10**6))
def test_fractions_are_read_exactly(top, bottom):
    expected = Fraction(top, bottom)
    assert read_number(f"It is {top}/{bottom}.") == expected
    assert read_number(rf"\boxed{{\frac{{{top}}}{{{bottom}}}}} or 1") == expected


@given(st.text(alphabet=r"0123456789.,/-$% #e{}\boxedfracn" + "\n", max_size=80))
def test_any_text_is_read_or_not(text):
    assert isinstance(read_number(text), Fraction | None)


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9
    )
)
def test_decimals_are_read_exactly(number):
    assert read_number(f"= {number:f}") == Fraction(number)


@pytest.mark.parametrize(
    ("answer", "reference", "reward"),
    [
        ("It is $1,000.", "1000.0", 1.0),
        ("0.5", "1/2", 1.0),
        ("50%", "50", 1.0),  # a percent sign is a unit
        ("50%", "0.5", 0.0),
        ("0.3333333333", "1/3", 0.0),  # exactly
        ("no idea", "3", 0.0),
        ("", "3", 0.0),
        ("1/0", "3", 0.0),
        ("9" * 5000, "3", 0.0),
        (r"so \boxed{18}", "She makes 9 * 2 = $<<9*2=18>>18 every day.\n#### 18", 1.0),
    ],
)
def test_number_verifier(answer, reference, reward):
    assert NumberVerifier()(answer, reference) == reward


def test_a_reference_without_a_number_is_an_error():
    with pytest.raises(ValueError, match="the reference 'many' holds no number"):
        NumberVerifier()("3", "many")


@pytest.mark.parametrize(
    ("answer", "reference", "reward"),
    [
        ("0.5", r"\frac{1}{2}", 1.0),
        ("so it is 1/2", r"$\frac{1}{2}$", 1.0),
        (r"so \boxed{\frac{2}{4}}", r"\frac{1}{2}", 1.0),
        (r"\boxed{\frac{1}{3}}", r"\frac{1}{2}", 0.0),
        (r"\boxed{\{2, 1\}}", r"\{1, 2\}", 1.0),
        (r"\boxed{\{1, 3\}}", r"\{1, 2\}", 0.0),
        (r"$2\sqrt{2}$", r"\sqrt{8}", 1.0),
        ("$1 + x$", "x + 1", 1.0),
        ("$x + 2$", "x + 1", 0.0),
        (r"$[1, 3]$", "(1, 3]", 0.0),
        (r"$(1, 3]$", "(1, 3]", 1.0),
        ("$3$", "$x = 3$", 1.0),
        (r"\boxed{1{,}000}", "1000", 1.0),
        ("I don't know", "3", 0.0),
        ("", "3", 0.0),
        (r"\boxed{\foo}", "3", 0.0),
        ("3", r"\boxed{3}", 1.0),
    ],
)
def test_latex_verifier(math_verify, answer, reference, reward):
    assert LatexVerifier()(answer, reference) == reward


def test_a_reference_without_mathematics_is_an_error(math_verify):
    with pytest.raises(ValueError, match=r"the reference '\$\$' holds no mathematics"):
        LatexVerifier()("3", "$$")


def test_latex_in_a_pool(math_verify, capfd):
    r"""A power tower takes forever; that is no reason to call an answer wrong."""
    answers = [r"\boxed{\frac{2}{4}}", "$0.25$", r"$9^{9^{9^{9}}} + 1$", "$x$"]
    with VerifierPool(LatexVerifier(), workers=2, time_limit=2.0) as pool:
        verdicts = pool.score([*answers, "0.5"], [*[r"\frac{1}{2}"] * 4, "$$"])
    assert verdicts.rewards.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert verdicts.valid.tolist() == [True, True, False, True, False]
    assert (verdicts.failed, verdicts.timed_out) == (1, 1)
    assert "Timeout is disabled" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["chain_sum", "leg_counting", "simple_equations", "syllogism"])
def test_reasoning_gym_verifier(gym, name):
    entries = list(gym.create_dataset(name, size=5, seed=1))
    verifier = ReasoningGymVerifier(name)
    for entry in entries:
        assert verifier(entry["answer"], entry) == 1.0
        assert 0.0 <= verifier("no idea", entry) < 1.0


def test_reasoning_gym_in_a_pool(gym):
    entries = list(gym.create_dataset("gcd", size=6, seed=1))
    answers = [entry["answer"] for entry in entries[:4]] + ["0", "no idea"]
    with VerifierPool(ReasoningGymVerifier("gcd"), workers=2, time_limit=2.0) as pool:
        verdicts = pool.score(answers, entries)
    assert verdicts.valid.all(), verdicts.messages
    assert verdicts.rewards[:4].tolist() == [1.0] * 4
    assert (verdicts.rewards[4:] < 1.0).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chain_sums", "no family 'chain_sums'; the nearest known one is 'chain_sum'"),
        ("composite", "no family 'composite'"),
    ],
)
def test_families_that_are_not_there(gym, name, message):
    with pytest.raises(ValueError, match=message):
        ReasoningGymVerifier(name)


def test_missing_packages_are_named(monkeypatch):
    for package in ("math_verify", "reasoning_gym"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=r"LatexVerifier needs .* `pip install math-verify`\.$"):
        LatexVerifier()
    with pytest.raises(ValueError, match=r"Verifier needs .* `pip install reasoning-gym`\.$"):
        ReasoningGymVerifier("gcd")


def test_verifiers_can_be_sent():
    verifiers = [NumberVerifier()]
    if importlib.util.find_spec("math_verify"):
        verifiers.append(LatexVerifier())
    if importlib.util.find_spec("reasoning_gym"):
        verifiers.append(ReasoningGymVerifier("gcd"))
    assert pickle.loads(pickle.dumps(verifiers)) == verifiers
