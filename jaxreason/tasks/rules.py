"""Which compositions of primitives exist as distinct functions, and which are held out."""

import dataclasses
import itertools
from functools import partial
from typing import no_type_check

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jaxreason.tasks.digit_lists import DigitList, apply_rule

_NUM_PROBES = 128


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class RuleTable:
    """The rules of a task, one representative for each distinct function.

    Attributes:
        train: Rules seen in training, `[rule, step]`, padded with -1.
        new_compositions: Rules held out, `[rule, step]`; none computes the same function (on
            lists of the task's length) as any rule of `train`.
    """

    train: Int[Array, "train_rule step"]
    new_compositions: Int[Array, "held_out_rule step"]


def probe_lists(list_length: int, width: int) -> DigitList:
    """Returns the fixed random lists by which rules are compared as functions, `[128, width]`.

    Example:
        >>> probe_lists(3, 6).digits.shape
        (128, 6)
    """
    digits = jax.random.randint(jax.random.key(0), (_NUM_PROBES, list_length), 0, 10)
    padded = jnp.pad(digits, ((0, 0), (0, width - list_length)))
    return DigitList(padded, jnp.full((_NUM_PROBES,), list_length, jnp.int32))


def same_function(
    names: tuple[str, ...], left: Int[Array, "step"], right: Int[Array, "step"], probes: DigitList
) -> Bool[Array, ""]:
    """Tells whether two rules agree on every probe list.

    Example:
        >>> probes = probe_lists(3, 3)
        >>> names = ("reverse", "add 1")
        >>> bool(same_function(names, jnp.array([0, 1]), jnp.array([1, 0]), probes))
        True
    """
    results = [_outputs(names, rule, probes) for rule in (left, right)]
    return (results[0] == results[1]).all()


def _outputs(names: tuple[str, ...], rule: Array, probes: DigitList) -> Array:
    last = jax.vmap(lambda values: apply_rule(names, rule, values))(probes)
    return jnp.concatenate([last.digits[:, -1], last.length[:, -1:]], axis=-1)


@partial(jax.jit, static_argnames="names")  # compiled once, however many programs hold the table
def _outputs_of_each(names: tuple[str, ...], rules: Array, probes: DigitList) -> Array:
    return jax.vmap(lambda rule: _outputs(names, rule, probes))(rules)


def make_rule_table(
    names: tuple[str, ...], max_steps: int, list_length: int, width: int, held_out: float, seed: int
) -> RuleTable:
    """Enumerates the compositions of one to `max_steps` primitives and splits them.

    Of compositions that compute the same function the shortest, then the first in order, stands
    for all; those that change nothing are left out. The held-out share is drawn from the
    compositions of two steps or more.

    Args:
        names: Names of the primitives.
        max_steps: The longest composition.
        list_length: Length of the lists on which functions are compared.
        width: Width of the arrays that hold lists.
        held_out: Share of the longer compositions that training never sees, in [0, 1).
        seed: Which of them are drawn.

    Returns:
        The table; under `jit` it is a constant of the program.

    Example:
        >>> table = make_rule_table(("reverse", "sort"), 2, 3, 3, held_out=0.5, seed=0)
        >>> len(table.train) + len(table.new_compositions)
        3
    """
    rules = np.array(
        [
            (*rule, *[-1] * (max_steps - steps))
            for steps in range(1, max_steps + 1)
            for rule in itertools.product(range(len(names)), repeat=steps)
        ],
        np.int32,
    )
    with jax.ensure_compile_time_eval():
        probes = probe_lists(list_length, width)
        outputs = np.asarray(_outputs_of_each(names, rules, probes))
        identity = np.concatenate([probes.digits, probes.length[:, None]], axis=-1)
    first: dict[bytes, int] = {identity.astype(np.int32).tobytes(): -1}
    for index, output in enumerate(outputs):
        first.setdefault(output.astype(np.int32).tobytes(), index)
    distinct = rules[[index for index in first.values() if index >= 0]]
    longer = np.flatnonzero((distinct >= 0).sum(1) >= 2)
    count = round(held_out * len(longer))
    drawn = np.random.default_rng(seed).permutation(longer)[:count]
    chosen = np.isin(np.arange(len(distinct)), drawn)
    return RuleTable(
        train=jnp.asarray(distinct[~chosen]), new_compositions=jnp.asarray(distinct[chosen])
    )
