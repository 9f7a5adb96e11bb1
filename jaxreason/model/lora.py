"""Low-rank adapters: a small tree of its own beside frozen parameters."""

import dataclasses
from typing import no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxreason.checks import check_that
from jaxreason.model.config import ModelConfig
from jaxreason.model.transformer import Params, init

TARGETS = ("query", "key", "value", "out", "gate", "up", "down")
"""The projections that can have an adapter."""


@dataclasses.dataclass(frozen=True)
class LoRAConfig:
    """Which projections have adapters, and of what rank."""

    rank: int = 8
    """Width between the two factors."""
    alpha: float = 16.0
    """The product of the factors is multiplied by alpha / rank."""
    targets: tuple[str, ...] = TARGETS
    """Projections with adapters, out of query, key, value, out, gate, up and down."""

    def __post_init__(self) -> None:
        check_that(self.rank >= 1, f"rank must be 1 or more; got {self.rank}.")
        check_that(self.alpha > 0, f"alpha must be above 0; got {self.alpha}.")
        known = bool(self.targets) and set(self.targets) <= set(TARGETS)
        check_that(known, f"targets must be some of {TARGETS}; got {self.targets}.")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Adapters:
    """What is trained instead of the parameters.

    Attributes:
        factors: For each layer and projection two factors, `{"a": [in, rank], "b": [rank, out]}`,
            float32.
        scale: What their product is multiplied by; static.
    """

    factors: PyTree
    scale: float = dataclasses.field(metadata={"static": True})


def init_adapters(lora: LoRAConfig, config: ModelConfig, key: PRNGKeyArray) -> Adapters:
    """Draws adapters that change nothing yet: the second factor is 0.

    See "LoRA: Low-Rank Adaptation of Large Language Models" by Hu et al.
    (https://arxiv.org/abs/2106.09685), section 4.1.

    Args:
        lora: Rank and projections.
        config: The decoder's shape.
        key: A random key.

    Returns:
        Adapters; train them, and compute with `attach` or `merge`.

    Example:
        >>> lora, config = LoRAConfig(rank=2), ModelConfig(num_layers=1)
        >>> adapters = init_adapters(lora, config, jax.random.key(0))
        >>> adapters.factors["layer_0_attention"]["query"]["a"].shape
        (128, 2)
    """
    shapes = jax.eval_shape(lambda: init(config, jax.random.key(0)))
    found = [
        (layer, name, leaf.shape)
        for layer, weights in shapes.items()
        if isinstance(weights, dict)
        for name, leaf in weights.items()
        if name in lora.targets
    ]
    factors: dict[str, dict[str, dict[str, Array]]] = {}
    for (layer, name, shape), part in zip(found, jax.random.split(key, len(found)), strict=True):
        bound = shape[0] ** -0.5
        down = jax.random.uniform(part, (shape[0], lora.rank), minval=-bound, maxval=bound)
        factors.setdefault(layer, {})[name] = {"a": down, "b": jnp.zeros((lora.rank, shape[1]))}
    return Adapters(factors, lora.alpha / lora.rank)


def attach(params: Params, adapters: Adapters) -> Params:
    """Returns parameters with adapters beside them, as every function of the model takes them.

    The weights stay as they are; each projection adds the product of the factors, which costs
    rank / width of it.

    Example:
        >>> config = ModelConfig(num_layers=1)
        >>> params = init(config, jax.random.key(0))
        >>> both = attach(params, init_adapters(LoRAConfig(), config, jax.random.key(1)))
        >>> sorted(both["layer_0_attention"])[:3]
        ['key', 'key_a', 'key_b']
    """
    both = dict(params)
    for layer, projections in adapters.factors.items():
        added = {}
        for name, factors in projections.items():
            added[f"{name}_a"] = factors["a"]
            added[f"{name}_b"] = adapters.scale * factors["b"]
        both[layer] = {**params[layer], **added}
    return both


def merge(params: Params, adapters: Adapters) -> Params:
    """Returns plain parameters that compute what `attach` computes.

    Raises:
        ValueError: If the parameters are quantized.

    Example:
        >>> config = ModelConfig(num_layers=1)
        >>> params = init(config, jax.random.key(0))
        >>> merged = merge(params, init_adapters(LoRAConfig(), config, jax.random.key(1)))
        >>> jax.tree.structure(merged) == jax.tree.structure(params)
        True
    """
    is_plain = jnp.issubdtype(params["embedding"].dtype, jnp.floating)
    check_that(is_plain, "adapters can't be merged into quantized params: merge, then quantize.")
    merged = dict(params)
    for layer, projections in adapters.factors.items():
        changed = {
            name: params[layer][name] + adapters.scale * (factors["a"] @ factors["b"])
            for name, factors in projections.items()
        }
        merged[layer] = {**params[layer], **changed}
    return merged
