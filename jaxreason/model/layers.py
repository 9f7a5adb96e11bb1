"""The decoder's blocks as Flax modules.

Every weight is declared once, by `_parameter`: its shape, logical axes and initialiser there give
its initial value, its abstract shape, its sharding and its place in a checkpoint.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import Initializer
from jaxtyping import Array, Bool, Float, Int

from jaxreason.model.config import ModelConfig

KeysValues = tuple[
    Float[Array, "batch kv_head head_dim slot"], Float[Array, "batch kv_head slot head_dim"]
]
"""A layer's cache: both products of a decoding step run along it as it lies."""


@jax.custom_vjp
def project(
    inputs: Float[Array, "*batch dim"], weight: Float[Array, "dim features"]
) -> Float[Array, "*batch features"]:
    """Multiplies by a weight; the gradients have a layout that a CPU computes faster.

    The usual gradient of the weight transposes what comes from above inside the loop that computes
    it, which on a CPU takes longer than the product. Here the inputs are transposed instead.

    Example:
        >>> project(jnp.ones((2, 3)), jnp.ones((3, 1))).tolist()
        [[3.0], [3.0]]
    """
    return inputs @ weight


def _project(inputs: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return inputs @ weight, (inputs, weight)


def _project_gradients(kept: tuple[Array, Array], output: Array) -> tuple[Array, Array]:
    (inputs, output), weight = jax.lax.optimization_barrier((kept[0], output)), kept[1]
    batch = tuple(range(inputs.ndim - 1))
    of_inputs = jax.lax.dot_general(output, weight, (((output.ndim - 1,), (1,)), ((), ())))
    return of_inputs, jax.lax.dot_general(inputs, output, ((batch, batch), ((), ())))


project.defvjp(_project, _project_gradients)


def attend(
    query: Float[Array, "batch time head head_dim"],
    key: Float[Array, "batch slot kv_head head_dim"],
    value: Float[Array, "batch slot kv_head head_dim"],
    mask: Bool[Array, "batch time slot"],
) -> Float[Array, "batch time head head_dim"]:
    """Attends from `time` to `slot` where `mask` allows: the one place that calls a kernel.

    A query that may attend to nothing gets a meaningless but finite value.

    Example:
        >>> ones = jnp.ones((1, 2, 1, 4))
        >>> attend(ones, ones, ones, jnp.ones((1, 2, 2), bool)).shape
        (1, 2, 1, 4)
    """
    # jax promotes the logits of 16-bit types to float32 inside, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        return jax.nn.dot_product_attention(query, key, value, mask=mask[:, None])


def attend_cached(
    query: Float[Array, "batch time head head_dim"],
    cached: KeysValues,
    mask: Bool[Array, "batch time slot"],
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
    rows = (query * width**-0.5).reshape(batch, time, kv_heads, groups, width)
    rows = rows.transpose(0, 2, 3, 1, 4).reshape(batch, kv_heads, groups * time, width)
    scores = jnp.einsum("bkqd,bkds->bkqs", rows, keys, preferred_element_type=jnp.float32)
    scores = scores.reshape(batch, kv_heads, groups, time, slots)
    scores = jnp.where(mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores).astype(values.dtype)
    weights = weights.reshape(batch, kv_heads, groups * time, slots)
    mixed = jnp.einsum("bkqs,bksd->bkqd", weights, values)
    mixed = mixed.reshape(batch, kv_heads, groups, time, width).transpose(0, 3, 1, 2, 4)
    return mixed.reshape(query.shape)


def rotate(
    values: Float[Array, "batch time head head_dim"],
    positions: Int[Array, "batch time"],
    theta: float,
) -> Float[Array, "batch time head head_dim"]:
    """Applies rotary position embeddings, pairing dimension i with i + head_dim / 2.

    See "RoFormer: Enhanced Transformer with Rotary Position Embedding" by Su et al.
    (https://arxiv.org/abs/2104.09864).

    Example:
        >>> values = jnp.ones((1, 1, 1, 2))
        >>> rotate(values, jnp.zeros((1, 1), jnp.int32), 1e4).tolist()
        [[[[1.0, 1.0]]]]
    """
    half = values.shape[-1] // 2
    frequency = theta ** -(jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions[..., None, None].astype(jnp.float32) * frequency
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    first, second = jnp.split(values.astype(jnp.float32), 2, axis=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(turned, axis=-1).astype(values.dtype)


class _Module(nn.Module):
    config: ModelConfig

    def _parameter(
        self, name: str, shape: tuple[int, ...], axes: tuple[str, ...], initial: Initializer
    ) -> Array:
        return self.param(name, nn.with_logical_partitioning(initial, axes), shape, unbox=True)

    def _weight(
        self, name: str, shape: tuple[int, ...], axes: tuple[str, ...], scale: float = 1.0
    ) -> Array:
        initial = nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal")
        return self._parameter(name, shape, axes, initial).astype(self.config.dtype)


class RMSNorm(_Module):
    """Root-mean-square normalisation, computed in float32.

    See "Root Mean Square Layer Normalization" by Zhang and Sennrich
    (https://arxiv.org/abs/1910.07467).
    """

    @nn.compact
    def __call__(self, hidden: Float[Array, "batch time dim"]) -> Float[Array, "batch time dim"]:
        """Normalises the last axis and scales it."""
        ones = nn.initializers.ones_init()
        scale = self._parameter("scale", hidden.shape[-1:], ("norm",), ones)
        wide = hidden.astype(jnp.float32)
        mean_square = jnp.square(wide).mean(-1, keepdims=True)
        normed = wide * jax.lax.rsqrt(mean_square + self.config.norm_epsilon)
        return (normed * scale).astype(hidden.dtype)


class Attention(_Module):
    """Grouped-query attention with rotary positions.

    See "GQA: Training Generalized Multi-Query Transformer Models" by Ainslie et al.
    (https://arxiv.org/abs/2305.13245).
    """

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
        width, kv_width = config.dim, config.num_kv_heads * config.head_dim
        query = project(hidden, self._weight("query", (width, width), ("embed", "heads")))
        key = project(hidden, self._weight("key", (width, kv_width), ("embed", "kv_heads")))
        value = project(hidden, self._weight("value", (width, kv_width), ("embed", "kv_heads")))
        query, key, value = (
            projected.reshape(*hidden.shape[:2], heads, config.head_dim)
            for projected, heads in (
                (query, config.num_heads),
                (key, config.num_kv_heads),
                (value, config.num_kv_heads),
            )
        )
        query, key = (rotate(part, positions, config.rope_theta) for part in (query, key))
        written = key.transpose(0, 2, 3, 1), value.transpose(0, 2, 1, 3)
        if cached is not None and slot is not None:
            write = jax.lax.dynamic_update_slice_in_dim
            written = write(cached[0], written[0], slot, 3), write(cached[1], written[1], slot, 2)
            mixed = attend_cached(query, written, mask)
        else:
            mixed = attend(query, key, value, mask)
        scale = 1.0 / (2 * config.num_layers)
        out = self._weight("out", (width, width), ("heads", "embed"), scale)
        return project(mixed.reshape(hidden.shape), out), written


class FeedForward(_Module):
    """The gated linear unit with SiLU.

    See "GLU Variants Improve Transformer" by Shazeer (https://arxiv.org/abs/2002.05202).
    """

    @nn.compact
    def __call__(self, hidden: Float[Array, "batch time dim"]) -> Float[Array, "batch time dim"]:
        """Applies the layer to each position."""
        config = self.config
        shape, axes = (config.dim, config.hidden_dim), ("embed", "hidden")
        gate = project(hidden, self._weight("gate", shape, axes))
        up = project(hidden, self._weight("up", shape, axes))
        scale = 1.0 / (2 * config.num_layers)
        down = self._weight("down", shape[::-1], axes[::-1], scale)
        return project(jax.nn.silu(gate) * up, down)


class Decoder(_Module):
    """Embedding, blocks and final norm; the output projection is applied by `unembed`."""

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
        mask: Bool[Array, "batch time slot"],
        cached: tuple[KeysValues, ...] | None = None,
        slot: Int[Array, ""] | None = None,
    ) -> tuple[Float[Array, "batch time dim"], tuple[KeysValues, ...]]:
        """Returns the hidden states and each layer's keys and values."""
        config = self.config
        table = self._table("embedding")
        hidden = table[tokens].astype(config.dtype)
        written = []
        for layer in range(config.num_layers):
            name = f"layer_{layer}"
            before = RMSNorm(config, name=f"{name}_attention_norm")(hidden)
            mixed, kv = Attention(config, name=f"{name}_attention")(
                before, positions, mask, None if cached is None else cached[layer], slot
            )
            hidden = hidden + mixed
            before = RMSNorm(config, name=f"{name}_feed_forward_norm")(hidden)
            hidden = hidden + FeedForward(config, name=f"{name}_feed_forward")(before)
            written.append(kv)
        if not config.tie_embeddings:
            self._table("output")
        return RMSNorm(config, name="norm")(hidden), tuple(written)

    def _table(self, name: str) -> Array:
        shape, initial = (self.config.vocab_size, self.config.dim), nn.initializers.normal(0.02)
        return self._parameter(name, shape, ("vocab", "embed"), initial)
