"""Rule induction: find the hidden composition of primitives behind a few input-output pairs.

A problem shows `num_examples` pairs of short digit lists and a query. The abstraction is the rule
in words, the worked solution applies it to the query step by step, the answer is a list. Two or
three pairs often leave several rules possible. It is a small sister of the program synthesis of
"On the Measure of Intelligence" by Chollet (https://arxiv.org/abs/1911.01547), in which everything
(generation, rendering, verification) runs on the device.

Training and held-out problems share no instance and, in the split `new_compositions`, no rule. An
instance is the tuple of its input lists; it belongs to the held-out splits exactly if a weighted
sum of its digits is 0 modulo 10, so that every instance is on one side for good.
"""

import dataclasses
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxreason.checks import check_that
from jaxreason.tasks.digit_lists import PRIMITIVES, DigitList, apply_rule
from jaxreason.tasks.rules import RuleTable, make_rule_table
from jaxreason.tasks.task import SPLITS


@dataclasses.dataclass(frozen=True)
class RuleInductionConfig:
    """How hard the problems are."""

    primitives: tuple[str, ...] = ("reverse", "rotate 1", "sort", "add 1", "add 3", "round down")
    """Names of the primitives that rules are composed of."""
    max_steps: int = 2
    """The longest composition of primitives, 1 to 3."""
    list_length: int = 3
    """Digits in each input list."""
    num_examples: int = 2
    """Input-output pairs shown before the query."""
    held_out: float = 0.2
    """Share of the compositions of two or more steps that training never sees."""
    seed: int = 0
    """Which compositions are held out."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.primitives if name not in PRIMITIVES]
        known = ", ".join(PRIMITIVES)
        check_that(not unknown, f"primitives {unknown} are unknown; the known ones are {known}.")
        distinct = len(set(self.primitives)) == len(self.primitives) > 0
        check_that(
            distinct, f"primitives must be one or more distinct names; got {self.primitives}."
        )
        check_that(1 <= self.max_steps <= 3, f"max_steps must be 1, 2 or 3; got {self.max_steps}.")
        check_that(self.list_length >= 2, f"list_length must be 2 or more; got {self.list_length}.")
        check_that(
            self.num_examples >= 1, f"num_examples must be 1 or more; got {self.num_examples}."
        )
        check_that(0 <= self.held_out < 1, f"held_out must be in [0, 1); got {self.held_out}.")

    @property
    def width(self) -> int:
        """The longest list that can occur."""
        return self.list_length * (2 if "repeat" in self.primitives else 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Problem:
    """One problem; the last row of `inputs` and `outputs` is the query and its answer.

    Attributes:
        rule: Indices of the primitives in the order of application, -1 where there is none.
        inputs: The example lists and the query, `[example + 1, width]`.
        outputs: What the rule makes of them, `[example + 1, width]`.
        trace: The query after each step of the rule, `[step, width]`.
    """

    rule: Int[Array, "..."]
    inputs: DigitList
    outputs: DigitList
    trace: DigitList

    @property
    def query(self) -> DigitList:
        """The list to which the rule is to be applied, `[width]`."""
        return jax.tree.map(lambda leaf: leaf[-1], self.inputs)

    @property
    def answer(self) -> DigitList:
        """What the rule makes of the query, `[width]`."""
        return jax.tree.map(lambda leaf: leaf[-1], self.outputs)


def rule_table(config: RuleInductionConfig) -> RuleTable:
    """Returns the rules of a config, split into those of training and those held out.

    Example:
        >>> table = rule_table(RuleInductionConfig())
        >>> table.train.shape, table.new_compositions.shape
        ((24, 2), (5, 2))
    """
    return make_rule_table(
        config.primitives,
        config.max_steps,
        config.list_length,
        config.width,
        config.held_out,
        config.seed,
    )


def sample(config: RuleInductionConfig, key: PRNGKeyArray, split: str = "train") -> Problem:
    """Draws one problem: the number of steps, a rule of as many, an instance, each uniformly.

    Args:
        config: The difficulty.
        key: A random key.
        split: `train`; `new_instances`: rules of training, inputs that training never shows;
            `new_compositions`: held-out rules on such inputs.

    Returns:
        The problem. Use `vmap` over keys for many.

    Raises:
        ValueError: If the split is unknown, or no composition is held out.

    Example:
        >>> problem = sample(RuleInductionConfig(), jax.random.key(0))
        >>> problem.inputs.digits.shape
        (3, 3)
    """
    check_that(split in SPLITS, f"split must be one of {SPLITS}; got {split!r}.")
    table = rule_table(config)
    rules = table.new_compositions if split == "new_compositions" else table.train
    check_that(
        len(rules) > 0,
        f"the split {split} has no rules: raise held_out or max_steps in the config.",
    )
    rule_key, inputs_key = jax.random.split(key)
    rule = rules[jax.random.categorical(rule_key, _log_weights(rules))]
    inputs = _sample_inputs(config, inputs_key, held_out=split != "train")
    steps = jax.vmap(lambda values: apply_rule(config.primitives, rule, values))(inputs)
    outputs = jax.tree.map(lambda leaf: leaf[:, -1], steps)
    return Problem(rule, inputs, outputs, trace=jax.tree.map(lambda leaf: leaf[-1], steps))


def _log_weights(rules: Int[Array, "rule step"]) -> Float[Array, "rule"]:
    """Returns log-weights under which every number of steps is as likely as any other."""
    steps = (rules >= 0).sum(-1)
    return -jnp.log((steps[:, None] == steps[None, :]).sum(-1).astype(jnp.float32))


def _sample_inputs(config: RuleInductionConfig, key: PRNGKeyArray, *, held_out: bool) -> DigitList:
    """Draws input lists uniformly among the instances of one side of the partition."""
    digits_key, residue_key = jax.random.split(key)
    rows = config.num_examples + 1
    digits = jax.random.randint(digits_key, (rows, config.list_length), 0, 10)
    residue = 0 if held_out else jax.random.randint(residue_key, (), 1, 10)
    last = (residue - instance_residue(digits.at[-1, -1].set(0))) % 10
    digits = digits.at[-1, -1].set(last)
    padded = jnp.pad(digits, ((0, 0), (0, config.width - config.list_length)))
    return DigitList(padded, jnp.full((rows,), config.list_length, jnp.int32))


def instance_residue(digits: Int[Array, "list digit"]) -> Int[Array, ""]:
    """Returns the number, 0 to 9, whose being 0 puts an instance into the held-out splits.

    It does not depend on the order of the lists.

    Args:
        digits: The input lists of the instance, all of one length.

    Example:
        >>> int(instance_residue(jnp.array([[1, 2, 3], [0, 1, 0]])))
        9
    """
    weights = jnp.array([1, 3, 7, 9])[jnp.arange(digits.shape[1])[::-1] % 4]
    return (digits * weights).sum() % 10
