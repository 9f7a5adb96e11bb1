"""Padding prompts to a few fixed lengths, so that few programs serve all of them."""

from collections.abc import Sequence as Seq

import jax.numpy as jnp
import numpy as np

from jaxreason.checks import check_that
from jaxreason.sequences import Sequence


def pad_prompts(prompts: Seq[Seq[int]], *, buckets: Seq[int], pad_id: int = 0) -> Sequence:
    """Pads prompts on the left to the shortest bucket that holds them all.

    Args:
        prompts: Token ids of each prompt, at least one each.
        buckets: The lengths allowed, in any order.
        pad_id: Fills the places before a prompt.

    Returns:
        Prompts `[batch, bucket]` for `generate`.

    Raises:
        ValueError: If a prompt is empty, or longer than every bucket.

    Example:
        >>> pad_prompts([[5, 6, 7], [8]], buckets=(4, 8)).tokens.tolist()
        [[0, 5, 6, 7], [0, 0, 0, 8]]
    """
    lengths = [len(prompt) for prompt in prompts]
    check_that(bool(lengths) and min(lengths) > 0, "prompts must hold at least one token each.")
    longest = max(lengths)
    fitting = [bucket for bucket in buckets if bucket >= longest]
    check_that(
        bool(fitting),
        f"a prompt of {longest} tokens fits no bucket of {sorted(buckets)}: add a longer one.",
    )
    tokens = np.full((len(prompts), min(fitting)), pad_id, np.int32)
    mask = np.zeros(tokens.shape, bool)
    for row, prompt in enumerate(prompts):
        tokens[row, tokens.shape[1] - len(prompt) :] = prompt
        mask[row, tokens.shape[1] - len(prompt) :] = True
    return Sequence(jnp.asarray(tokens), jnp.asarray(mask))
