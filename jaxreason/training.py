"""Gradients of `(sum, weight)` losses over micro-batches and devices, and the supervised step."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import no_type_check

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from jaxreason.checks import check_that
from jaxreason.model import ModelConfig, Params, attach, token_log_probs
from jaxreason.optimizer import apply_gradients
from jaxreason.policy_gradient import WeightedSum, aggregate

Metrics = dict[str, WeightedSum]
LossFunction = Callable[[Params, PyTree], tuple[WeightedSum, Metrics]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class TrainState:
    """Parameters and the optimiser's state."""

    params: PyTree
    opt_state: PyTree


def init_state(optimizer: optax.GradientTransformation, params: PyTree) -> TrainState:
    """Returns the state before the first update."""
    return TrainState(params, optimizer.init(params))


def accumulate_gradients(
    loss_function: LossFunction,
    params: PyTree,
    batch: PyTree,
    *,
    num_microbatches: int = 1,
    axis_name: str | None = None,
) -> tuple[PyTree, WeightedSum, Metrics]:
    """Computes the gradient of sum / weight, both summed over micro-batches and devices first.

    The division happens once, so the result does not depend on how the batch is cut.

    Args:
        loss_function: Returns the loss's `(sum, weight)` and metrics of the same kind.
        params: Parameters.
        batch: A tree of arrays with one leading batch axis.
        num_microbatches: Parts that the batch is cut into, one after the other in memory; static.
        axis_name: The axis of `pmap` or `shard_map` to sum over, if any. Under `jit` with sharded
            arrays the sum over devices comes by itself.

    Returns:
        Gradients, the loss, and the metrics. A batch of weight 0 has gradient 0.

    Raises:
        ValueError: If the micro-batches do not divide the batch.

    Example:
        >>> def loss(params, batch):
        ...     return WeightedSum((params * batch).sum(), jnp.array(4.0)), {}
        >>> batch = jnp.array([0.0, 1.0, 2.0, 3.0])
        >>> float(accumulate_gradients(loss, jnp.array(1.0), batch, num_microbatches=2)[0])
        0.75
    """
    size = jax.tree.leaves(batch)[0].shape[0]
    check_that(
        num_microbatches >= 1 and size % num_microbatches == 0,
        f"num_microbatches must divide the batch; got {num_microbatches} for a batch of {size}.",
    )

    def gradient(microbatch: PyTree) -> tuple[PyTree, WeightedSum, Metrics]:
        def objective(params: PyTree) -> tuple[Array, tuple[WeightedSum, Metrics]]:
            loss, metrics = loss_function(params, microbatch)
            return loss.sum, (loss, metrics)

        gradients, (loss, metrics) = jax.grad(objective, has_aux=True)(params)
        return gradients, loss, metrics

    if num_microbatches == 1:
        total = gradient(batch)
    else:
        parts = jax.tree.map(
            lambda leaf: leaf.reshape(num_microbatches, -1, *leaf.shape[1:]), batch
        )
        first = jax.tree.map(lambda leaf: leaf[0], parts)
        zero = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(gradient, first)
        )
        add = lambda total, part: (jax.tree.map(jnp.add, total, gradient(part)), None)  # noqa: E731
        total = jax.lax.scan(add, zero, parts)[0]
    if axis_name is not None:
        total = jax.lax.psum(total, axis_name)
    gradients, loss, metrics = total
    scale = jnp.where(loss.weight > 0, 1.0 / jnp.maximum(loss.weight, 1e-30), 0.0)
    return jax.tree.map(lambda leaf: leaf * scale, gradients), loss, metrics


def next_token_loss(
    config: ModelConfig, params: Params, batch: Mapping[str, Array], *, chunk_size: int = 4096
) -> tuple[WeightedSum, Metrics]:
    """Computes the negative log-likelihood of a packed batch.

    Args:
        config: The decoder's shape.
        params: Its parameters.
        batch: `tokens`, `segment_ids` (0 = padding), `positions` and `loss_mask`, each
            `[batch, time]`. A token is learned where its mask is true and the token before it
            belongs to the same segment.
        chunk_size: Tokens whose logits exist at the same time.

    Returns:
        The loss, by token, and no metrics.

    Raises:
        ValueError: If shapes disagree.
    """
    tokens, segment_ids = batch["tokens"], batch["segment_ids"]
    scores = token_log_probs(
        config,
        params,
        tokens,
        positions=batch["positions"],
        segment_ids=segment_ids,
        chunk_size=chunk_size,
    )
    follows = (segment_ids[:, 1:] == segment_ids[:, :-1]) & (segment_ids[:, 1:] > 0)
    mask = batch["loss_mask"][:, 1:].astype(bool) & follows
    return aggregate(-scores.log_probs, mask), {}


def supervised_step(
    config: ModelConfig,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Mapping[str, Array],
    *,
    base: Params | None = None,
    num_microbatches: int = 1,
    axis_name: str | None = None,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """Makes one update on a packed batch: the step of pretraining and of supervised fine-tuning.

    Args:
        config: The decoder's shape; static.
        optimizer: From `make_optimizer`; static.
        state: Parameters and optimiser state; donate it.
        batch: As for `next_token_loss`.
        base: Frozen parameters, if those of `state` are adapters to be trained beside them.
        num_microbatches: As for `accumulate_gradients`; static.
        axis_name: As for `accumulate_gradients`; static.

    Returns:
        The new state, and the mean loss, the gradient's global norm and the tokens learned from.

    Raises:
        ValueError: If shapes disagree, or the micro-batches do not divide the batch.

    Example:
        >>> from jaxreason.model import init
        >>> from jaxreason.optimizer import OptimizerConfig, make_optimizer
        >>> config, optimizer = ModelConfig(), make_optimizer(OptimizerConfig(), total_steps=10)
        >>> def run(key):
        ...     state = init_state(optimizer, init(config, key))
        ...     ones = jnp.ones((4, 16), jnp.int32)
        ...     names = ("tokens", "segment_ids", "positions", "loss_mask")
        ...     return supervised_step(config, optimizer, state, dict.fromkeys(names, ones))
        >>> state, metrics = jax.eval_shape(run, jax.random.key(0))
        >>> sorted(metrics)
        ['gradient_norm', 'loss', 'tokens']
    """

    def loss_of(params: PyTree, part: PyTree) -> tuple[WeightedSum, Metrics]:
        whole = params if base is None else attach(base, params)
        return next_token_loss(config, whole, part)

    gradients, loss, _ = accumulate_gradients(
        loss_of,
        state.params,
        batch,
        num_microbatches=num_microbatches,
        axis_name=axis_name,
    )
    mean = loss.mean()
    params, opt_state = apply_gradients(optimizer, state.params, state.opt_state, gradients, mean)
    metrics = {
        "loss": mean,
        "gradient_norm": optax.tree.norm(gradients),
        "tokens": loss.weight,
    }
    return TrainState(params, opt_state), metrics
