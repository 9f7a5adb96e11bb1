"""Compiled generation: prefill, then a loop that ends when every row has stopped."""

import dataclasses
from typing import Any, no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreason.checks import check_shape, check_that
from jaxreason.model import (
    KVCache,
    ModelConfig,
    Params,
    TokenScores,
    decode_step,
    decode_while,
    extend,
    prefill,
    read_prompts,
    score_hidden,
    score_logits,
)
from jaxreason.rollout.sampling import Sampling, sample_token
from jaxreason.sequences import Sequence


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Rollout:
    """What was generated.

    Attributes:
        completion: Tokens and mask, `[batch, max_new_tokens]`; a stop token counts, what comes
            after it is padding.
        log_probs: Log-probability of each token under the distribution that it was drawn from,
            `[batch, max_new_tokens]`; 0 for padding.
    """

    completion: Sequence
    log_probs: Float[Array, "..."]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Generation:
    """A rollout that is under way; see `begin` and `advance`.

    Attributes:
        step: Tokens drawn so far, of every row, `[]`.
        tokens: `[batch, max_new_tokens]`, padded.
        mask: Which of them were drawn before their row had stopped.
        log_probs: As in `Rollout`.
        done: Which rows have stopped, `[batch]`.
        uniform: The numbers that tokens are drawn with, `[batch, max_new_tokens]`.
        cache: Keys and values of what was read and drawn.
    """

    step: Int[Array, "..."]
    tokens: Int[Array, "..."]
    mask: Bool[Array, "..."]
    log_probs: Float[Array, "..."]
    done: Bool[Array, "..."]
    uniform: Float[Array, "..."]
    cache: KVCache

    @property
    def rollout(self) -> Rollout:
        """What was generated so far."""
        return Rollout(Sequence(self.tokens, self.mask), self.log_probs)


def generate(
    config: ModelConfig,
    params: Params,
    prompts: Sequence,
    key: Key[Array, "*batch"],
    *,
    max_new_tokens: int,
    stop_tokens: tuple[int, ...],
    samples: int = 1,
    sampling: Sampling = Sampling(),
    pad_id: int = 0,
) -> Rollout:
    """Continues prompts until a stop token or `max_new_tokens`.

    Each prompt is read once, however often it is continued. One program under `jit`: other prompts
    of the same padded shape compile nothing. Each row draws from a key of its own, so its result
    does not depend on the batch around it or on sharding.

    Args:
        config: The decoder's shape.
        params: From `model.init`.
        prompts: Prompts `[batch, time]`, padded anywhere, with at least one token each.
        key: One key, or one for each completion `[batch * samples]`.
        max_new_tokens: The most tokens to generate; static.
        stop_tokens: Tokens that end a row; static, may be empty.
        samples: Completions of each prompt, which stand side by side; static.
        sampling: The distribution to draw from; static.
        pad_id: Fills places after a stop token.

    Returns:
        The rollout, `[batch * samples]`.

    Raises:
        ValueError: If shapes disagree or there is nothing to generate.

    Example:
        >>> from jaxreason.model import init
        >>> config = ModelConfig(num_layers=1)
        >>> tokens = jnp.array([[5, 6, 7]])
        >>> rollout = generate(
        ...     config, init(config, jax.random.key(0)), Sequence(tokens, tokens > 0),
        ...     jax.random.key(1), max_new_tokens=4, stop_tokens=(2,))
        >>> rollout.completion.tokens.shape
        (1, 4)
    """
    how: dict[str, Any] = {"stop_tokens": stop_tokens, "sampling": sampling, "pad_id": pad_id}
    first = begin(
        config, params, prompts, key, max_new_tokens=max_new_tokens, samples=samples, **how
    )
    return advance(config, params, first, steps=max_new_tokens, **how).rollout


def begin(
    config: ModelConfig,
    params: Params,
    prompts: Sequence,
    key: Key[Array, "*batch"],
    *,
    max_new_tokens: int,
    stop_tokens: tuple[int, ...],
    samples: int = 1,
    sampling: Sampling = Sampling(),
    pad_id: int = 0,
) -> Generation:
    """Reads prompts and draws the first token of each row; `advance` goes on.

    Arguments and errors are those of `generate`, which is both in one program. They are apart for
    showing tokens while more are drawn.

    Example:
        >>> from jaxreason.model import init
        >>> config, how = ModelConfig(num_layers=1), {"stop_tokens": (2,)}
        >>> tokens, params = jnp.array([[5, 6, 7]]), init(config, jax.random.key(0))
        >>> state = begin(
        ...     config, params, Sequence(tokens, tokens > 0), jax.random.key(1),
        ...     max_new_tokens=4, **how)
        >>> int(advance(config, params, state, steps=2, **how).step)
        3
    """
    batch, time = check_shape("prompts.tokens", prompts.tokens, ("batch", "time"))
    check_shape("prompts.mask", prompts.mask, (batch, time))
    check_that(max_new_tokens >= 1, f"max_new_tokens must be 1 or more; got {max_new_tokens}.")
    check_that(samples >= 1, f"samples must be 1 or more; got {samples}.")
    logits, cache = prefill(
        config, params, prompts.tokens, prompts.mask, num_slots=time + max_new_tokens - 1
    )
    shape = (batch * samples, max_new_tokens)
    start = Generation(
        step=jnp.array(0, jnp.int32),
        tokens=jnp.full(shape, pad_id, jnp.int32),
        mask=jnp.zeros(shape, bool),
        log_probs=jnp.zeros(shape, jnp.float32),
        done=jnp.zeros(shape[:1], bool),
        uniform=row_uniforms(key, *shape),
        cache=cache.repeat(samples),
    )
    return _draw(start, jnp.repeat(logits, samples, 0), stop_tokens, sampling, pad_id)


def advance(
    config: ModelConfig,
    params: Params,
    state: Generation,
    *,
    steps: int,
    stop_tokens: tuple[int, ...],
    sampling: Sampling = Sampling(),
    pad_id: int = 0,
) -> Generation:
    """Draws up to `steps` more tokens of each row; other arguments as `begin` got them.

    Args:
        config: The decoder's shape.
        params: From `model.init`.
        state: From `begin` or the last call; donate it.
        steps: How many, less where `max_new_tokens` or the end of all rows comes first; static.
        stop_tokens: Tokens that end a row; static.
        sampling: The distribution to draw from; static.
        pad_id: Fills places after a stop token.

    Example:
        See `begin`.
    """
    limit = jnp.minimum(state.step + steps, state.tokens.shape[1])

    def step(state: Generation) -> Generation:
        last = jax.lax.dynamic_slice_in_dim(state.tokens, state.step - 1, 1, 1)[:, 0]
        logits, cache = decode_step(config, params, last, state.cache)
        state = dataclasses.replace(state, cache=cache)
        return _draw(state, logits, stop_tokens, sampling, pad_id)

    going = lambda state: (state.step < limit) & ~all_over(state.done)  # noqa: E731
    return decode_while(going, step, state)


def _draw(
    state: Generation,
    logits: Float[Array, "batch vocab"],
    stop_tokens: tuple[int, ...],
    sampling: Sampling,
    pad_id: int,
) -> Generation:
    """Draws one token of each row and writes it down."""
    logits = sampling.transform(logits)
    token = sample_token(logits, state.uniform[:, state.step])
    log_prob = score_logits(logits, token).log_probs
    active = ~state.done
    stops = jnp.array(stop_tokens, jnp.int32)
    write = lambda array, column: jax.lax.dynamic_update_slice_in_dim(  # noqa: E731
        array, column[:, None], state.step, 1
    )
    return dataclasses.replace(
        state,
        step=state.step + 1,
        tokens=write(state.tokens, jnp.where(active, token, pad_id)),
        mask=write(state.mask, active),
        log_probs=write(state.log_probs, jnp.where(active, log_prob, 0.0)),
        done=state.done | (token[:, None] == stops).any(-1),
    )


@jax.custom_batching.custom_vmap
def all_over(done: Bool[Array, "*batch"]) -> Bool[Array, ""]:
    """Tells whether every row has stopped, also in all members of a `vmap`.

    A loop whose condition differs between members would have to select the old or the new state,
    cache included, for each of them at every step.

    Example:
        >>> bool(all_over(jnp.array([True, False])))
        False
    """
    return done.all()


@all_over.def_vmap
def _all_over_in_every_member(
    axis_size: int, in_batched: list[bool], done: Bool[Array, "*batch"]
) -> tuple[Bool[Array, ""], bool]:
    return all_over(done), False


def row_uniforms(key: Key[Array, "*batch"], batch: int, steps: int) -> Float[Array, "batch step"]:
    """Draws one number for each row and step, from one key or one for each row.

    Example:
        >>> row_uniforms(jax.random.key(0), 2, 3).shape
        (2, 3)
    """
    if key.ndim == 0:
        key = jax.random.split(key, batch)
    check_shape("key", key, (batch,))
    return jax.vmap(lambda row: jax.random.uniform(row, (steps,)))(key)


def completion_log_probs(
    config: ModelConfig,
    params: Params,
    prompts: Sequence,
    completion: Sequence,
    *,
    sampling: Sampling = Sampling(),
    chunk_size: int = 4096,
) -> TokenScores:
    """Scores completions under the distribution that `generate` samples from.

    Each prompt is read once, however many completions it has: the gradients of all of them flow
    back through the one reading.

    Args:
        config: The decoder's shape.
        params: From `model.init`.
        prompts: The prompts, `[batch, time]`.
        completion: What followed them, `[batch * samples, step]`, those of one prompt side by side.
        sampling: The distribution; static.
        chunk_size: Tokens whose logits exist at the same time.

    Returns:
        `TokenScores` of shape `[batch * samples, step]`; those of padding mean nothing.

    Raises:
        ValueError: If shapes disagree.

    Example:
        >>> from jaxreason.model import init
        >>> config, sampling = ModelConfig(num_layers=1), Sampling(temperature=0.5)
        >>> def run(key):
        ...     params, tokens = init(config, key), jnp.array([[5, 6, 7]])
        ...     prompt, two = Sequence(tokens, tokens > 0), jnp.array([[8, 9], [9, 2]])
        ...     return completion_log_probs(
        ...         config, params, prompt, Sequence(two, two > 0), sampling=sampling)
        >>> jax.eval_shape(run, jax.random.key(0)).log_probs.shape
        (2, 2)
    """
    batch, time = check_shape("prompts.tokens", prompts.tokens, ("batch", "time"))
    rows, steps = check_shape("completion.tokens", completion.tokens, ("batch * samples", "step"))
    check_shape("completion.mask", completion.mask, (rows, steps))
    samples = rows // max(batch, 1)
    check_that(
        samples * batch == rows,
        f"every prompt must have as many completions; got {rows} for {batch} prompts.",
    )
    prompt, cache = read_prompts(
        config, params, prompts.tokens, prompts.mask, num_slots=time + steps - 1
    )
    # The last token of a completion predicts nothing.
    fed, mask = completion.tokens[:, :-1], completion.mask[:, :-1]
    hidden, _ = extend(config, params, fed, mask, cache.repeat(samples))
    first = jnp.repeat(prompt, samples, 0)[:, None]
    places = jnp.where(jnp.pad(mask, ((0, 0), (1, 0)), constant_values=True), jnp.arange(steps), 0)
    last = jax.lax.cummax(places, axis=1)
    before = jnp.take_along_axis(jnp.concatenate([first, hidden], 1), last[..., None], axis=1)
    return score_hidden(
        config,
        params,
        before,
        completion.tokens,
        transform=sampling.transform,
        chunk_size=chunk_size,
    )
