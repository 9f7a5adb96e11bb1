import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train.checkpoints import Checkpoints
from train.errors import RefusedError

SAVE_FOR_EVER = """
import sys
import jax.numpy as jnp
from train.checkpoints import Checkpoints
checkpoints = Checkpoints(sys.argv[1])
step = 0
while True:
    step += 1
    checkpoints.save(step, {"w": jnp.full((50_000,), step), "step": step})
    print(step, flush=True)
"""

RESHARD = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", 2)
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from train.checkpoints import Checkpoints
mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
values = jnp.arange(8.0)
checkpoints = Checkpoints(sys.argv[1])
checkpoints.save(1, {"w": jax.device_put(values, split)})
for sharding in (split, whole):
    state = checkpoints.restore({"w": jax.ShapeDtypeStruct((8,), values.dtype, sharding=sharding)})
    assert state[1]["w"].sharding == sharding
    assert (state[1]["w"] == values).all()
"""


def environment():
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    params: dict
    optimizer: tuple
    key: jax.Array
    position: int


def make_state(seed=0):
    params = {
        "block": {"w": jax.random.normal(jax.random.key(seed), (7, 5))},
        "bias": jnp.full((3,), 1 / 3 + seed, jnp.bfloat16),
    }
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)).init(params)
    return State(params, optimizer, jax.random.key(seed + 9), 17 + seed)


def assert_identical(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if isinstance(one, jax.Array) and jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            assert one.dtype == other.dtype
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        one, other = np.asarray(one), np.asarray(other)
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()


@pytest.fixture
def saved(tmp_path):
    said = []
    checkpoints = Checkpoints(tmp_path, report=said.append)
    checkpoints.save(1, make_state(1))
    checkpoints.save(2, make_state(2))
    yield checkpoints, tmp_path, said
    checkpoints.close()


def test_nothing_saved_is_none(tmp_path):
    assert Checkpoints(tmp_path).restore(make_state()) is None


def test_round_trip_is_bit_identical(saved):
    checkpoints, folder, said = saved
    step, state = checkpoints.restore(make_state())
    assert step == 2
    assert type(state.position) is int
    assert_identical(state, make_state(2))
    again = Checkpoints(folder)
    assert_identical(again.restore(make_state())[1], make_state(2))
    assert not said


def test_an_abstract_target_will_do(saved):
    shapes = jax.eval_shape(lambda: make_state())
    target = dataclasses.replace(shapes, position=0)
    assert_identical(saved[0].restore(target)[1], make_state(2))


def test_a_part_of_the_state_can_be_read(saved):
    step, part = saved[0].restore({"params": make_state().params}, partial=True)
    assert step == 2
    assert_identical(part, {"params": make_state(2).params})


def test_only_the_newest_are_kept_and_a_step_can_be_saved_again(saved):
    checkpoints, folder, _ = saved
    checkpoints.save(2, make_state(5))
    checkpoints.save(3, make_state(3))
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]
    assert_identical(checkpoints.restore(make_state())[1], make_state(3))


def test_fewer_than_two_kept_is_refused(tmp_path):
    with pytest.raises(RefusedError, match="At least 2"):
        Checkpoints(tmp_path, keep=1)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("harm", [truncate, flip_a_bit, Path.unlink])
@pytest.mark.parametrize("part", ["largest", "default/_METADATA", "default/manifest.ocdbt"])
def test_a_damaged_checkpoint_falls_back_and_says_so(saved, harm, part):
    checkpoints, folder, said = saved
    files = [path for path in (folder / "2").rglob("d/*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    harm(largest if part == "largest" else folder / "2" / part)
    step, state = checkpoints.restore(make_state())
    assert step == 1
    assert_identical(state, make_state(1))
    assert len(said) == 1
    assert f"The checkpoint {folder / '2'} is damaged" in said[0]
    checkpoints.save(2, make_state(4))
    assert_identical(checkpoints.restore(make_state())[1], make_state(4))


def test_by_default_a_damaged_checkpoint_warns(saved):
    _, folder, _ = saved
    (folder / "2" / "seal.json").write_text("{")
    with pytest.warns(UserWarning, match=r"2 is damaged \(seal.json can't be read\)"):
        assert Checkpoints(folder).restore(make_state())[0] == 1


def test_when_all_are_damaged_it_refuses_and_removes_nothing(saved):
    checkpoints, folder, _ = saved
    for step in "12":
        flip_a_bit(folder / step / "default" / "_METADATA")
    with pytest.raises(RefusedError, match="Every checkpoint in .* is damaged; remove the folder"):
        checkpoints.restore(make_state())
    assert (folder / "1").exists() and (folder / "2").exists()


def test_a_first_save_that_was_killed_before_its_seal_counts_as_nothing(tmp_path):
    said = []
    checkpoints = Checkpoints(tmp_path, report=said.append)
    checkpoints.save(5, make_state())
    (tmp_path / "5" / "seal.json").unlink()
    assert checkpoints.restore(make_state()) is None
    assert "was never finished" in said[0]
    checkpoints.save(5, make_state(1))
    assert_identical(checkpoints.restore(make_state())[1], make_state(1))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bias": jnp.zeros(4, jnp.bfloat16)}, r"params.bias is bfloat16\[3\] there and bfloat16"),
        ({"bias": jnp.zeros(3)}, r"params.bias is bfloat16\[3\] there and float32\[3\] here"),
        ({"new": jnp.zeros(3)}, r"params.new is missing there and float32\[3\] here"),
    ],
)
def test_a_target_that_does_not_fit_is_refused(saved, change, sentence):
    state = make_state()
    target = {"params": state.params | change}
    with pytest.raises(RefusedError, match=sentence):
        saved[0].restore(target, partial=True)


def test_without_partial_nothing_may_be_left_out(saved):
    with pytest.raises(RefusedError, match="key is key<fry>.* there and missing here"):
        saved[0].restore({"params": make_state().params, "optimizer": make_state().optimizer})


def test_the_targets_sharding_is_kept(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", RESHARD, str(tmp_path)], env=environment(), timeout=120
    )
    assert result.returncode == 0


@pytest.mark.parametrize("moment", [0.0, 0.013, 0.029])
def test_kill_while_saving_leaves_a_whole_checkpoint(tmp_path, moment):
    command = [sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    with process:
        told = [int(process.stdout.readline()) for _ in range(3)]
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        told += [int(line) for line in process.stdout.read().split()]
    target = {"w": jnp.zeros((50_000,), jnp.int32), "step": 0}
    step, state = Checkpoints(tmp_path, report=lambda _: None).restore(target)
    assert step in (told[-1], told[-1] + 1)
    assert state["step"] == step
    assert (np.asarray(state["w"]) == step).all()
