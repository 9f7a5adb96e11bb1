"""The optimiser, and updates that skip what is not finite."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxreason.checks import check_that

_NEVER = 2**31 - 1
_ADAMW_RMS = 0.2  # what the entries of AdamW's updates come to, in learning rates


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Muon or AdamW with a linear warm-up, cosine decay and clipping by global norm."""

    method: Literal["muon", "adamw"] = "adamw"
    """Muon orthogonalises the updates of matrices, at AdamW's usual size, and leaves the rest to
    AdamW."""
    learning_rate: float = 3e-3
    """Peak learning rate."""
    warmup_steps: int = 20
    """Updates over which the learning rate rises from 0."""
    final_fraction: float = 0.1
    """Share of the peak that is left after the last update; 1 keeps it constant."""
    weight_decay: float = 0.01
    """Decoupled weight decay; applied to matrices, not to norms."""
    b1: float = 0.9
    """Decay of AdamW's first moment."""
    b2: float = 0.95
    """Decay of AdamW's second moment."""
    clip_norm: float = 1.0
    """Largest global norm of a gradient."""

    def __post_init__(self) -> None:
        method = self.method
        check_that(method in ("muon", "adamw"), f"method must be muon or adamw; got {method!r}.")
        for name in ("learning_rate", "clip_norm"):
            value = getattr(self, name)
            check_that(value > 0, f"{name} must be above 0; got {value}.")
        check_that(
            self.warmup_steps >= 0, f"warmup_steps must be 0 or more; got {self.warmup_steps}."
        )
        check_that(
            self.weight_decay >= 0, f"weight_decay must be 0 or more; got {self.weight_decay}."
        )
        for name in ("b1", "b2"):
            value = getattr(self, name)
            check_that(0 <= value < 1, f"{name} must be in [0, 1); got {value}.")
        fraction = self.final_fraction
        check_that(0 <= fraction <= 1, f"final_fraction must be in [0, 1]; got {fraction}.")


def make_optimizer(config: OptimizerConfig, total_steps: int) -> optax.GradientTransformation:
    """Makes the optimiser of a run of `total_steps` updates.

    See "Decoupled Weight Decay Regularization" by Loshchilov and Hutter
    (https://arxiv.org/abs/1711.05101) and "Muon is Scalable for LLM Training" by Liu et al.
    (https://arxiv.org/abs/2502.16982). A gradient that is not finite leaves parameters and moments
    as they are and is counted; see `skipped_updates`.

    Args:
        config: Learning rate, decay and clipping.
        total_steps: Updates until the learning rate reaches its final value.

    Returns:
        An optax transformation.

    Example:
        >>> optimizer = make_optimizer(OptimizerConfig(), total_steps=100)
        >>> state = optimizer.init({"w": jnp.ones((2, 2))})
    """
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if config.warmup_steps else config.learning_rate,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=max(total_steps, config.warmup_steps + 1),
        end_value=config.learning_rate * config.final_fraction,
    )
    update = _muon if config.method == "muon" else _adamw
    inner = optax.chain(optax.clip_by_global_norm(config.clip_norm), update(config, schedule))
    return optax.apply_if_finite(inner, max_consecutive_errors=_NEVER)


def _is_matrix(params: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _adamw(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    return optax.adamw(
        schedule, b1=config.b1, b2=config.b2, weight_decay=config.weight_decay, mask=_is_matrix
    )


def _muon(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    return optax.contrib.muon(
        schedule,
        weight_decay=config.weight_decay,
        adam_b1=config.b1,
        adam_b2=config.b2,
        consistent_rms=_ADAMW_RMS,
    )


def apply_gradients(
    optimizer: optax.GradientTransformation,
    params: PyTree,
    opt_state: PyTree,
    gradients: PyTree,
    loss: Float[Array, ""],
) -> tuple[PyTree, PyTree]:
    """Updates parameters, unless the loss or a gradient is not finite.

    Args:
        optimizer: From `make_optimizer`.
        params: Parameters.
        opt_state: The optimiser's state.
        gradients: A tree like `params`.
        loss: The loss that the gradients belong to.

    Returns:
        The new parameters and optimiser state; on a skipped update only its counters change.
    """
    poison = jnp.where(jnp.isfinite(loss), 1.0, jnp.nan)
    gradients = jax.tree.map(lambda leaf: leaf * poison.astype(leaf.dtype), gradients)
    # optax multiplies floats with int32 counts of steps, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        updates, opt_state = optimizer.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def skipped_updates(opt_state: PyTree) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Returns how many updates were skipped in a row just now, and how many in all.

    Example:
        >>> optimizer = make_optimizer(OptimizerConfig(), total_steps=10)
        >>> params = {"w": jnp.ones(2)}
        >>> bad = {"w": jnp.array([jnp.inf, 0.0])}
        >>> state = optimizer.init(params)
        >>> params, state = apply_gradients(optimizer, params, state, bad, jnp.array(0.0))
        >>> params["w"].tolist(), [int(count) for count in skipped_updates(state)]
        ([1.0, 1.0], [1, 1])
    """
    return opt_state.notfinite_count, opt_state.total_notfinite
