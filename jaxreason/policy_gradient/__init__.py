"""Policy-gradient estimators as pure functions of arrays, with no model in sight.

Advantages are functions of rewards and a group axis. Losses are functions of log-probs and
advantages; they return a `WeightedSum`, which is divided once, after it has been added up over
micro-batches and devices.

Example:
    >>> import jax.numpy as jnp
    >>> from jaxreason import policy_gradient
    >>> rewards = jnp.array([[1.0, 0.0, 0.0, 0.0]])  # [problem, solution]
    >>> advantages = policy_gradient.grpo(rewards).reshape(-1)  # [batch]
    >>> log_probs = jnp.full((4, 3), -0.5)  # [batch, time]
    >>> mask = jnp.ones((4, 3), bool)
    >>> total, weight = policy_gradient.clipped_surrogate(log_probs, log_probs, advantages, mask)
    >>> weight.item()
    12.0
"""

from jaxreason.policy_gradient.advantages import grpo, reinforce, rloo
from jaxreason.policy_gradient.aggregation import WeightedSum, aggregate
from jaxreason.policy_gradient.kl import k1, k2, k3
from jaxreason.policy_gradient.losses import clipped_surrogate, player_loss, policy_gradient

__all__ = [
    "WeightedSum",
    "aggregate",
    "clipped_surrogate",
    "grpo",
    "k1",
    "k2",
    "k3",
    "player_loss",
    "policy_gradient",
    "reinforce",
    "rloo",
]
