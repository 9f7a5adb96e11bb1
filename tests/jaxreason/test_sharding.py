"""Meshes, and the same numbers on one device and on two."""

import jax
import numpy as np
import pytest

from jaxreason.model import ModelConfig, init
from jaxreason.sharding import batch_sharding, make_mesh, parameter_shardings

SETUP = """
import dataclasses
import os
from functools import partial
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"  # compiles in half the time
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxreason.model import ModelConfig, init, positions_of
from jaxreason.optimizer import OptimizerConfig, make_optimizer
from jaxreason.sharding import batch_sharding, make_mesh, parameter_shardings
from jaxreason.training import init_state, supervised_step

assert jax.device_count() == 2
model = ModelConfig(
    vocab_size=40, dim=16, num_layers=1, num_heads=2, num_kv_heads=2, hidden_dim=16
)
params = [jax.jit(partial(init, model))(jax.random.key(seed)) for seed in (0, 1)]
meshes = [make_mesh(**{axis: 2}) for axis in ("data", "fsdp", "tensor")]

def assert_close(left, right, **tolerance):
    jax.tree.map(partial(np.testing.assert_allclose, **tolerance), left, right)

def assert_spread(tree):
    # The result of a step lives where its input lived.
    assert any(len(leaf.sharding.device_set) == 2 for leaf in jax.tree.leaves(tree))

def halves(tree):
    return jax.tree.map(lambda leaf: leaf.reshape(2, -1, *leaf.shape[1:]), tree)
"""

SUPERVISED = """
token_key, mask_key = jax.random.split(jax.random.key(2))
segments = jnp.tile(jnp.array([1, 1, 1, 2, 2, 2, 2, 0]), (8, 1))
batch = {
    "tokens": jax.random.randint(token_key, (8, 8), 0, 40),
    "segment_ids": segments,
    "positions": positions_of(segments),
    # The first half of the batch has far fewer tokens to learn than the second.
    "loss_mask": jax.random.uniform(mask_key, (8, 8)) < jnp.linspace(0, 1, 8)[:, None],
}
optimizer = make_optimizer(OptimizerConfig(learning_rate=0.01, warmup_steps=0), 10)

def two_steps(step, state, batch):
    return step(step(state, batch)[0], batch)

step = partial(supervised_step, model, optimizer)
state = init_state(optimizer, params[0])
expected, metrics = two_steps(jax.jit(step), state, batch)
assert any((a != b).any() for a, b in zip(
    jax.tree.leaves(state.params), jax.tree.leaves(expected.params), strict=True))

for mesh in meshes:
    placed = jax.device_put(params[0], parameter_shardings(model, mesh))
    spread = jax.device_put(batch, batch_sharding(mesh))
    parts = 2 if mesh.shape["data"] == 2 else 1
    cut = jax.jit(partial(step, num_microbatches=parts))
    got, got_metrics = two_steps(cut, init_state(optimizer, placed), spread)
    assert_spread(got.params)
    assert_close(got.params, expected.params, atol=2e-5)
    assert_close(got_metrics, metrics, rtol=1e-5)

each = jax.pmap(partial(step, axis_name="data"), axis_name="data")
copies = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
got, got_metrics = two_steps(each, copies, halves(batch))
for device in range(2):
    assert_close(jax.tree.map(lambda leaf: leaf[device], got.params), expected.params, atol=2e-5)
    assert_close(jax.tree.map(lambda leaf: leaf[device], got_metrics), metrics, rtol=1e-5)
print("same")
"""

GAME = """
from jaxreason.rlad import GameConfig, Player, init_game, iterate
from jaxreason.tasks import RuleInductionConfig, make_rule_induction

task = make_rule_induction(RuleInductionConfig(
    primitives=("reverse", "add 1"), max_steps=1, list_length=2, num_examples=1))
task = dataclasses.replace(
    task, reward=lambda problem, solution: (solution.tokens[0] < 20).astype("float32"))
# Plain descent: a step is the gradient, whose rounding Adam would blow up where it is near 0.
player = Player(model, optax.sgd(1.0))
config = GameConfig(problems=4, abstractions=2, solutions=2, bare=1)
run = partial(iterate, config, task, (player, player))
keys = jax.random.split(jax.random.key(3), 4)
state = init_game((player, player), *params)
expected, metrics = jax.jit(run)(state, keys)
assert 0 < metrics["success/with_abstraction"] < 1
assert metrics["abstraction/gradient_norm"] > 0.01 < metrics["solution/gradient_norm"]

def players(state):
    return state.abstraction.train.params, state.solution.train.params

for mesh in meshes[1:]:  # fsdp spreads the batch as data does, and the parameters besides
    placed = jax.device_put(params, [parameter_shardings(model, mesh)] * 2)
    got, got_metrics = jax.jit(run)(
        init_game((player, player), *placed), jax.device_put(keys, batch_sharding(mesh)))
    assert_spread(players(got))
    assert_close(players(got), players(expected), atol=2e-5)
    assert_close(got_metrics, metrics, rtol=1e-4, atol=1e-5)

step = jax.pmap(partial(run, axis_name="data"), axis_name="data", in_axes=(None, 0))
got, got_metrics = step(state, keys.reshape(2, 2))
for device in range(2):
    one, one_metrics = jax.tree.map(lambda leaf: leaf[device], (players(got), got_metrics))
    assert_close(one, players(expected), atol=2e-5)
    assert_close(one_metrics, metrics, rtol=1e-4, atol=1e-5)
print("same")
"""


@pytest.mark.parametrize("program", [SUPERVISED, GAME], ids=["supervised step", "game"])
def test_two_devices_give_the_numbers_of_one(run_with_devices, program):
    """Under `jit` with each axis of the mesh in turn, and under `pmap`."""
    assert run_with_devices(SETUP + program, 2).split() == ["same"]


def test_a_mesh_of_two(run_with_devices):
    code = """
        from jaxreason.model import ModelConfig
        from jaxreason.sharding import make_mesh, parameter_shardings
        mesh = make_mesh(tensor=2)
        print(dict(mesh.shape))
        shardings = parameter_shardings(ModelConfig(num_layers=1), mesh)
        print(shardings["embedding"].shard_shape((512, 128)))
        print(shardings["layer_0_attention"]["out"].shard_shape((128, 128)))
        print(shardings["norm"]["scale"].shard_shape((128,)))
    """
    assert run_with_devices(code, 2).splitlines() == [
        "{'data': 1, 'fsdp': 1, 'tensor': 2}",
        "(256, 128)",
        "(64, 128)",
        "(128,)",
    ]


def test_every_parameter_has_a_place():
    config = ModelConfig(num_layers=1, tie_embeddings=False)
    params = jax.jit(init, static_argnums=0)(config, jax.random.key(0))
    placed = jax.device_put(params, parameter_shardings(config, make_mesh()))
    jax.tree.map(np.testing.assert_array_equal, placed, params)
    batch_sharding(make_mesh()).shard_shape((4, 3))


def test_more_devices_than_there_are_is_refused():
    count = len(jax.devices())
    sentence = f"a mesh of 1 x 2 x {count} needs {2 * count} devices; there are {count}"
    with pytest.raises(ValueError, match=sentence):
        make_mesh(fsdp=2, tensor=count)
