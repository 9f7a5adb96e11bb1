"""The loop of all stages on a state of three numbers: resume, damage, and numbers that break."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.optimizer import OptimizerConfig, apply_gradients, make_optimizer, skipped_updates
from jaxreason.training import TrainState, init_state
from train.config import LoopConfig
from train.errors import RefusedError
from train.loop import (
    SKIPPED,
    SKIPPED_IN_A_ROW,
    Run,
    check_data,
    load_stage,
    record_seconds,
    seconds_of,
    train_stage,
)
from train.metrics import MetricsLog, read_metrics
from train.run_folder import read_json

OPTIMIZER = make_optimizer(OptimizerConfig(learning_rate=0.1, warmup_steps=0), total_steps=100)
LOOP = LoopConfig(checkpoint_every=2, log_every=1, max_skipped=3)
KEY = jax.random.key(7)


@jax.jit
def update(state, key, broken):
    """Moves three numbers towards random ones; the loss is not finite where `broken`."""

    def loss_of(params):
        return jnp.square(params["w"] - jax.random.normal(key, (3,))).sum()

    loss, gradients = jax.value_and_grad(loss_of)(state.params)
    loss = jnp.where(broken, jnp.nan, loss)
    params, opt_state = apply_gradients(OPTIMIZER, state.params, state.opt_state, gradients, loss)
    in_a_row, total = skipped_updates(opt_state)
    metrics = {"loss": loss, SKIPPED_IN_A_ROW: in_a_row, SKIPPED: total}
    return TrainState(params, opt_state), metrics


@dataclasses.dataclass
class Stage:
    """A stage in a folder; remembers the numbers of the steps made and the weights after each."""

    path: object
    broken: frozenset = frozenset()
    killed_at: int | None = None
    weights: dict = dataclasses.field(default_factory=dict)

    def step(self, state, key, number):
        if number == self.killed_at:
            raise KeyboardInterrupt
        state, metrics = update(state, key, number in self.broken)
        self.weights[number + 1] = np.asarray(state.params["w"])
        return state, metrics

    def run(self, total=6, loop=LOOP):
        state = init_state(OPTIMIZER, {"w": jnp.zeros(3)})
        with MetricsLog(self.path) as metrics:
            run = Run(self.path, self.path, metrics)
            return train_stage(run, "toy", loop, state=state, step=self.step, total=total, key=KEY)

    def kept(self):
        """The checkpoints there are."""
        return sorted(int(folder.name) for folder in (self.path / "checkpoints/toy").iterdir())


def same_bits(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def logged_steps(path):
    return [row["step"] for row in read_metrics(path)]


@pytest.fixture
def whole(tmp_path):
    """The state after six steps without a pause, and the rows logged."""
    path = tmp_path / "whole"
    path.mkdir()
    return Stage(path).run(), read_metrics(path)


def test_a_stage_logs_saves_and_counts_its_time(tmp_path):
    stage = Stage(tmp_path)
    state = stage.run(total=5)
    assert sorted(stage.weights) == logged_steps(tmp_path) == [1, 2, 3, 4, 5]
    assert not np.array_equal(stage.weights[4], stage.weights[5])
    assert stage.kept() == [4, 5]
    loaded = load_stage(tmp_path, "toy", 5, {"params": state.params})
    same_bits(loaded["params"], state.params)
    assert read_json(tmp_path / "seconds.json")["toy"] > 0


def test_rows_are_as_far_apart_as_asked(tmp_path):
    Stage(tmp_path).run(total=7, loop=LoopConfig(log_every=3, checkpoint_every=100))
    assert logged_steps(tmp_path) == [1, 3, 6, 7]


@pytest.mark.parametrize("killed_at", range(6))
def test_a_stopped_stage_ends_with_the_same_bits(tmp_path, whole, killed_at):
    with pytest.raises(KeyboardInterrupt):
        Stage(tmp_path, killed_at=killed_at).run()
    again = Stage(tmp_path)
    same_bits(again.run(), whole[0])
    assert min(again.weights) == 2 * (killed_at // 2) + 1
    assert read_metrics(tmp_path) == whole[1]


def test_a_finished_stage_makes_no_step(tmp_path, whole):
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    again = Stage(tmp_path / "again")
    same_bits(again.run(), whole[0])
    assert not again.weights
    assert read_metrics(again.path) == whole[1]


def test_a_damaged_checkpoint_costs_two_steps_and_changes_nothing(tmp_path, whole, capsys):
    with pytest.raises(KeyboardInterrupt):
        Stage(tmp_path, killed_at=5).run()
    files = [path for path in (tmp_path / "checkpoints/toy/4").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    again = Stage(tmp_path)
    same_bits(again.run(), whole[0])
    assert min(again.weights) == 3
    assert read_metrics(tmp_path) == whole[1]
    assert "checkpoints/toy/4 is damaged" in capsys.readouterr().out


def test_broken_updates_are_skipped_counted_and_shown(tmp_path, capsys):
    stage = Stage(tmp_path, broken=frozenset({2, 3, 5}))
    stage.run(total=8, loop=LoopConfig(log_every=100, checkpoint_every=100, max_skipped=3))
    weights = stage.weights
    same_bits([weights[3], weights[4], weights[6]], [weights[2], weights[2], weights[5]])
    assert not np.array_equal(weights[5], weights[4])
    assert not np.array_equal(weights[7], weights[6])
    rows = {row["step"]: row for row in read_metrics(tmp_path)}
    assert {step: row[SKIPPED_IN_A_ROW] for step, row in rows.items()} == {
        **{1: 0, 3: 1, 4: 2, 6: 1, 8: 0}
    }
    assert {step: row[SKIPPED] for step, row in rows.items()} == {1: 0, 3: 1, 4: 2, 6: 3, 8: 3}
    assert np.isnan(rows[3]["loss"]) and np.isfinite(rows[8]["loss"])
    assert "skipped 3" in capsys.readouterr().err


def test_too_many_in_a_row_stop_the_run_and_leave_its_checkpoints(tmp_path):
    stage = Stage(tmp_path, broken=frozenset(range(4, 20)))
    with pytest.raises(RefusedError) as stopped:
        stage.run(total=20)
    assert str(stopped.value).startswith(
        "toy stopped at step 7: the loss or a gradient was not finite in 3 updates in a row; "
    )
    assert stage.kept() == [4, 6]
    same_bits(stage.weights[6], stage.weights[4])
    assert logged_steps(tmp_path) == [1, 2, 3, 4, 5, 6, 7]
    mended = Stage(tmp_path)
    mended.run(total=8)
    assert sorted(mended.weights) == [7, 8]
    assert not np.array_equal(mended.weights[7], stage.weights[6])


def test_a_stage_that_is_not_finished_can_not_be_loaded(tmp_path):
    target = {"params": {"w": jnp.zeros(3)}}
    with pytest.raises(RefusedError, match=r"The stage toy of .* is not finished \(0 of 6 steps\)"):
        load_stage(tmp_path, "toy", 6, target)
    assert not list(tmp_path.iterdir())
    Stage(tmp_path).run(total=4)
    with pytest.raises(RefusedError, match=r"is not finished \(4 of 6 steps\): run it first"):
        load_stage(tmp_path, "toy", 6, target)


def test_seconds_of_a_stage_add_up_over_starts(tmp_path):
    Stage(tmp_path).run(total=4)
    record_seconds(tmp_path, "toy", 1000.0)
    Stage(tmp_path).run(total=6)
    assert 1000.0 < seconds_of(tmp_path)["toy"] < 1100.0


def test_seconds_of_what_is_done_again_are_replaced(tmp_path):
    for part, seconds in (("data", 1.5), ("compare", 2.0), ("data", 0.25)):
        record_seconds(tmp_path, part, seconds)
    assert seconds_of(tmp_path) == {"data": 0.25, "compare": 2.0}


def test_other_data_are_refused(tmp_path):
    check_data(tmp_path, "toy", "one")
    check_data(tmp_path, "other", "two")
    check_data(tmp_path, "toy", "one")
    with pytest.raises(RefusedError, match="The data of the stage toy in .* have changed"):
        check_data(tmp_path, "toy", "two")
