"""Generation from a queue: equal to `generate`, whatever the slots; counted; compiled once."""

import dataclasses
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.model import ModelConfig, init, token_log_probs
from jaxreason.rollout import Sampling, completion_log_probs, generate
from jaxreason.rollout.queue import generate_queue
from jaxreason.sequences import Sequence

CONFIG = ModelConfig(
    vocab_size=31, dim=16, num_layers=1, num_heads=4, num_kv_heads=2, hidden_dim=24
)
REQUESTS, STEPS, STOPS = 13, 7, (1, 2, 3, 5, 8, 13)
GREEDY, TOP_K = Sampling(temperature=0.0), Sampling(temperature=0.8, top_k=5)
STATIC = ("sampling", "stop_tokens", "max_new_tokens")


@pytest.fixture(scope="module")
def params():
    """With a large embedding, so that distributions are far from uniform."""
    drawn = jax.jit(init, static_argnums=0)(CONFIG, jax.random.key(0))
    return drawn | {"embedding": 15 * drawn["embedding"]}


def make_prompts(requests=REQUESTS, seed=0):
    """Prompts of 5 places with gaps anywhere."""
    token_key, mask_key = jax.random.split(jax.random.key(seed))
    mask = jax.random.bernoulli(mask_key, 0.6, (requests, 5)).at[:, 2].set(True)
    return Sequence(jax.random.randint(token_key, (requests, 5), 0, 31), mask)


@partial(jax.jit, static_argnames=(*STATIC, "config", "slots", "refill"))
def run(
    params,
    prompts,
    key,
    sampling=Sampling(),
    stop_tokens=STOPS,
    max_new_tokens=STEPS,
    config=CONFIG,
    **how,
):
    return generate_queue(
        config,
        params,
        prompts,
        key,
        max_new_tokens=max_new_tokens,
        stop_tokens=stop_tokens,
        sampling=sampling,
        pad_id=30,
        **how,
    )


@partial(jax.jit, static_argnames=(*STATIC, "config"))
def at_once(
    params,
    prompts,
    key,
    sampling=Sampling(),
    stop_tokens=STOPS,
    max_new_tokens=STEPS,
    config=CONFIG,
):
    return generate(
        config,
        params,
        prompts,
        key,
        max_new_tokens=max_new_tokens,
        stop_tokens=stop_tokens,
        sampling=sampling,
        pad_id=30,
    )


def assert_same(rollout, expected):
    np.testing.assert_array_equal(rollout.completion.tokens, expected.completion.tokens)
    np.testing.assert_array_equal(rollout.completion.mask, expected.completion.mask)
    np.testing.assert_allclose(rollout.log_probs, expected.log_probs, atol=1e-5)


@pytest.mark.parametrize(
    "slots, refill, sampling",
    [
        (1, None, Sampling()),
        (2, 2, Sampling()),
        (3, 1, GREEDY),
        (3, 2, TOP_K),
        (5, 4, TOP_K),
        (REQUESTS, None, Sampling()),
        (REQUESTS, REQUESTS, TOP_K),
        (REQUESTS + 2, 4, Sampling()),
    ],
)
def test_equals_all_requests_at_once(params, slots, refill, sampling):
    """Prompts of several lengths; the ring goes round several times where slots are few."""
    prompts, key = make_prompts(), jax.random.key(1)
    rollout, counts = run(params, prompts, key, sampling, slots=slots, refill=refill)
    expected = at_once(params, prompts, key, sampling)
    assert_same(rollout, expected)
    lengths = np.asarray(expected.completion.mask.sum(1))
    assert len(set(lengths.tolist())) > 1 and len(set(prompts.length.tolist())) > 2
    assert (counts.prefills, counts.decode_steps) == simulate(
        lengths, slots, refill or max(1, slots // 8)
    )
    assert counts.slot_steps == (lengths - 1).sum()


def simulate(lengths, slots, refill):
    """Prefills and decode steps, by what the queue promises, one list of rests at a time."""
    waiting, rests, prefills, steps = list(lengths), [], 0, 0
    while waiting:
        group, waiting = waiting[:refill], waiting[refill:]
        prefills += 1
        rests = [rest for rest in rests + [length - 1 for length in group] if rest]
        while rests and not (waiting and slots - len(rests) >= min(refill, len(waiting))):
            rests = [rest - 1 for rest in rests if rest > 1]
            steps += 1
    return prefills, steps


def test_log_probs_are_those_of_the_scorer(params):
    prompts = make_prompts()
    rollout, _ = run(params, prompts, jax.random.key(2), TOP_K, slots=3, refill=2)
    scores = jax.jit(partial(completion_log_probs, CONFIG, sampling=TOP_K))(
        params, prompts, rollout.completion
    )
    mask = rollout.completion.mask
    np.testing.assert_allclose(rollout.log_probs[mask], scores.log_probs[mask], atol=1e-5)
    assert (rollout.log_probs[~mask] == 0).all() and rollout.log_probs[mask].mean() < -0.3


@pytest.mark.parametrize("slots, refill", [(1, None), (3, 2)])
def test_windows_count_positions_in_the_ring(params, slots, refill):
    """Where a row's tokens lie in the ring, and what others left there, doesn't matter."""
    config = dataclasses.replace(CONFIG, window=4)
    prompts, key = make_prompts(), jax.random.key(9)
    rollout, _ = run(params, prompts, key, TOP_K, slots=slots, refill=refill, config=config)
    assert_same(rollout, at_once(params, prompts, key, TOP_K, config=config))
    mask, completion = rollout.completion.mask, rollout.completion
    both = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), prompts, completion)
    scores = jax.jit(partial(token_log_probs, start=5, transform=TOP_K.transform), static_argnums=0)
    near, far = (
        scores(each, params, both.tokens, segment_ids=both.mask.astype(jnp.int32)).log_probs[mask]
        for each in (config, CONFIG)
    )
    np.testing.assert_allclose(rollout.log_probs[mask], near, atol=1e-5)
    assert abs(near - far).max() > 0.05


@pytest.mark.parametrize("slots", [2, 3])
def test_nothing_stops(params, slots):
    """Every request is full."""
    prompts, key = make_prompts(), jax.random.key(3)
    rollout, counts = run(params, prompts, key, stop_tokens=(), slots=slots, refill=1)
    assert rollout.completion.mask.all()
    assert_same(rollout, at_once(params, prompts, key, stop_tokens=()))
    # ceil(13 / slots) rounds of 6 steps: those that start together end together.
    assert counts.decode_steps == -(-REQUESTS // slots) * 6 and counts.prefills == REQUESTS


@pytest.mark.parametrize("stop_tokens, max_new_tokens", [(tuple(range(31)), STEPS), ((), 1)])
def test_everything_stops_at_its_first_token(params, stop_tokens, max_new_tokens):
    """By a stop token, or for want of room: nothing is decoded."""
    prompts, key = make_prompts(), jax.random.key(4)
    how = {"stop_tokens": stop_tokens, "max_new_tokens": max_new_tokens}
    rollout, counts = run(params, prompts, key, slots=3, refill=2, **how)
    assert (rollout.completion.mask.sum(1) == 1).all()
    assert_same(rollout, at_once(params, prompts, key, **how))
    assert (counts.prefills, counts.decode_steps, counts.slot_steps) == (7, 0, 0)


@pytest.mark.parametrize("slots", [1, 4])
def test_one_request(params, slots):
    prompts, key = make_prompts(1), jax.random.split(jax.random.key(5), 1)
    rollout, counts = run(params, prompts, key, stop_tokens=(), slots=slots)
    assert_same(rollout, at_once(params, prompts, key, stop_tokens=()))
    assert (counts.prefills, counts.decode_steps, counts.slot_steps) == (1, 6, 6)


COUNTING = ModelConfig(
    vocab_size=12,
    dim=12,
    num_layers=1,
    num_heads=2,
    num_kv_heads=1,
    hidden_dim=4,
    tie_embeddings=False,
)


@pytest.fixture(scope="module")
def counting_params():
    """Of a model that says the number after the last one: all blocks add 0, the output turns."""
    drawn = jax.jit(init, static_argnums=0)(COUNTING, jax.random.key(0))
    zeros = jax.tree.map(jnp.zeros_like, drawn)
    eye = jnp.eye(12)
    norm = drawn["norm"]
    return zeros | {"embedding": eye, "output": jnp.roll(eye, 1, axis=0), "norm": norm}


@partial(jax.jit, static_argnames=("slots", "refill"))
def count_up(params, prompts, slots, refill):
    """Continues each prompt to 11, which stops."""
    return generate_queue(
        COUNTING,
        params,
        prompts,
        jax.random.key(0),
        slots=slots,
        refill=refill,
        max_new_tokens=10,
        stop_tokens=(11,),
        sampling=GREEDY,
    )


def prompts_for(lengths):
    """A prompt that ends in 11 - n is followed by n tokens."""
    last = 11 - jnp.asarray(lengths, jnp.int32)[:, None]
    tokens = jnp.concatenate([jnp.full_like(last, 3), last, jnp.zeros_like(last)], axis=1)
    return Sequence(tokens, jnp.arange(3) < jnp.full(tokens.shape, 2))


@pytest.mark.parametrize(
    "lengths, refill, expected",
    [
        # Requests of 5 and 1 fill both slots; the second has ended and that of 2 takes its place.
        # Step 1 ends it, and that of 3 is read; steps 2 and 3 end that; step 4 the first.
        # Steps that requests needed: 4 + 0 + 1 + 2.
        ([5, 1, 2, 3], 1, (4, 4, 7)),
        # 5 and 1 are read; two slots are free after step 4; 2 and 3 are read and take 1 and 2.
        ([5, 1, 2, 3], 2, (2, 6, 7)),
        # 2 and 4 are read; step 1 frees one slot, which is enough for the rest, that of 3. Steps 2
        # and 3 end both: no slot was ever idle.
        ([2, 4, 3], 2, (2, 3, 6)),
    ],
)
def test_counts_by_hand(counting_params, lengths, refill, expected):
    rollout, counts = count_up(counting_params, prompts_for(lengths), slots=2, refill=refill)
    assert rollout.completion.mask.sum(1).tolist() == lengths
    assert (counts.prefills, counts.decode_steps, counts.slot_steps) == expected


@given(lengths=st.lists(st.integers(1, 10), min_size=9, max_size=9))
def test_any_lengths(counting_params, lengths):
    """Every request counts up from its own prompt; what it takes is what a simulation says."""
    rollout, counts = count_up(counting_params, prompts_for(lengths), slots=4, refill=2)
    for row, length in zip(rollout.completion.tokens.tolist(), lengths, strict=True):
        assert row == [*range(12 - length, 12)] + [0] * (10 - length)
    assert (counts.prefills, counts.decode_steps) == simulate(lengths, 4, 2)
    assert counts.slot_steps == sum(lengths) - 9


def test_other_prompts_compile_nothing(params, compilations):
    """Other prompts, keys and lengths of the same shape."""
    prompts = [make_prompts(11, seed) for seed in (1, 2)]
    keys = jax.random.split(jax.random.key(6), 2)
    one, other = keys[0], keys[1]
    before = len(compilations)
    first, _ = run(params, prompts[0], one, slots=4)
    assert len(compilations) > before
    before = len(compilations)
    second, _ = run(params, prompts[1], other, slots=4)
    assert len(compilations) == before
    assert (first.completion.tokens != second.completion.tokens).any()


@pytest.mark.parametrize("seeds", [None, 2])
def test_the_cache_is_written_in_place(params, seeds):
    """Copies stand only where the program starts, of one model or of several under `vmap`.

    It holds the cache about once, and no step chooses between an old and a new one.
    """
    how = {"max_new_tokens": 400, "slots": 3, "refill": 2}
    program = partial(run, prompts=make_prompts(), key=jax.random.key(0), **how)
    if seeds:
        program = jax.vmap(program)
        params = jax.tree.map(lambda leaf: jnp.stack([leaf] * seeds), params)
    compiled = jax.jit(program).lower(params).compile()
    # A layer's keys or values: 5 places and 399 tokens that are fed.
    seed_axis = f"{seeds}," if seeds else ""
    cache = rf"f32\[{seed_axis}3,2,(4,404|404,4)\]"
    computations = compiled.as_text().split("\n\n")
    with_op = lambda op: [  # noqa: E731
        text for text in computations if re.search(rf"= {cache}\S* {op}\(", text)
    ]
    assert with_op("dynamic-update-slice") and not with_op("select")
    assert all("\nENTRY " in f"\n{text}" for text in with_op("copy"))
    cache_bytes = 2 * (seeds or 1) * 3 * 404 * 8 * 4
    assert cache_bytes < compiled.memory_analysis().temp_size_in_bytes < 3 * cache_bytes


def test_vmap_over_models(params):
    """Seeds of a study share one program, and its steps."""
    prompts, keys = make_prompts(), jax.random.split(jax.random.key(8), 2)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.1 * leaf]), params)
    both = jax.vmap(lambda params, key: run(params, prompts, key, slots=3, refill=2))(stacked, keys)
    alone = []
    for seed in range(2):
        of_seed = jax.tree.map(lambda leaf, seed=seed: leaf[seed], (stacked, both))
        expected = at_once(of_seed[0], prompts, keys[seed])
        assert_same(of_seed[1][0], expected)
        lengths = np.asarray(expected.completion.mask.sum(1))
        assert of_seed[1][1].slot_steps == (lengths - 1).sum()
        alone.append(simulate(lengths, 3, 2))
    assert alone[0] != alone[1]
    assert both[1].prefills.tolist() == [alone[0][0]] * 2
    steps = both[1].decode_steps.tolist()
    assert steps[0] == steps[1] >= max(alone)[1]


@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_arguments_are_refused(params):
    prompts, key = make_prompts(3), jax.random.key(0)
    with pytest.raises(ValueError, match="slots must be 1 or more; got 0"):
        run(params, prompts, key, slots=0)
    for refill in (0, 5):
        with pytest.raises(ValueError, match=rf"refill must be in \[1, 4\].*; got {refill}"):
            run(params, prompts, key, slots=4, refill=refill)
    with pytest.raises(ValueError, match="max_new_tokens must be 1 or more; got 0"):
        run(params, prompts, key, slots=2, max_new_tokens=0)
    with pytest.raises(ValueError, match=r"key must have shape \[3\]; got \[2\]"):
        run(params, prompts, jax.random.split(key, 2), slots=2)
    with pytest.raises(ValueError, match=r"prompts.mask must have shape \[3, 5\]; got \[3, 4\]"):
        run(params, Sequence(prompts.tokens, prompts.mask[:, :4]), key, slots=2)
