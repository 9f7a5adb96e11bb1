"""The test settings do what they promise."""

import warnings

import jax.numpy as jnp
import optax
import pytest


def test_dtype_promotion_is_strict():
    with pytest.raises(ValueError, match="no available implicit dtype promotion"):
        jnp.ones(2, jnp.float32) * jnp.ones(2, jnp.int32)


@pytest.mark.standard_promotion
def test_marker_gives_usual_promotion():
    params = jnp.ones(2)
    optimizer = optax.adam(1e-3)
    updates, _ = optimizer.update(params, optimizer.init(params))
    assert updates.dtype == jnp.float32


def test_warnings_are_errors():
    with pytest.raises(UserWarning, match="careful"):
        warnings.warn("careful", UserWarning, stacklevel=1)


def test_run_with_devices_simulates_devices(run_with_devices):
    code = """
        mesh = jax.make_mesh((3,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        x = jax.device_put(jax.numpy.arange(6.0), sharding)
        print(jax.device_count(), len(x.addressable_shards), x.sum())
    """
    assert run_with_devices(code, 3).split() == ["3", "3", "15.0"]


def test_run_with_devices_reports_failure(run_with_devices):
    with pytest.raises(AssertionError, match="no such thing"):
        run_with_devices("raise ValueError('no such thing')", 1)
