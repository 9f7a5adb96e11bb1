"""The key-value cache: prefill it with prompts, then decode one token at a time."""

import dataclasses
from typing import Any, no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.checks import check_shape, check_that
from jaxreason.model.config import ModelConfig
from jaxreason.model.layers import Decoder, KeysValues
from jaxreason.model.transformer import Params, attention_mask, positions_of, unembed


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class KVCache:
    """Keys and values of the tokens so far; slots are shared by the rows, positions are not.

    Attributes:
        layers: Each layer's keys and values, `[batch, slot, kv_head, head_dim]`.
        valid: Which slots hold a token, `[batch, slot]`; padding in prompts never becomes one.
        next_slot: The slot that the next token takes, `[]`.
        next_position: The position that the next token of each row has, `[batch]`.
    """

    layers: tuple[KeysValues, ...]
    valid: Bool[Array, "..."]
    next_slot: Int[Array, "..."]
    next_position: Int[Array, "..."]


def prefill(
    config: ModelConfig,
    params: Params,
    tokens: Int[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    *,
    num_slots: int,
) -> tuple[Float[Array, "batch vocab"], KVCache]:
    """Reads prompts and returns the logits after each one's last token, with the cache.

    Args:
        config: The decoder's shape.
        params: From `init`.
        tokens: Prompts, padded anywhere.
        mask: Which tokens count; at least one in each row.
        num_slots: Size of the cache: the prompts' padded length plus the tokens to be decoded.

    Returns:
        Logits and cache.

    Raises:
        ValueError: If shapes disagree or the cache is shorter than the prompts.

    Example:
        >>> from jaxreason.model import init
        >>> config = ModelConfig(num_layers=1)
        >>> params = init(config, jax.random.key(0))
        >>> tokens = jnp.array([[1, 2, 3]])
        >>> logits, cache = prefill(config, params, tokens, tokens > 0, num_slots=8)
        >>> logits.shape, int(cache.next_slot)
        ((1, 512), 3)
    """
    batch, time = check_shape("tokens", tokens, ("batch", "time"))
    check_shape("mask", mask, (batch, time))
    check_that(
        num_slots >= time,
        f"num_slots must be at least the prompts' {time} tokens; got {num_slots}.",
    )
    segment_ids = mask.astype(jnp.int32)
    positions = positions_of(segment_ids)
    hidden, written = Decoder(config).apply(
        {"params": params}, tokens, positions, attention_mask(segment_ids)
    )
    room = ((0, 0), (0, num_slots - time))
    last = time - 1 - jnp.argmax(mask[:, ::-1], axis=-1)
    cache = KVCache(
        layers=jax.tree.map(lambda leaf: jnp.pad(leaf, (*room, (0, 0), (0, 0))), written),
        valid=jnp.pad(mask, room),
        next_slot=jnp.array(time, jnp.int32),
        next_position=mask.sum(-1, dtype=jnp.int32),
    )
    return unembed(config, params, hidden[jnp.arange(batch), last]), cache


def decode_step(
    config: ModelConfig, params: Params, tokens: Int[Array, "batch"], cache: KVCache
) -> tuple[Float[Array, "batch vocab"], KVCache]:
    """Feeds one token a row and returns the logits of the next, with the cache extended.

    Args:
        config: The decoder's shape.
        params: From `init`.
        tokens: The token that each row continues with.
        cache: From `prefill` or an earlier step, with a slot to spare.

    Returns:
        Logits and the new cache; under `jit` with the cache donated or carried in a loop the
        update happens in place.

    Raises:
        ValueError: If shapes disagree.

    Example:
        >>> from jaxreason.model import init
        >>> config = ModelConfig(num_layers=1)
        >>> def run(key):
        ...     params, tokens = init(config, key), jnp.array([[1, 2, 3]])
        ...     _, cache = prefill(config, params, tokens, tokens > 0, num_slots=8)
        ...     return decode_step(config, params, jnp.array([4]), cache)
        >>> logits, cache = jax.eval_shape(run, jax.random.key(0))
        >>> logits.shape, cache.valid.shape
        ((1, 512), (1, 8))
    """
    (batch,) = check_shape("tokens", tokens, ("batch",))
    num_slots = check_shape("cache.valid", cache.valid, (batch, "slot"))[1]
    valid = cache.valid | (jnp.arange(num_slots) == cache.next_slot)
    # As flax types it, the result may be variables too.
    output: Any = Decoder(config).apply(
        {"params": params},
        tokens[:, None],
        cache.next_position[:, None],
        valid[:, None, :],
        cache.layers,
        cache.next_slot,
    )
    hidden, layers = output
    cache = KVCache(layers, valid, cache.next_slot + 1, cache.next_position + 1)
    return unembed(config, params, hidden[:, 0]), cache
