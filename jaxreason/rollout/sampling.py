"""The distribution that tokens are drawn from."""

import dataclasses

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

    One uniform number a row is drawn instead of one a token; a token of probability 0 is never
    returned.

    Args:
        logits: Unnormalised log-probabilities; -inf excludes a token.
        uniform: Numbers in [0, 1).

    Returns:
        Token ids.

    Example:
        >>> int(sample_token(jnp.log(jnp.array([0.25, 0.0, 0.75])), jnp.array(0.25)))
        2
    """
    weights = jnp.exp(logits - logits.max(-1, keepdims=True))
    cumulative = jnp.cumsum(weights, axis=-1)
    beyond = cumulative > uniform[..., None] * cumulative[..., -1:]
    # A parallel cumulative sum is rounded unevenly: it may rise where a weight is 0.
    possible = weights > 0
    token = jnp.arange(logits.shape[-1])
    first = jnp.where(possible & beyond, token, logits.shape[-1]).min(-1)
    last = jnp.where(possible, token, 0).max(-1)
    return jnp.minimum(first, last)
