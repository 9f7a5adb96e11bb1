"""Gradients that do not depend on how a batch is cut, and the supervised step."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreason.model import LoRAConfig, ModelConfig, forward, init, init_adapters, merge
from jaxreason.optimizer import OptimizerConfig, make_optimizer, skipped_updates
from jaxreason.policy_gradient import WeightedSum
from jaxreason.training import (
    accumulate_gradients,
    init_state,
    next_token_loss,
    supervised_step,
)

CONFIG = ModelConfig(
    vocab_size=23, dim=16, num_layers=1, num_heads=2, num_kv_heads=1, hidden_dim=16
)


@pytest.fixture(scope="module")
def params():
    return jax.jit(init, static_argnums=0)(CONFIG, jax.random.key(0))


def make_batch(rows=8, time=9):
    """Packed rows with very different numbers of tokens to learn; some with none."""
    token_key, mask_key = jax.random.split(jax.random.key(1))
    share = jnp.linspace(0, 1, rows)[:, None]
    segments = jnp.tile(jnp.array([1, 1, 1, 1, 2, 2, 2, 0, 0]), (rows, 1))
    positions = jnp.tile(jnp.array([0, 1, 2, 3, 0, 1, 2, 0, 0]), (rows, 1))
    return {
        "tokens": jax.random.randint(token_key, (rows, time), 0, 23),
        "segment_ids": segments,
        "positions": positions,
        "loss_mask": jax.random.uniform(mask_key, (rows, time)) < share,
    }


@partial(jax.jit, static_argnames="parts")
def gradients_of(params, batch, parts=1):
    return accumulate_gradients(
        lambda params, part: next_token_loss(CONFIG, params, part),
        params,
        batch,
        num_microbatches=parts,
    )


def toy_loss(params, batch):
    """Sum of w x y with metrics, of weight sum w: everything can be followed by hand."""
    value = WeightedSum((batch["w"] * params * batch["x"]).sum(), batch["w"].sum())
    return value, {"largest": WeightedSum(batch["x"].max(), jnp.array(1.0))}


def test_accumulation_by_hand():
    """Parts (1, 2) and (3, 4) with weights (1, 0) and (1, 2): (1 + 3 + 8) / 4."""
    batch = {"x": jnp.array([1.0, 2.0, 3.0, 4.0]), "w": jnp.array([1.0, 0.0, 1.0, 2.0])}
    gradient, loss, metrics = accumulate_gradients(
        toy_loss, jnp.array(2.0), batch, num_microbatches=2
    )
    assert float(gradient) == 3.0
    assert [float(value) for value in loss] == [24.0, 4.0]
    assert [float(value) for value in metrics["largest"]] == [6.0, 2.0]


@pytest.mark.parametrize("parts", [2, 8])
def test_microbatches_equal_one_batch(params, parts):
    """Masks are uneven, so a mean of means would not do."""
    batch = make_batch()
    whole, cut = gradients_of(params, batch), gradients_of(params, batch, parts)
    assert whole[1].weight == cut[1].weight > 10
    np.testing.assert_allclose(whole[1].sum, cut[1].sum, rtol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), whole[0], cut[0])


def test_loss_is_the_mean_over_learned_tokens(params):
    """The gradient is that of the mean, and the mean that of the tokens one by one."""
    batch = make_batch()
    tokens, learned = (np.asarray(batch[name]) for name in ("tokens", "loss_mask"))

    def mean(params):
        logits = forward(CONFIG, params, batch["tokens"], segment_ids=batch["segment_ids"])
        log_probs = jax.nn.log_softmax(logits)
        rows = []
        for row in range(8):
            for place in range(1, 9):
                starts = place in (4, 7, 8)  # of a document, or padding
                if learned[row, place] and not starts:
                    rows.append(-log_probs[row, place - 1, tokens[row, place]])
        return jnp.stack(rows).mean(), len(rows)

    (expected, count), gradient = jax.jit(jax.value_and_grad(mean, has_aux=True))(params)
    ours, loss, _ = gradients_of(params, batch)
    assert loss.weight == count
    np.testing.assert_allclose(loss.mean(), expected, rtol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), ours, gradient)


@pytest.mark.parametrize("parts", [1, 2])
def test_nothing_to_learn(params, parts):
    """Weight 0: a loss and gradients of exactly 0."""
    batch = make_batch() | {"loss_mask": jnp.zeros((8, 9), bool)}
    gradients, loss, _ = gradients_of(params, batch, parts)
    assert loss.weight == 0 and loss.mean() == 0
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradients))


def test_a_part_with_nothing_to_learn_changes_nothing(params):
    """Rows of padding, as the last batch of a pass may have."""
    batch = make_batch(4)
    empty = jax.tree.map(jnp.zeros_like, batch)
    longer = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), batch, empty)
    few, many = gradients_of(params, batch), gradients_of(params, longer, 2)
    assert few[1].weight == many[1].weight
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), few[0], many[0])


@pytest.mark.parametrize("parts", [0, 3, -1])
def test_microbatches_must_divide_the_batch(params, parts):
    sentence = f"num_microbatches must divide the batch; got {parts} for a batch of 8"
    with pytest.raises(ValueError, match=sentence):
        gradients_of(params, make_batch(), parts)


@pytest.fixture(scope="module")
def step():
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.01, warmup_steps=0), 40)
    return optimizer, jax.jit(partial(supervised_step, CONFIG, optimizer))


def test_supervised_steps_learn_a_batch_by_heart(params, step):
    optimizer, update = step
    state, batch = init_state(optimizer, params), make_batch()
    losses = []
    for _ in range(40):
        state, metrics = update(state, batch)
        losses.append(float(metrics["loss"]))
    assert abs(losses[0] - np.log(23)) < 0.1 and losses[-1] < 0.5 * losses[0]
    gradients, loss, _ = gradients_of(params, batch)
    _, first = update(init_state(optimizer, params), batch)
    assert first["tokens"] == loss.weight
    np.testing.assert_allclose(first["gradient_norm"], optax.tree.norm(gradients), rtol=1e-5)


def test_a_step_that_is_not_finite_is_skipped(params, step):
    """One poisoned number in the parameters: nothing moves, and it is counted."""
    optimizer, update = step
    poisoned = params | {"embedding": params["embedding"].at[0, 0].set(jnp.nan)}
    state = init_state(optimizer, poisoned)
    batch = make_batch() | {"tokens": jnp.zeros((8, 9), jnp.int32)}
    after, metrics = update(state, batch)
    assert np.isnan(metrics["loss"])
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
    assert [int(count) for count in skipped_updates(after.opt_state)] == [1, 1]


def test_adapters_are_trained_beside_their_base(params):
    adapters = init_adapters(LoRAConfig(rank=2), CONFIG, jax.random.key(3))
    optimizer, batch = make_optimizer(OptimizerConfig(warmup_steps=0), 10), make_batch()
    step = jax.jit(
        lambda state: supervised_step(
            CONFIG, optimizer, state, batch, base=params, num_microbatches=2
        )
    )
    state, metrics = step(init_state(optimizer, adapters))

    @jax.jit
    def expected(adapters):
        def mean(adapters):
            loss, _ = next_token_loss(CONFIG, merge(params, adapters), batch)
            return loss.sum / loss.weight

        loss, gradients = jax.value_and_grad(mean)(adapters)
        with jax.numpy_dtype_promotion("standard"):
            updates, _ = optimizer.update(gradients, optimizer.init(adapters), adapters)
        return loss, optax.apply_updates(adapters, updates)

    loss, trained = expected(adapters)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, atol=1e-4),
        state.params.factors,
        trained.factors,
    )
    moved = state.params.factors["layer_0_feed_forward"]["up"]["b"]
    assert float(jnp.abs(moved).max()) > 1e-4
