"""Compiled generation for a queue of prompts: a slot whose row has stopped takes the next one.

Slots of the cache are shared by the rows, so that a step writes all of them in place with one
slice. Those for generated tokens form a ring: a row takes its first one wherever the others are,
and stops before it comes round to it again.
"""

import dataclasses
from functools import partial
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreason.checks import check_shape, check_that
from jaxreason.model import (
    KVCache,
    ModelConfig,
    Params,
    decode_step,
    decode_while,
    prefill,
    score_logits,
)
from jaxreason.rollout.generate import Rollout, all_over, row_uniforms
from jaxreason.rollout.sampling import Sampling, sample_token
from jaxreason.sequences import Sequence


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class QueueCounts:
    """What a queue took to generate.

    Attributes:
        prefills: Groups of prompts that were read, `[]`.
        decode_steps: Steps, each of which decodes a token in every slot, `[]`.
        slot_steps: Those tokens that a request needed, `[]`; of `decode_steps * slots` in all.
    """

    prefills: Int[Array, "..."]
    decode_steps: Int[Array, "..."]
    slot_steps: Int[Array, "..."]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class _State:
    prefills: Int[Array, "..."]
    decode_steps: Int[Array, "..."]
    next_request: Int[Array, "..."]
    # Of each slot: its request, or the number of requests if it is free, and that one's tokens.
    request: Int[Array, "..."]
    length: Int[Array, "..."]
    last: Int[Array, "..."]
    cache: KVCache
    # Of each request; -1 where there is no token.
    tokens: Int[Array, "..."]
    log_probs: Float[Array, "..."]


def generate_queue(
    config: ModelConfig,
    params: Params,
    prompts: Sequence,
    key: Key[Array, "*request"],
    *,
    slots: int,
    max_new_tokens: int,
    stop_tokens: tuple[int, ...],
    sampling: Sampling = Sampling(),
    pad_id: int = 0,
    refill: int | None = None,
) -> tuple[Rollout, QueueCounts]:
    """Continues many prompts, a few at a time, and lets no slot wait for the longest.

    Gives what `generate` gives for all prompts at once, since each request draws from a key of its
    own. The cache holds `slots` rows, whatever the number of requests. One program under `jit`: it
    reads a group of prompts, then decodes until there is room for the next group.

    Args:
        config: The decoder's shape.
        params: From `model.init`.
        prompts: Prompts `[request, time]`, padded anywhere, with at least one token each.
        key: One key, or one for each request `[request]`.
        slots: Rows that are decoded at the same time; static.
        max_new_tokens: The most tokens to generate for a request; static.
        stop_tokens: Tokens that end a request; static, may be empty.
        sampling: The distribution to draw from; static.
        pad_id: Fills places after a stop token.
        refill: Prompts that are read at a time, once as many slots are free; static. Few keep the
            slots busy, many make better use of a device that reads its weights for each group; an
            eighth of the slots if None.

    Returns:
        The rollout `[request, max_new_tokens]`, and what it took.

    Raises:
        ValueError: If shapes disagree, or there are no slots or nothing to generate.

    Example:
        >>> from jaxreason.model import init
        >>> config = ModelConfig(num_layers=1)
        >>> def run(key):
        ...     params, tokens = init(config, key), jnp.ones((9, 3), jnp.int32)
        ...     return generate_queue(
        ...         config, params, Sequence(tokens, tokens > 0), key,
        ...         slots=4, max_new_tokens=5, stop_tokens=(2,))
        >>> jax.eval_shape(run, jax.random.key(0))[0].completion.tokens.shape
        (9, 5)
    """
    requests, time = check_shape("prompts.tokens", prompts.tokens, ("request", "time"))
    check_shape("prompts.mask", prompts.mask, (requests, time))
    check_that(max_new_tokens >= 1, f"max_new_tokens must be 1 or more; got {max_new_tokens}.")
    check_that(slots >= 1, f"slots must be 1 or more; got {slots}.")
    group = max(1, slots // 8) if refill is None else refill
    check_that(1 <= group <= slots, f"refill must be in [1, {slots}], the slots; got {group}.")
    uniform = row_uniforms(key, requests, max_new_tokens)
    stops = jnp.array(stop_tokens, jnp.int32)
    queue = _Queue(config, params, prompts, uniform, sampling, stops, slots, group)
    end = jax.lax.while_loop(
        lambda state: state.next_request < requests,
        lambda state: queue.decode(queue.admit(state)),
        queue.start(),
    )
    mask = end.tokens >= 0
    rollout = Rollout(Sequence(jnp.where(mask, end.tokens, pad_id), mask), end.log_probs)
    # The first token of a request comes from its prompt, every other one from a step in its slot.
    return rollout, QueueCounts(end.prefills, end.decode_steps, mask.sum() - requests)


@dataclasses.dataclass(frozen=True)
@no_type_check
class _Queue:
    """The parts of the program, over what does not change while it runs."""

    config: ModelConfig
    params: Params
    prompts: Sequence
    uniform: Float[Array, "request step"]
    sampling: Sampling
    stops: Int[Array, "stop"]
    slots: int
    group: int

    def start(self) -> _State:
        """Every slot is free, every request waits."""
        zero, of_slots = jnp.array(0, jnp.int32), jnp.zeros((self.slots,), jnp.int32)
        return _State(
            prefills=zero,
            decode_steps=zero,
            next_request=zero,
            request=jnp.full_like(of_slots, len(self.uniform)),
            length=of_slots,
            last=of_slots,
            cache=self.empty_cache(),
            tokens=jnp.full(self.uniform.shape, -1, jnp.int32),
            log_probs=jnp.zeros(self.uniform.shape, jnp.float32),
        )

    def empty_cache(self) -> KVCache:
        """Slots for prompts, which come first, and the ring: the last token is not fed."""
        time, ring = self.prompts.tokens.shape[1], max(1, self.uniform.shape[1] - 1)
        read = partial(prefill, self.config, self.params, num_slots=time + ring)
        shape = (self.slots, time)
        abstract = jax.eval_shape(
            lambda: read(jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool))[1]
        )
        empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), abstract)
        nowhere = jnp.full_like(empty.positions, -1)
        return dataclasses.replace(empty, positions=nowhere, next_slot=jnp.array(time, jnp.int32))

    def draw(
        self, state: _State, request: Array, place: Array, logits: Array
    ) -> tuple[_State, Array, Array]:
        """Draws each request's token at its place; returns it, and the request if that goes on."""
        logits = self.sampling.transform(logits)
        token = sample_token(logits, self.uniform.at[request, place].get(mode="clip"))
        log_prob = score_logits(logits, token).log_probs
        write = lambda array, new: array.at[request, place].set(new, mode="drop")  # noqa: E731
        state = dataclasses.replace(
            state, tokens=write(state.tokens, token), log_probs=write(state.log_probs, log_prob)
        )
        requests, max_new_tokens = self.uniform.shape
        stopped = (place + 1 == max_new_tokens) | (token[:, None] == self.stops).any(-1)
        return state, token, jnp.where(stopped, requests, request)

    def admit(self, state: _State) -> _State:
        """Reads the next prompts into free slots; what is beyond the last one is dropped."""
        request = state.next_request + jnp.arange(self.group)
        prompts = jax.tree.map(lambda leaf: leaf.at[request].get(mode="clip"), self.prompts)
        time = prompts.tokens.shape[1]
        logits, cache = prefill(
            self.config, self.params, prompts.tokens, prompts.mask, num_slots=time
        )
        free = jnp.nonzero(self.is_free(state), size=self.group, fill_value=self.slots)[0]
        row = jnp.where(request < len(self.uniform), free, self.slots)
        state, token, request = self.draw(state, request, jnp.zeros_like(request), logits)
        put = lambda array, new: array.at[row].set(new, mode="drop")  # noqa: E731
        return dataclasses.replace(
            state,
            prefills=state.prefills + 1,
            next_request=state.next_request + self.group,
            request=put(state.request, request),
            length=put(state.length, jnp.ones_like(request)),
            last=put(state.last, token),
            cache=_put_rows(state.cache, row, cache),
        )

    def is_free(self, state: _State) -> Bool[Array, "slot"]:
        """Returns which slots have no request."""
        return state.request == len(self.uniform)

    def decode(self, state: _State) -> _State:
        """Decodes until the next group fits, or to the end if nothing waits.

        Members of a `vmap` wait for each other, so that the loop need not select, of each member's
        cache, the old or the new one at every step.
        """
        waiting = len(self.uniform) - state.next_request
        enough = jnp.where(waiting > 0, jnp.minimum(waiting, self.group), self.slots)
        return decode_while(
            lambda state: ~all_over(self.is_free(state).sum() >= enough), self.advance, state
        )

    def advance(self, state: _State) -> _State:
        """Decodes one token in every slot."""
        logits, cache = decode_step(self.config, self.params, state.last, state.cache)
        end, time = cache.positions.shape[1], self.prompts.tokens.shape[1]
        next_slot = jnp.where(cache.next_slot == end, time, cache.next_slot)
        state, token, request = self.draw(state, state.request, state.length, logits)
        return dataclasses.replace(
            state,
            decode_steps=state.decode_steps + 1,
            request=request,
            length=state.length + 1,
            last=token,
            cache=dataclasses.replace(cache, next_slot=next_slot),
        )


def _put_rows(cache: KVCache, row: Int[Array, "prompt"], prompts: KVCache) -> KVCache:
    """Replaces rows of a cache by prompts; a row that is none of its own is dropped."""
    time = prompts.positions.shape[1]
    put = lambda array, new: array.at[row].set(new, mode="drop")  # noqa: E731
    keys = lambda array, new: array.at[row, ..., :time].set(new, mode="drop")  # noqa: E731
    values = lambda array, new: array.at[row, :, :time].set(new, mode="drop")  # noqa: E731
    room = (0, 0), (0, cache.positions.shape[1] - time)
    positions = jnp.pad(prompts.positions, room, constant_values=-1)
    return KVCache(
        layers=tuple(
            (keys(old[0], new[0]), values(old[1], new[1]))
            for old, new in zip(cache.layers, prompts.layers, strict=True)
        ),
        positions=put(cache.positions, positions),
        next_slot=cache.next_slot,
        next_position=put(cache.next_position, prompts.next_position),
    )
