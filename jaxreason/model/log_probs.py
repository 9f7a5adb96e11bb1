"""Log-probabilities and entropies of given tokens, without the full array of logits."""

import dataclasses
from collections.abc import Callable
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxreason.checks import check_shape, check_that
from jaxreason.model.config import ModelConfig
from jaxreason.model.transformer import Params, hidden_states, unembed

LogitsTransform = Callable[[Float[Array, "... vocab"]], Float[Array, "... vocab"]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class TokenScores:
    """What a model thinks of given tokens.

    Attributes:
        log_probs: Log-probability of each token given those before it, `[batch, time]`.
        entropy: Entropy in nats of the distribution that each token was scored under,
            `[batch, time]`.
    """

    log_probs: Float[Array, "..."]
    entropy: Float[Array, "..."]


def score_logits(
    logits: Float[Array, "*batch vocab"], targets: Int[Array, "*batch"]
) -> TokenScores:
    """Scores targets under given logits; options at -inf have probability 0 and no gradient.

    Example:
        >>> scores = score_logits(jnp.zeros((1, 4)), jnp.array([2]))
        >>> round(float(scores.log_probs[0]), 6), round(float(scores.entropy[0]), 6)
        (-1.386294, 1.386294)
    """
    logits = logits.astype(jnp.float32)
    # Of two large numbers the difference would be coarse: the largest is taken off first.
    logits -= jax.lax.stop_gradient(logits.max(-1, keepdims=True))
    log_total = jnp.log(jnp.exp(logits).sum(-1))
    log_probs = logits - log_total[..., None]
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0] - log_total
    possible = log_probs > -jnp.inf
    finite = jnp.where(possible, log_probs, 0.0)
    entropy = -jnp.where(possible, jnp.exp(finite) * finite, 0.0).sum(-1)
    return TokenScores(chosen, entropy)


def score_hidden(
    config: ModelConfig,
    params: Params,
    hidden: Float[Array, "batch time dim"],
    targets: Int[Array, "batch time"],
    *,
    transform: LogitsTransform = lambda logits: logits,
    chunk_size: int = 4096,
) -> TokenScores:
    """Scores each target under the hidden state in its place, `chunk_size` tokens at a time.

    Logits exist for one chunk at a time, in the backward pass too, where they are computed again
    if there are several chunks. Of what is computed from them nothing is kept: doing that again is
    faster.

    Args:
        config: The decoder's shape.
        params: From `init`.
        hidden: Hidden states *before* each target.
        targets: Token ids.
        transform: Applied to the logits first, for instance a temperature.
        chunk_size: Tokens a chunk; the peak memory is `chunk_size * vocab` floats.

    Returns:
        Scores of shape `[batch, time]`.

    Raises:
        ValueError: If shapes disagree or the chunk is empty.
    """
    batch, time, _ = check_shape("hidden", hidden, ("batch", "time", config.dim))
    check_shape("targets", targets, (batch, time))
    check_that(chunk_size >= 1, f"chunk_size must be 1 or more; got {chunk_size}.")

    def score(chunk: tuple[Array, Array]) -> TokenScores:
        logits = unembed(config, params, chunk[0])
        return jax.checkpoint(lambda *each: score_logits(transform(each[0]), each[1]))(
            logits, chunk[1]
        )

    count = batch * time
    if count <= chunk_size:
        return score((hidden, targets))
    flat = hidden.reshape(count, config.dim), targets.reshape(count)
    chunks = -(-count // chunk_size)
    size = -(-count // chunks)
    padding = chunks * size - count
    padded = (
        jnp.pad(flat[0], ((0, padding), (0, 0))).reshape(chunks, size, config.dim),
        jnp.pad(flat[1], (0, padding)).reshape(chunks, size),
    )
    scores = jax.lax.map(jax.checkpoint(score), padded)
    return jax.tree.map(lambda leaf: leaf.reshape(-1)[:count].reshape(batch, time), scores)


def token_log_probs(
    config: ModelConfig,
    params: Params,
    tokens: Int[Array, "batch time"],
    *,
    start: int = 1,
    positions: Int[Array, "batch time"] | None = None,
    segment_ids: Int[Array, "batch time"] | None = None,
    transform: LogitsTransform = lambda logits: logits,
    chunk_size: int = 4096,
) -> TokenScores:
    """Scores the tokens from place `start` on, each given the tokens of its document before it.

    Padding may stand anywhere: a token is scored from the last valid one before it.

    Args:
        config: The decoder's shape.
        params: From `init`.
        tokens: Token ids.
        start: First place to score, 1 or later; static.
        positions: As for `hidden_states`.
        segment_ids: As for `hidden_states`.
        transform: Applied to the logits first, for instance `Sampling(...).transform`.
        chunk_size: As for `score_hidden`.

    Returns:
        Scores of shape `[batch, time - start]`. Those of padding, and of the first token of a
        document after the first, mean nothing: mask them.

    Raises:
        ValueError: If shapes disagree or `start` leaves nothing to score from.

    Example:
        >>> from jaxreason.model import init
        >>> config = ModelConfig(num_layers=1)
        >>> params = init(config, jax.random.key(0))
        >>> token_log_probs(config, params, jnp.array([[1, 2, 3]])).log_probs.shape
        (1, 2)
    """
    batch, time = check_shape("tokens", tokens, ("batch", "time"))
    check_that(1 <= start < time, f"start must be in [1, {time}); got {start}.")
    hidden = hidden_states(config, params, tokens, positions=positions, segment_ids=segment_ids)
    before = hidden[:, start - 1 : -1]
    if segment_ids is not None:
        slots = jnp.where(segment_ids > 0, jnp.arange(time), 0)
        last = jax.lax.cummax(slots, axis=1)[:, start - 1 : -1]
        before = jnp.take_along_axis(hidden, last[..., None], axis=1)
    return score_hidden(
        config, params, before, tokens[:, start:], transform=transform, chunk_size=chunk_size
    )
