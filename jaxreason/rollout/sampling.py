"""The distribution that tokens are drawn from."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxreason.checks import check_that


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Temperature, then top-k, then top-p; the rest is renormalised.

    Temperature 0 is greedy decoding: all probability on the first most likely token, whose
    log-probability is then 0.
    """

    temperature: float = 1.0
    """Divides the logits; 0 is greedy."""
    top_k: int | None = None
    """Keep the k most likely tokens (more if the last ones tie)."""
    top_p: float = 1.0
    """Keep the most likely tokens that together reach this probability."""

    def __post_init__(self) -> None:
        check_that(self.temperature >= 0, f"temperature must be 0 or more; got {self.temperature}.")
        enough = self.top_k is None or self.top_k >= 1
        check_that(enough, f"top_k must be 1 or more, or None; got {self.top_k}.")
        check_that(0 < self.top_p <= 1, f"top_p must be in (0, 1]; got {self.top_p}.")

    def transform(self, logits: Float[Array, "*batch vocab"]) -> Float[Array, "*batch vocab"]:
        """Returns the logits of this distribution; those of excluded tokens are -inf.

        Scoring tokens with this as `transform` gives their log-probabilities under the very
        distribution that `generate` sampled from.

        Example:
            >>> Sampling(temperature=0.5, top_k=1).transform(jnp.array([1.0, 2.0])).tolist()
            [-inf, 4.0]
        """
        if self.temperature == 0:
            first = jnp.argmax(logits, axis=-1, keepdims=True)
            is_first = jnp.arange(logits.shape[-1]) == first
            return jnp.where(is_first, 0.0, -jnp.inf).astype(logits.dtype)
        logits = logits / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = jax.lax.top_k(logits, self.top_k)[0][..., -1:]
            logits = jnp.where(logits >= least, logits, -jnp.inf)
        if self.top_p < 1:
            descending = -jnp.sort(-logits, axis=-1)
            probs = jax.nn.softmax(descending, axis=-1)
            kept = jnp.cumsum(probs, axis=-1) - probs < self.top_p
            least = jnp.where(kept, descending, jnp.inf).min(-1, keepdims=True)
            logits = jnp.where(logits >= least, logits, -jnp.inf)
        return logits


def sample_token(
    logits: Float[Array, "*batch vocab"], uniform: Float[Array, "*batch"]
) -> Int[Array, "*batch"]:
    """Draws tokens by inverting the cumulative distribution at `uniform`.

    One uniform number a row is drawn instead of one a token. The vocabulary is cut into about as
    many blocks as each has tokens: first a block is found, then the token in it, which sums every
    weight but accumulates few. A token of probability 0 is never returned.

    Args:
        logits: Unnormalised log-probabilities; -inf excludes a token.
        uniform: Numbers in [0, 1).

    Returns:
        Token ids.

    Example:
        >>> int(sample_token(jnp.log(jnp.array([0.25, 0.0, 0.75])), jnp.array(0.25)))
        2
    """
    vocab, batch = logits.shape[-1], logits.shape[:-1]
    width = math.isqrt(vocab - 1) + 1
    count = -(-vocab // width)
    weights = jnp.exp(logits - logits.max(-1, keepdims=True))
    room = [(0, 0)] * len(batch) + [(0, count * width - vocab)]
    blocks = jnp.pad(weights, room).reshape(*batch, count, width)
    sums = blocks.sum(-1)
    target = uniform * sums.sum(-1)
    block = _first_beyond(sums, target)
    before = jnp.where(jnp.arange(count) < block[..., None], sums, 0.0).sum(-1)
    inside = jnp.take_along_axis(blocks, block[..., None, None], axis=-2)[..., 0, :]
    return block * width + _first_beyond(inside, target - before)


def _first_beyond(
    weights: Float[Array, "*batch option"], target: Float[Array, "*batch"]
) -> Int[Array, "*batch"]:
    """Returns the first option with a weight up to which the weights sum to more than `target`.

    Rounding may put the target beyond all of them: it is the last one with a weight then. A
    parallel cumulative sum is rounded unevenly and may rise where a weight is 0.
    """
    option, possible = jnp.arange(weights.shape[-1]), weights > 0
    beyond = possible & (jnp.cumsum(weights, axis=-1) > target[..., None])
    first = jnp.where(beyond, option, weights.shape[-1]).min(-1)
    last = jnp.where(possible, option, 0).max(-1)
    return jnp.minimum(first, last)
