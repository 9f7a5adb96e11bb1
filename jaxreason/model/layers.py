"""The decoder's blocks as Flax modules.

Every weight is declared once, by `_parameter`: its shape, logical axes and initialiser there give
its initial value, its abstract shape, its sharding and its place in a checkpoint.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import Initializer
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxreason.checks import check_that
from jaxreason.model.config import ModelConfig
from jaxreason.model.products import multiply_quantized, project
from jaxreason.model.rope import rotate

KeysValues = tuple[
    Float[Array, "batch kv_head head_dim slot"], Float[Array, "batch kv_head slot head_dim"]
]
"""A layer's cache: both products of a decoding step run along it as it lies."""


def attend(
    query: Float[Array, "batch time head head_dim"],
    key: Float[Array, "batch slot kv_head head_dim"],
    value: Float[Array, "batch slot kv_head head_dim"],
    mask: Bool[Array, "batch time slot"],
    *,
    scale: float | None = None,
    soft_cap: float | None = None,
) -> Float[Array, "batch time head head_dim"]:
    """Attends from `time` to `slot` where `mask` allows: the one place that calls a kernel.

    A query that may attend to nothing gets a meaningless but finite value. The scores are
    multiplied by `scale`, by default one over the root of `head_dim`, then bounded by `soft_cap`,
    which jax's kernel can't do.

    Example:
        >>> ones = jnp.ones((1, 2, 1, 4))
        >>> attend(ones, ones, ones, jnp.ones((1, 2, 2), bool)).shape
        (1, 2, 1, 4)
    """
    if soft_cap is not None:
        laid = key.transpose(0, 2, 3, 1), value.transpose(0, 2, 1, 3)
        return attend_cached(query, laid, mask, scale=scale, soft_cap=soft_cap)
    # jax promotes the logits of 16-bit types to float32 inside, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        return jax.nn.dot_product_attention(query, key, value, mask=mask[:, None], scale=scale)


def attend_cached(
    query: Float[Array, "batch time head head_dim"],
    cached: KeysValues,
    mask: Bool[Array, "batch time slot"],
    *,
    scale: float | None = None,
    soft_cap: float | None = None,
) -> Float[Array, "batch time head head_dim"]:
    """Attends to a cache; as `attend`, for keys and values in the layout of the cache.

    Example:
        >>> ones = jnp.ones((1, 1, 4, 2))
        >>> cached = ones, jnp.ones((1, 1, 2, 4))
        >>> attend_cached(jnp.ones((1, 3, 2, 4)), cached, jnp.ones((1, 3, 2), bool)).shape
        (1, 3, 2, 4)
    """
    keys, values = cached
    (batch, time, heads, width), (_, kv_heads, _, slots) = query.shape, keys.shape
    groups = heads // kv_heads
    scale = width**-0.5 if scale is None else scale
    rows = (query * scale).reshape(batch, time, kv_heads, groups, width)
    rows = rows.transpose(0, 2, 3, 1, 4).reshape(batch, kv_heads, groups * time, width)
    scores = jnp.einsum("bkqd,bkds->bkqs", rows, keys, preferred_element_type=jnp.float32)
    scores = soft_capped(scores, soft_cap).reshape(batch, kv_heads, groups, time, slots)
    scores = jnp.where(mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores).astype(values.dtype)
    weights = weights.reshape(batch, kv_heads, groups * time, slots)
    # With a 16-bit result, XLA for a CPU would widen all values first; see `products.multiply`.
    mixed = jnp.einsum("bkqs,bksd->bkqd", weights, values, preferred_element_type=jnp.float32)
    mixed = mixed.astype(query.dtype)
    mixed = mixed.reshape(batch, kv_heads, groups, time, width).transpose(0, 3, 1, 2, 4)
    return mixed.reshape(query.shape)


def write_slots(
    array: Float[Array, "..."], update: Float[Array, "..."], slot: Int[Array, ""], *, axis: int
) -> Float[Array, "..."]:
    """Writes what new tokens add to a cache, from `slot` on along an axis.

    Axes of length 1 are left out meanwhile. XLA drops them in the products that read the cache; if
    the array that is written had them, it would write a second one, for the products, and copy the
    whole cache for each; see `decode_while`.

    Example:
        >>> write_slots(jnp.zeros((1, 4)), jnp.ones((1, 2)), jnp.array(1), axis=1).tolist()
        [[0.0, 1.0, 1.0, 0.0]]
    """
    kept = [number for number, size in enumerate(array.shape) if size > 1 or number == axis]
    old, new = (each.reshape([each.shape[number] for number in kept]) for each in (array, update))
    written = jax.lax.dynamic_update_slice_in_dim(old, new, slot, kept.index(axis))
    return written.reshape(array.shape)


def soft_capped(scores: Float[Array, "..."], cap: float | None) -> Float[Array, "..."]:
    """Bounds scores to (-cap, cap), with slope 1 at 0; leaves them as they are without a cap.

    Example:
        >>> soft_capped(jnp.array([0.0, 1.0, 1e6]), 2.0).round(3).tolist()
        [0.0, 0.924, 2.0]
    """
    return scores if cap is None else cap * jnp.tanh(scores / cap)


class _Module(nn.Module):
    config: ModelConfig

    def _parameter(
        self, name: str, shape: tuple[int, ...], axes: tuple[str, ...], initial: Initializer
    ) -> Array:
        return self.param(name, nn.with_logical_partitioning(initial, axes), shape, unbox=True)

    def _projected(
        self,
        inputs: Array,
        name: str,
        shape: tuple[int, int],
        axes: tuple[str, str],
        scale: float = 1.0,
    ) -> Array:
        """Multiplies by a weight and adds what its adapter gives, if there is one."""
        initial = nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal")
        weight = self._parameter(name, shape, axes, initial)
        if self.has_variable("params", f"{name}_scale"):
            quantum: Array = self.get_variable("params", f"{name}_scale")
            output = multiply_quantized(inputs, weight, quantum).astype(self.config.dtype)
        else:
            output = project(inputs, weight.astype(self.config.dtype))
        if self.has_variable("params", f"{name}_a"):
            down: Array = self.get_variable("params", f"{name}_a")
            up: Array = self.get_variable("params", f"{name}_b")
            between = project(inputs, down.astype(self.config.dtype))
            output = output + project(between, up.astype(self.config.dtype))
        return output


class RMSNorm(_Module):
    """Root-mean-square normalisation, computed in float32.

    See "Root Mean Square Layer Normalization" by Zhang and Sennrich
    (https://arxiv.org/abs/1910.07467).
    """

    @nn.compact
    def __call__(self, hidden: Float[Array, "batch time *dims"]) -> Float[Array, "..."]:
        """Normalises the last axis and scales it."""
        offset = 1.0 if self.config.zero_centered_norms else 0.0
        start = nn.initializers.constant(1.0 - offset)
        scale = self._parameter("scale", hidden.shape[-1:], ("norm",), start).astype(jnp.float32)
        wide = hidden.astype(jnp.float32)
        mean_square = jnp.square(wide).mean(-1, keepdims=True)
        normed = wide * jax.lax.rsqrt(mean_square + self.config.norm_epsilon)
        return (normed * (scale + offset)).astype(hidden.dtype)


class Attention(_Module):
    """Grouped-query attention with rotary positions.

    See "GQA: Training Generalized Multi-Query Transformer Models" by Ainslie et al.
    (https://arxiv.org/abs/2305.13245).
    """

    windowed: bool

    @nn.compact
    def __call__(
        self,
        hidden: Float[Array, "batch time dim"],
        positions: Int[Array, "batch time"],
        mask: Bool[Array, "batch time slot"],
        cached: KeysValues | None,
        slot: Int[Array, ""] | None,
    ) -> tuple[Float[Array, "batch time dim"], KeysValues]:
        """Attends within `hidden`, or to `cached` after writing there at `slot`."""
        config = self.config
        query = self._heads("query", hidden, config.num_heads, "heads")
        key = self._heads("key", hidden, config.num_kv_heads, "kv_heads")
        value = self._heads("value", hidden, config.num_kv_heads, "kv_heads")
        if config.qk_norm:
            query = RMSNorm(config, name="query_norm")(query)
            key = RMSNorm(config, name="key_norm")(key)
        query, key = self._rotated(query, positions), self._rotated(key, positions)
        how = {
            "scale": (config.query_scalar or config.head_dim) ** -0.5,
            "soft_cap": config.attention_soft_cap,
        }
        written = key.transpose(0, 2, 3, 1), value.transpose(0, 2, 1, 3)
        if cached is not None and slot is not None:
            written = (
                write_slots(cached[0], written[0], slot, axis=3),
                write_slots(cached[1], written[1], slot, axis=2),
            )
            mixed = attend_cached(query, written, mask, **how)
        else:
            mixed = attend(query, key, value, mask, **how)
        width = config.num_heads * config.head_dim
        scale = 1.0 / (2 * config.num_layers)
        mixed = mixed.reshape(*hidden.shape[:2], width)
        out = self._projected(mixed, "out", (width, config.dim), ("heads", "embed"), scale)
        return out, written

    def _heads(self, name: str, hidden: Array, heads: int, axis: str) -> Array:
        config = self.config
        width = heads * config.head_dim
        projected = self._projected(hidden, name, (config.dim, width), ("embed", axis))
        if config.qkv_bias:
            zeros = nn.initializers.zeros_init()
            bias = self._parameter(f"{name}_bias", (width,), (axis,), zeros)
            projected = projected + bias.astype(config.dtype)
        return projected.reshape(*hidden.shape[:2], heads, config.head_dim)

    def _rotated(self, values: Array, positions: Array) -> Array:
        config = self.config
        if self.windowed and config.local_rope_theta is not None:
            return rotate(values, positions, config.local_rope_theta)
        return rotate(values, positions, config.rope_theta, config.rope_scaling)


class FeedForward(_Module):
    """The gated linear unit with SiLU or GELU.

    See "GLU Variants Improve Transformer" by Shazeer (https://arxiv.org/abs/2002.05202).
    """

    @nn.compact
    def __call__(self, hidden: Float[Array, "batch time dim"]) -> Float[Array, "batch time dim"]:
        """Applies the layer to each position."""
        config = self.config
        shape, axes = (config.dim, config.hidden_dim), ("embed", "hidden")
        gate = self._projected(hidden, "gate", shape, axes)
        up = self._projected(hidden, "up", shape, axes)
        gate = jax.nn.silu(gate) if config.activation == "silu" else jax.nn.gelu(gate)
        scale = 1.0 / (2 * config.num_layers)
        return self._projected(gate * up, "down", shape[::-1], axes[::-1], scale)


class Layer(_Module):
    """One layer: attention, then the feed-forward layer, each added to the stream.

    Attributes:
        windowed: Whether its tokens see no further than the window.
        prefix: What its weights' names begin with.
    """

    windowed: bool
    prefix: str = ""

    @nn.compact
    def __call__(
        self,
        hidden: Float[Array, "batch time dim"],
        positions: Int[Array, "batch time"],
        mask: Bool[Array, "batch time slot"],
        cached: KeysValues | None,
        slot: Int[Array, ""] | None,
    ) -> tuple[Float[Array, "batch time dim"], KeysValues]:
        """Returns the stream after the layer, and its keys and values."""
        attention = Attention(self.config, self.windowed, name=f"{self.prefix}attention")
        before = self._norm("attention_norm", hidden)
        mixed, written = attention(before, positions, mask, cached, slot)
        hidden = hidden + self._sandwiched("post_attention_norm", mixed)
        before = self._norm("feed_forward_norm", hidden)
        fed = FeedForward(self.config, name=f"{self.prefix}feed_forward")(before)
        return hidden + self._sandwiched("post_feed_forward_norm", fed), written

    def _norm(self, name: str, hidden: Array) -> Array:
        return RMSNorm(self.config, name=self.prefix + name)(hidden)

    def _sandwiched(self, name: str, added: Array) -> Array:
        return self._norm(name, added) if self.config.sandwich_norms else added


class Decoder(_Module):
    """Embedding, layers and final norm; the output projection is applied by `unembed`."""

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
        mask: Bool[Array, "batch time slot"],
        cached: tuple[KeysValues, ...] | None = None,
        slot: Int[Array, ""] | None = None,
        slot_positions: Int[Array, "batch slot"] | None = None,
    ) -> tuple[Float[Array, "batch time dim"], tuple[KeysValues, ...]]:
        """Returns the hidden states and each layer's keys and values.

        `slot_positions` are those of the cache; without one, slots are the tokens themselves.
        """
        config = self.config
        hidden = self._embedded(tokens)
        if config.scale_embeddings:
            # Rounded to the type of activations, which is how such models were trained.
            hidden = hidden * jnp.asarray(config.dim**0.5, config.dtype)
        seen = positions if slot_positions is None else slot_positions
        near = mask if config.window is None else mask & in_window(positions, seen, config.window)
        written = []
        for number in range(config.num_layers):
            seen_by = near if config.has_window(number) else mask
            kv = None if cached is None else cached[number]
            hidden, kv = self._layer(number, hidden, positions, seen_by, kv, slot)
            written.append(kv)
        if not config.tie_embeddings:
            self._table("output")
        return RMSNorm(config, name="norm")(hidden), tuple(written)

    def _layer(self, number: int, *inputs: Any) -> tuple[Array, KeysValues]:
        """Runs one layer on the weights `layer_NUMBER_...`, which stand beside the others."""
        config, prefix = self.config, f"layer_{number}_"
        windowed = config.has_window(number)
        if self.is_initializing():
            layer = Layer(config, windowed, prefix)
            nn.share_scope(self, layer)
            return layer(*inputs)
        weights = {
            name.removeprefix(prefix): weight
            for name, weight in self.variables["params"].items()
            if name.startswith(prefix)
        }
        check_that(bool(weights), f"the parameters have no {prefix}*, the config has that layer.")
        return _rematerialised(config.remat)(config, windowed, weights, *inputs)

    def _embedded(self, tokens: Array) -> Array:
        rows = self._table("embedding")[tokens]
        if self.has_variable("params", "embedding_scale"):
            scale: Array = self.get_variable("params", "embedding_scale")
            rows = rows.astype(jnp.float32) * scale[tokens][..., None]
        return rows.astype(self.config.dtype)

    def _table(self, name: str) -> Array:
        shape, initial = (self.config.vocab_size, self.config.dim), nn.initializers.normal(0.02)
        return self._parameter(name, shape, ("vocab", "embed"), initial)


@partial(jax.jit, static_argnums=(0, 1))
def _run_layer(
    config: ModelConfig, windowed: bool, weights: PyTree, *inputs: Any
) -> tuple[Array, KeysValues]:
    """Runs a layer; under `jit`, all layers of a kind are traced and lowered once."""
    # As flax types it, the result may be variables too.
    output: Any = Layer(config, windowed).apply({"params": weights}, *inputs)
    return output


def _rematerialised(remat: str) -> Callable[..., tuple[Array, KeysValues]]:
    """Returns a layer that keeps for the backward pass what `ModelConfig.remat` says."""
    policies = jax.checkpoint_policies
    if remat == "none":
        return _run_layer
    kept = policies.dots_with_no_batch_dims_saveable if remat == "dots" else None
    return jax.checkpoint(_run_layer, policy=kept, static_argnums=(0, 1))


def in_window(
    positions: Int[Array, "batch time"],
    slot_positions: Int[Array, "batch slot"],
    window: int,
) -> Bool[Array, "batch time slot"]:
    """Tells which slots are fewer than `window` positions back.

    Distances are those of positions, not of slots: padding between two tokens doesn't count.

    Example:
        >>> in_window(jnp.array([[2]]), jnp.array([[0, 1, 2]]), 2).tolist()
        [[[False, True, True]]]
    """
    return positions[:, :, None] - slot_positions[:, None, :] < window
