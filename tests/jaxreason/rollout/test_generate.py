"""Generation: what it draws, what it says about it, when it stops, what it compiles."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.model import ModelConfig, forward, init, token_log_probs
from jaxreason.rollout import (
    Sampling,
    advance,
    begin,
    completion_log_probs,
    generate,
    pad_prompts,
)
from jaxreason.sequences import Sequence, concatenate

CONFIG = ModelConfig(
    vocab_size=31, dim=16, num_layers=1, num_heads=2, num_kv_heads=1, hidden_dim=24
)
STEPS, STOPS = 7, (1, 2, 3, 5, 8, 13)
SAMPLINGS = {
    "plain": Sampling(),
    "cool": Sampling(temperature=0.7),
    "top k": Sampling(top_k=5),
    "top p": Sampling(top_p=0.8),
    "all": Sampling(temperature=1.3, top_k=9, top_p=0.9),
    "greedy": Sampling(temperature=0.0),
}


@pytest.fixture(scope="module")
def params():
    """With a large embedding, so that distributions are far from uniform."""
    drawn = jax.jit(init, static_argnums=0)(CONFIG, jax.random.key(0))
    return drawn | {"embedding": 15 * drawn["embedding"]}


def make_prompts(rows, seed=0):
    """Prompts of 5 places with gaps anywhere."""
    token_key, mask_key = jax.random.split(jax.random.key(seed))
    mask = jax.random.bernoulli(mask_key, 0.6, (rows, 5)).at[:, 2].set(True)
    return Sequence(jax.random.randint(token_key, (rows, 5), 0, 31), mask)


@partial(jax.jit, static_argnames=("sampling", "stop_tokens", "max_new_tokens", "samples"))
def run(
    params, prompts, key, sampling=Sampling(), stop_tokens=STOPS, max_new_tokens=STEPS, samples=1
):
    return generate(
        CONFIG,
        params,
        prompts,
        key,
        max_new_tokens=max_new_tokens,
        stop_tokens=stop_tokens,
        samples=samples,
        sampling=sampling,
        pad_id=30,
    )


@partial(jax.jit, static_argnames="sampling")
def rescored(params, prompts, completion, sampling=Sampling()):
    return completion_log_probs(
        CONFIG, params, prompts, completion, sampling=sampling, chunk_size=10
    )


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_log_probs_are_those_of_the_scorer(params, sampling):
    prompts = make_prompts(16)
    rollout = run(params, prompts, jax.random.key(1), sampling)
    mask = rollout.completion.mask
    scores = rescored(params, prompts, rollout.completion, sampling)
    assert (rollout.log_probs > -jnp.inf).all() and (rollout.log_probs[~mask] == 0).all()
    np.testing.assert_allclose(rollout.log_probs[mask], scores.log_probs[mask], atol=1e-5)
    if sampling.temperature == 0:
        assert (rollout.log_probs == 0).all() and (scores.entropy[mask] == 0).all()
    else:
        assert rollout.log_probs[mask].mean() < -0.3
    lengths = mask.sum(1)
    assert len(set(lengths.tolist())) > 1 or sampling.temperature == 0


def test_samples_of_a_prompt_are_those_of_its_copies(params):
    prompts, keys = make_prompts(5), jax.random.split(jax.random.key(7), 15)
    copies = jax.tree.map(lambda leaf: jnp.repeat(leaf, 3, axis=0), prompts)
    once = run(params, prompts, keys, samples=3)
    apart = run(params, copies, keys)
    np.testing.assert_array_equal(once.completion.tokens, apart.completion.tokens)
    np.testing.assert_array_equal(once.completion.mask, apart.completion.mask)
    np.testing.assert_allclose(once.log_probs, apart.log_probs, atol=1e-5)


@pytest.mark.parametrize("steps", [1, STEPS])
def test_scores_and_gradients_are_those_of_whole_sequences(params, steps):
    """Each prompt read once or with every completion, gaps in both: the same, entropy too."""
    prompts, samples = make_prompts(4), 3
    token_key, mask_key = jax.random.split(jax.random.key(8))
    mask = jax.random.bernoulli(mask_key, 0.7, (12, steps)).at[:, 0].set(True)
    completion = Sequence(jax.random.randint(token_key, (12, steps), 0, 31), mask)
    copies = jax.tree.map(lambda leaf: jnp.repeat(leaf, samples, axis=0), prompts)
    whole = concatenate([copies, completion])

    def shared(params):
        return completion_log_probs(CONFIG, params, prompts, completion, chunk_size=10)

    def apart(params):
        segments = whole.mask.astype(jnp.int32)
        return token_log_probs(CONFIG, params, whole.tokens, start=5, segment_ids=segments)

    def total(scores):
        weights = jnp.where(mask, jnp.arange(steps, dtype=jnp.float32) + 1, 0.0)
        return (weights * (scores.log_probs + 0.1 * scores.entropy)).sum()

    close = partial(np.testing.assert_allclose, atol=2e-5, rtol=2e-4)
    pair = [jax.jit(score)(params) for score in (shared, apart)]
    jax.tree.map(lambda one, other: close(one[mask], other[mask]), *pair)
    gradients = [jax.jit(jax.grad(lambda p, s=s: total(s(p))))(params) for s in (shared, apart)]
    jax.tree.map(close, *gradients)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_rollout_in_parts_is_the_rollout(params, steps):
    """Some tokens at a call, as a program does that shows them while it goes on."""
    prompts, key, how = make_prompts(6), jax.random.key(9), {"stop_tokens": STOPS, "pad_id": 30}
    start = jax.jit(partial(begin, CONFIG, max_new_tokens=STEPS, **how))
    go_on = jax.jit(partial(advance, CONFIG, steps=steps, **how), donate_argnums=1)
    state = start(params, prompts, key)
    for drawn in range(1, STEPS, steps):
        assert int(state.step) == drawn and not state.done.all()
        state = go_on(params, state)
    whole = run(params, prompts, key)
    jax.tree.map(np.testing.assert_array_equal, state.rollout, whole)
    assert int(go_on(params, state).step) == STEPS  # there is nothing more to draw


def test_prompts_without_completions_are_refused(params):
    completion = jax.tree.map(lambda leaf: leaf[:, :STEPS], make_prompts(5))
    with pytest.raises(ValueError, match="as many completions; got 5 for 2 prompts"):
        completion_log_probs(CONFIG, params, make_prompts(2), completion)


def test_masks_and_stop_tokens(params):
    """A stop token counts and ends its row; nothing but padding follows."""
    rollout = run(params, make_prompts(32), jax.random.key(2))
    tokens, mask = np.asarray(rollout.completion.tokens), np.asarray(rollout.completion.mask)
    is_stop = np.isin(tokens, STOPS) & mask
    lengths = mask.sum(1)
    for row, length in enumerate(lengths):
        assert mask[row, :length].all() and not mask[row, length:].any()
        assert not is_stop[row, : length - 1].any()
        assert is_stop[row, length - 1] or length == STEPS
        assert (tokens[row, length:] == 30).all()
    assert (lengths == 1).any() and (lengths == STEPS).any()


def test_without_stop_tokens_every_row_is_full(params):
    rollout = run(params, make_prompts(4), jax.random.key(2), stop_tokens=(), max_new_tokens=1)
    assert rollout.completion.mask.shape == (4, 1) and rollout.completion.mask.all()


def test_sampled_tokens_follow_the_distribution(params):
    """Chi-square of the first token of 4,000 rows with the same prompt."""
    prompt = jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], 4000, axis=0), make_prompts(1))
    rollout = run(params, prompt, jax.random.key(3), SAMPLINGS["all"], max_new_tokens=1)
    counts = np.bincount(rollout.completion.tokens[:, 0], minlength=31)
    valid = np.asarray(prompt.mask[0])
    logits = jax.jit(partial(forward, CONFIG))(params, prompt.tokens[:1, valid])[0, -1]
    expected = 4000 * np.asarray(jax.nn.softmax(SAMPLINGS["all"].transform(logits)))
    kept = expected > 0
    assert counts[~kept].sum() == 0 and kept.sum() > 3
    freedom = kept.sum() - 1
    chi_square = (np.square(counts - expected)[kept] / expected[kept]).sum()
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)


def test_greedy_equals_an_uncached_loop(params):
    prompts = make_prompts(3)
    rollout = run(params, prompts, jax.random.key(0), SAMPLINGS["greedy"], stop_tokens=())
    # The same program for every length: what is still to come is padding.
    logits_of = jax.jit(partial(forward, CONFIG))
    tokens = jnp.pad(prompts.tokens, ((0, 0), (0, STEPS)))
    mask = jnp.pad(prompts.mask, ((0, 0), (0, STEPS)))
    for place in range(5, 5 + STEPS):
        logits = logits_of(params, tokens, segment_ids=mask.astype(jnp.int32))
        last = place - 1 - jnp.argmax(mask[:, :place][:, ::-1], axis=1)
        tokens = tokens.at[:, place].set(logits[jnp.arange(3), last].argmax(-1))
        mask = mask.at[:, place].set(True)
    np.testing.assert_array_equal(rollout.completion.tokens, tokens[:, 5:])


def test_a_row_does_not_depend_on_its_batch(params):
    """Neither on the other rows, nor on how many there are."""
    prompts, keys = make_prompts(6), jax.random.split(jax.random.key(4), 6)
    rows = jnp.array([4, 1])
    pick = lambda tree: jax.tree.map(lambda leaf: leaf[rows], tree)  # noqa: E731
    whole, few = run(params, prompts, keys), run(params, pick(prompts), keys[rows])
    np.testing.assert_array_equal(pick(whole).completion.tokens, few.completion.tokens)
    np.testing.assert_array_equal(pick(whole).completion.mask, few.completion.mask)
    np.testing.assert_allclose(pick(whole).log_probs, few.log_probs, atol=1e-6)
    others = jax.tree.map(lambda new, old: new.at[rows].set(old[rows]), make_prompts(6, 9), prompts)
    again = run(params, others, keys)
    np.testing.assert_array_equal(pick(again).completion.tokens, few.completion.tokens)
    assert (again.completion.tokens[0] != whole.completion.tokens[0]).any()


def test_one_key_serves_all_rows(params):
    """It is split, so equal prompts are continued differently, and the same key repeats itself."""
    prompts = jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], 6, axis=0), make_prompts(1))
    first, second = (run(params, prompts, jax.random.key(5)) for _ in range(2))
    np.testing.assert_array_equal(first.completion.tokens, second.completion.tokens)
    assert len({tuple(row) for row in first.completion.tokens.tolist()}) > 3


def test_other_prompts_of_a_bucket_compile_nothing(params, compilations):
    """Prompts of other lengths, padded to the same bucket, and another key."""
    batches = [
        pad_prompts(prompts, buckets=(5, 9)) for prompts in ([[7, 8, 9], [4]], [[6] * 5, [9, 9]])
    ]
    keys = jax.random.split(jax.random.key(0), 2)
    before = len(compilations)
    first = run(params, batches[0], keys[0]).completion
    assert len(compilations) > before
    key = keys[1]
    before = len(compilations)
    second = run(params, batches[1], key).completion
    assert len(compilations) == before
    assert first.tokens.shape == second.tokens.shape


def test_loop_ends_when_every_row_has_stopped(params):
    """Counts how often a distribution is asked for: once a step that really runs."""
    calls = []

    @dataclasses.dataclass(frozen=True)
    class Counting(Sampling):
        def transform(self, logits):
            jax.debug.callback(lambda: calls.append(1))
            return super().transform(logits)

    prompts = make_prompts(2)
    for stops in (STOPS, ()):
        calls.clear()
        rollout = run(params, prompts, jax.random.key(11), Counting(), stops, 20)
        jax.block_until_ready(rollout)
        jax.effects_barrier()
        longest = int(rollout.completion.mask.sum(1).max())
        assert len(calls) == longest
        assert longest < 20 if stops else longest == 20


def test_vmap_over_models(params):
    """Seeds of a study share one program."""
    prompts, keys = make_prompts(3), jax.random.split(jax.random.key(0), 2)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.1 * leaf]), params)
    both = jax.vmap(lambda params, key: run(params, prompts, key))(stacked, keys)
    alone = run(jax.tree.map(lambda leaf: leaf[1], stacked), prompts, keys[1])
    np.testing.assert_array_equal(both.completion.tokens[1], alone.completion.tokens)


@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_arguments_are_refused(params):
    prompts = make_prompts(3)
    with pytest.raises(ValueError, match="max_new_tokens must be 1 or more; got 0"):
        run(params, prompts, jax.random.key(0), max_new_tokens=0)
    with pytest.raises(ValueError, match=r"key must have shape \[3\]; got \[2\]"):
        run(params, prompts, jax.random.split(jax.random.key(0), 2))
    with pytest.raises(ValueError, match=r"prompts.mask must have shape \[3, 5\]; got \[3, 4\]"):
        run(params, Sequence(prompts.tokens, prompts.mask[:, :4]), jax.random.key(0))
