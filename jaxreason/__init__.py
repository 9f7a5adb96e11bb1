"""JAX building blocks for language models that reason better.

Everything is a pure function of arrays, trees of arrays and frozen configs: it works under `jit`,
`vmap` and `grad`, takes randomness as a `key`, and never touches files, clocks or the console.

- `jaxreason.mixture`: data mixtures with an exact reasoning density, schedules and packing.
- `jaxreason.model`: a decoder-only transformer, its key-value cache and token log-probabilities.
- `jaxreason.rollout`: compiled generation, and the scorer of what was generated.
- `jaxreason.policy_gradient`: advantages, clipped losses and KL estimators.
- `jaxreason.tasks`: families of problems that are generated and verified on the device.
- `jaxreason.rlad`: the game of an abstraction generator and a solution generator.
- `jaxreason.voting`: majority, optimal weights and inverse surprising popularity.
- `jaxreason.optimizer`, `jaxreason.training`, `jaxreason.sharding`: updates, on one device or many.

Example:
    >>> import jax.numpy as jnp
    >>> import jaxreason
    >>> answers = jnp.array([[2, 0, 2, -1]])  # of four agents on one question, the last abstains
    >>> jaxreason.voting.majority(answers, num_options=3).answers.tolist()
    [2]
"""

from jaxreason import (
    checks,
    mixture,
    model,
    optimizer,
    policy_gradient,
    rlad,
    rollout,
    sequences,
    sharding,
    tasks,
    training,
    voting,
)

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "checks",
    "mixture",
    "model",
    "optimizer",
    "policy_gradient",
    "rlad",
    "rollout",
    "sequences",
    "sharding",
    "tasks",
    "training",
    "voting",
]
