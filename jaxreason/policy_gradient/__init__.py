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

from jaxreason.policy_gradient.advantages import (
    MovingBaseline,
    grpo,
    has_spread,
    reinforce,
    reinforce_with_moving_baseline,
    rloo,
    soft_overlong_penalty,
)
from jaxreason.policy_gradient.aggregation import WeightedSum, aggregate
from jaxreason.policy_gradient.kl import k1, k2, k3
from jaxreason.policy_gradient.losses import (
    cispo,
    clipped_surrogate,
    gspo,
    policy_gradient,
    truncated_importance_weights,
    value_loss,
)
from jaxreason.policy_gradient.offline import (
    Preferred,
    best_and_worst,
    preference,
    rejection_fine_tuning,
)
from jaxreason.policy_gradient.player_loss import player_loss
from jaxreason.policy_gradient.token_advantages import (
    generalised_advantages,
    penalised_returns,
    reinforce_plus_plus,
    reinforce_plus_plus_baseline,
    whiten,
)

__all__ = [
    "MovingBaseline",
    "Preferred",
    "WeightedSum",
    "aggregate",
    "best_and_worst",
    "cispo",
    "clipped_surrogate",
    "generalised_advantages",
    "grpo",
    "gspo",
    "has_spread",
    "k1",
    "k2",
    "k3",
    "penalised_returns",
    "player_loss",
    "policy_gradient",
    "preference",
    "reinforce",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "reinforce_with_moving_baseline",
    "rejection_fine_tuning",
    "rloo",
    "soft_overlong_penalty",
    "truncated_importance_weights",
    "value_loss",
    "whiten",
]
