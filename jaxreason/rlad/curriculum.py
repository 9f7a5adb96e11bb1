"""Which problems to train on: those that the base model solves sometimes."""

import dataclasses
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxreason.checks import check_shape, check_that
from jaxreason.model import ModelConfig, Params
from jaxreason.rlad.play import play
from jaxreason.rollout import Sampling
from jaxreason.tasks import Task


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class ProblemPool:
    """Problems, each as the key that it is sampled from, with the base model's success on them.

    Attributes:
        keys: `[problem]`.
        rates: The base model's success rate without an abstraction, `[problem]`.
    """

    keys: Key[Array, "..."]
    rates: Float[Array, "..."]

    def counts(self, low: float, high: float) -> dict[str, Int[Array, ""]]:
        """Counts the problems that are never and always solved, and those of a band.

        Example:
            >>> keys = jax.random.split(jax.random.key(0), 4)
            >>> pool = ProblemPool(keys, jnp.array([0.0, 0.25, 0.75, 1.0]))
            >>> {name: int(count) for name, count in pool.counts(0.5, 1.0).items()}
            {'never': 1, 'always': 1, 'in_band': 1}
        """
        settled = (self.rates <= 0) | (self.rates >= 1)
        inside = (self.rates > low) & (self.rates <= high) & ~settled
        return {
            "never": (self.rates <= 0).sum(),
            "always": (self.rates >= 1).sum(),
            "in_band": inside.sum(),
        }


def make_pool(
    task: Task,
    model: ModelConfig,
    params: Params,
    key: Key[Array, ""],
    *,
    problems: int,
    samples: int,
    split: str = "train",
    sampling: Sampling = Sampling(),
) -> ProblemPool:
    """Draws problems and measures how often the base model solves each without an abstraction.

    Args:
        task: The family of problems.
        model: The base model's shape.
        params: Its parameters.
        key: A random key.
        problems: How many; static.
        samples: Solutions for each; static.
        split: Which problems; static.
        sampling: The distribution to draw solutions from; static.

    Returns:
        The pool. `jax.vmap(lambda key: task.sample(key, split))(pool.keys)` are its problems.

    Raises:
        ValueError: If a size is below 1.

    Example:
        >>> from jaxreason.model import init
        >>> from jaxreason.tasks import RuleInductionConfig, make_rule_induction
        >>> task, config = make_rule_induction(RuleInductionConfig()), ModelConfig()
        >>> def run(key):
        ...     return make_pool(task, config, init(config, key), key, problems=6, samples=4)
        >>> jax.eval_shape(run, jax.random.key(0)).rates.shape
        (6,)
    """
    for name, value in (("problems", problems), ("samples", samples)):
        check_that(value >= 1, f"{name} must be 1 or more; got {value}.")
    draw_key, play_key = jax.random.split(key)
    keys = jax.random.split(draw_key, problems)
    played = play(
        task,
        (model, model),
        (params, params),
        jax.vmap(lambda key: task.sample(key, split))(keys),
        jax.random.split(play_key, problems),
        abstractions=0,
        solutions=samples,
        bare=1,
        sampling=(sampling, sampling),
    )
    return ProblemPool(keys, played.rewards.mean((1, 2)))


def pool_weights(
    rates: Float[Array, " problem"], *, low: float = 0.0, high: float = 1.0, floor: float = 0.1
) -> Float[Array, " problem"]:
    """Weighs problems by the base model's success: 1 in a band, `floor` where nothing is to learn.

    Problems that are always or never solved give no advantage; a little weight keeps them, since
    a player that gets better, or worse, may find them otherwise. Others outside the band get 0.
    The paper trains on easy problems first, then on those of middling success, and holds hard ones
    out; re-implementations call a rate up to 0.125 hard and one above 0.5 easy.

    See "RLAD: Training LLMs to Discover Abstractions for Solving Reasoning Problems" by Qu et al.
    (https://arxiv.org/abs/2510.02263).

    Args:
        rates: Success rates in [0, 1].
        low: The band's lower end, left out.
        high: The band's upper end, included.
        floor: Weight of problems that are always or never solved.

    Returns:
        Weights in [0, 1], not normalised.

    Raises:
        ValueError: Unless 0 <= low < high <= 1 and 0 <= floor <= 1.

    Example:
        >>> print(pool_weights(jnp.array([0.0, 0.1, 0.5, 1.0]), low=0.125))
        [0.1 0.  1.  0.1]
    """
    check_that(0 <= low < high <= 1, f"0 <= low < high <= 1 must hold; got {low} and {high}.")
    check_that(0 <= floor <= 1, f"floor must be in [0, 1]; got {floor}.")
    settled = (rates <= 0) | (rates >= 1)
    inside = (rates > low) & (rates <= high)
    return jnp.where(settled, floor, inside.astype(rates.dtype))


def draw_problems(
    pool: ProblemPool, key: Key[Array, ""], count: int, weights: Float[Array, " problem"]
) -> Key[Array, " count"]:
    """Draws the keys of problems, with replacement, in proportion to weights.

    Args:
        pool: From `make_pool`.
        key: A random key.
        count: How many; static.
        weights: From `pool_weights`, not all 0: then problems are drawn uniformly.

    Returns:
        Keys to sample problems from.

    Raises:
        ValueError: If shapes disagree.

    Example:
        >>> keys = jax.random.split(jax.random.key(0), 4)
        >>> pool = ProblemPool(keys, jnp.array([0.0, 0.25, 0.75, 1.0]))
        >>> weights = pool_weights(pool.rates, floor=0.0)
        >>> draw_problems(pool, jax.random.key(1), 8, weights).shape
        (8,)
    """
    check_shape("weights", weights, check_shape("pool.rates", pool.rates, ("problem",)))
    weights = jnp.where(weights.sum() > 0, weights, 1.0)
    return pool.keys[jax.random.categorical(key, jnp.log(weights), shape=(count,))]
