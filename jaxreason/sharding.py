"""Placing parameters and batches on a mesh of devices `(data, fsdp, tensor)`."""

import jax
from flax.linen.spmd import logical_to_mesh_sharding
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxreason.checks import check_that
from jaxreason.model import ModelConfig, logical_axes

AXES = ("data", "fsdp", "tensor")

RULES = (
    ("embed", "fsdp"),
    ("vocab", "tensor"),
    ("heads", "tensor"),
    ("kv_heads", "tensor"),
    ("hidden", "tensor"),
    ("norm", None),
)
"""Which mesh axis each logical axis of a weight is split over."""


def make_mesh(*, data: int = 1, fsdp: int = 1, tensor: int = 1) -> Mesh:
    """Makes a mesh of devices.

    Args:
        data: Copies of the parameters, each with its part of the batch.
        fsdp: Parts that every weight is split into along the width; they share the batch too.
        tensor: Parts that heads, hidden units and the vocabulary are split into.

    Returns:
        The mesh, with axes of automatic type.

    Raises:
        ValueError: If there are fewer devices.

    Example:
        >>> make_mesh().axis_names
        ('data', 'fsdp', 'tensor')
    """
    needed, there = data * fsdp * tensor, len(jax.devices())
    check_that(
        needed <= there,
        f"a mesh of {data} x {fsdp} x {tensor} needs {needed} devices; there are {there}.",
    )
    devices = jax.devices()[:needed]
    return jax.make_mesh(
        (data, fsdp, tensor), AXES, axis_types=(AxisType.Auto,) * 3, devices=devices
    )


def parameter_shardings(config: ModelConfig, mesh: Mesh) -> PyTree[NamedSharding]:
    """Returns where each parameter lives, from its logical axes.

    Args:
        config: The decoder's shape.
        mesh: From `make_mesh`.

    Returns:
        A tree like that of `model.init`, for `device_put` or as `out_shardings`.

    Example:
        >>> shardings = parameter_shardings(ModelConfig(num_layers=1), make_mesh())
        >>> tuple(shardings["embedding"].spec)
        ('tensor', 'fsdp')
    """
    return logical_to_mesh_sharding(logical_axes(config), mesh, RULES)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns how arrays with a leading batch axis are split: over `data` and `fsdp`.

    Example:
        >>> tuple(batch_sharding(make_mesh()).spec)
        (('data', 'fsdp'),)
    """
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
