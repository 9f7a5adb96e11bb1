"""The key-value cache: prefill it with prompts, then decode or read on."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.checks import check_shape, check_that
from jaxreason.model.config import ModelConfig
from jaxreason.model.layers import Decoder, KeysValues
from jaxreason.model.transformer import Params, attention_mask, positions_of, unembed

State = TypeVar("State")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class KVCache:
    """Keys and values of the tokens so far; slots are shared by the rows, positions are not.

    Attributes:
        layers: Each layer's keys, `[batch, kv_head, head_dim, slot]`, and values,
            `[batch, kv_head, slot, head_dim]`.
        positions: The position of each slot's token, `[batch, slot]`; -1 where there is none, as
            in the slots of a prompt's padding.
        next_slot: The slot that the next token takes, `[]`.
        next_position: The position that the next token of each row has, `[batch]`.
    """

    layers: tuple[KeysValues, ...]
    positions: Int[Array, "..."]
    next_slot: Int[Array, "..."]
    next_position: Int[Array, "..."]

    @property
    def valid(self) -> Bool[Array, "..."]:
        """Which slots hold a token, `[batch, slot]`."""
        return self.positions >= 0

    def repeat(self, times: int) -> "KVCache":
        """Returns a cache with each row `times` times, side by side.

        Example:
            >>> one = jnp.ones((1,), jnp.int32)
            >>> KVCache((), jnp.zeros((1, 8), jnp.int32), jnp.array(1), one).repeat(3).valid.shape
            (3, 8)
        """
        rows = (self.layers, self.positions, self.next_position)
        layers, positions, following = jax.tree.map(lambda leaf: jnp.repeat(leaf, times, 0), rows)
        return KVCache(layers, positions, self.next_slot, following)


def read_prompts(
    config: ModelConfig,
    params: Params,
    tokens: Int[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    *,
    num_slots: int,
) -> tuple[Float[Array, "batch dim"], KVCache]:
    """Reads prompts and returns the hidden state of each one's last token, with the cache.

    Args:
        config: The decoder's shape.
        params: From `init`.
        tokens: Prompts, padded anywhere.
        mask: Which tokens count; at least one in each row.
        num_slots: Size of the cache: the prompts' padded length plus the tokens to come.

    Returns:
        Hidden states and cache.

    Raises:
        ValueError: If shapes disagree or the cache is shorter than the prompts.

    Example:
        See `prefill`, which calls it.
    """
    batch, time = check_shape("tokens", tokens, ("batch", "time"))
    check_shape("mask", mask, (batch, time))
    check_that(
        num_slots >= time,
        f"num_slots must be at least the prompts' {time} tokens; got {num_slots}.",
    )
    segment_ids = mask.astype(jnp.int32)
    positions = positions_of(segment_ids)
    # As flax types it, the result may be variables too.
    output: Any = Decoder(config).apply(
        {"params": params}, tokens, positions, attention_mask(segment_ids)
    )
    hidden, written = output
    room, whole = (0, num_slots - time), (0, 0)
    last = time - 1 - jnp.argmax(mask[:, ::-1], axis=-1)
    cache = KVCache(
        layers=tuple(
            (
                jnp.pad(keys, (whole, whole, whole, room)),
                jnp.pad(values, (whole, whole, room, whole)),
            )
            for keys, values in written
        ),
        positions=jnp.pad(jnp.where(mask, positions, -1), (whole, room), constant_values=-1),
        next_slot=jnp.array(time, jnp.int32),
        next_position=mask.sum(-1, dtype=jnp.int32),
    )
    return hidden[jnp.arange(batch), last], cache


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
    hidden, cache = read_prompts(config, params, tokens, mask, num_slots=num_slots)
    return unembed(config, params, hidden), cache


def extend(
    config: ModelConfig,
    params: Params,
    tokens: Int[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    cache: KVCache,
) -> tuple[Float[Array, "batch time dim"], KVCache]:
    """Reads tokens that follow those of a cache; returns their hidden states and the longer cache.

    Args:
        config: The decoder's shape.
        params: From `init`.
        tokens: What follows, padded anywhere.
        mask: Which tokens count.
        cache: From `prefill`, `read_prompts` or an earlier step, with slots to spare.

    Returns:
        Hidden states, those of padding mean nothing, and the new cache; under `jit` with the cache
        donated or carried in a loop the update happens in place.

    Raises:
        ValueError: If shapes disagree.

    Example:
        See `decode_step`, which calls it with one token.
    """
    batch, time = check_shape("tokens", tokens, ("batch", "time"))
    check_shape("mask", mask, (batch, time))
    slots = check_shape("cache.valid", cache.valid, (batch, "slot"))[1]
    segment_ids, write = mask.astype(jnp.int32), jax.lax.dynamic_update_slice_in_dim
    before = jnp.broadcast_to(cache.valid[:, None], (batch, time, slots))
    positions = cache.next_position[:, None] + positions_of(segment_ids)
    slot_positions = write(cache.positions, jnp.where(mask, positions, -1), cache.next_slot, 1)
    output: Any = Decoder(config).apply(
        {"params": params},
        tokens,
        positions,
        write(before, attention_mask(segment_ids), cache.next_slot, 2),
        cache.layers,
        cache.next_slot,
        slot_positions,
    )
    hidden, layers = output
    return hidden, KVCache(
        layers,
        slot_positions,
        cache.next_slot + time,
        cache.next_position + mask.sum(-1, dtype=jnp.int32),
    )


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
        Logits and the new cache, see `extend`.

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
        >>> logits.shape, cache.positions.shape
        ((1, 512), (1, 8))
    """
    check_shape("tokens", tokens, ("batch",))
    fed = tokens[:, None]
    hidden, cache = extend(config, params, fed, jnp.ones(fed.shape, bool), cache)
    return unembed(config, params, hidden[:, 0]), cache


def decode_while(
    going: Callable[[State], Bool[Array, ""]], step: Callable[[State], State], state: State
) -> State:
    """Runs `lax.while_loop` over a state that holds a cache, which every step updates in place.

    Between steps the cache has no axes of length 1. With one row, or one key-value head, XLA for a
    CPU would otherwise copy the whole cache twice at every step.

    Args:
        going: Tells from a state whether to go on; the cache is not for it to look at.
        step: Returns the next state.
        state: A pytree dataclass with a `KVCache` as its field `cache`.

    Returns:
        The last state.

    Example:
        >>> from jaxreason.model import init
        >>> config = ModelConfig(num_layers=1)
        >>> @jax.tree_util.register_dataclass
        ... @dataclasses.dataclass(frozen=True)
        ... class Greedy:
        ...     token: jax.Array
        ...     cache: KVCache
        >>> def run(key):
        ...     params, tokens = init(config, key), jnp.array([[1, 2, 3]])
        ...     logits, cache = prefill(config, params, tokens, tokens > 0, num_slots=8)
        ...     def step(state):
        ...         logits, cache = decode_step(config, params, state.token, state.cache)
        ...         return Greedy(logits.argmax(-1), cache)
        ...     return decode_while(
        ...         lambda state: state.cache.next_slot < 8, step, Greedy(logits.argmax(-1), cache))
        >>> jax.eval_shape(run, jax.random.key(0)).cache.positions.shape
        (1, 8)
    """
    leaves, tree = jax.tree.flatten(_cache_of(state).layers)

    def narrow(state: State) -> State:
        return _with_layers(state, jax.tree.map(jnp.squeeze, _cache_of(state).layers))

    def whole(state: State) -> State:
        squeezed = jax.tree.leaves(_cache_of(state).layers)
        shaped = [new.reshape(old.shape) for new, old in zip(squeezed, leaves, strict=True)]
        return _with_layers(state, jax.tree.unflatten(tree, shaped))

    end = jax.lax.while_loop(going, lambda state: narrow(step(whole(state))), narrow(state))
    return whole(end)


def _cache_of(state: Any) -> KVCache:
    cache: KVCache = state.cache
    return cache


def _with_layers(state: Any, layers: Any) -> Any:
    cache = dataclasses.replace(state.cache, layers=layers)
    return dataclasses.replace(state, cache=cache)
