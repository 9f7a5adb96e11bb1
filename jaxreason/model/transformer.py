"""The decoder as pure functions of a config and a tree of parameters."""

from typing import TypeAlias

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Int8, PRNGKeyArray, PyTree

from jaxreason.checks import check_shape
from jaxreason.model.config import ModelConfig
from jaxreason.model.layers import Decoder, soft_capped
from jaxreason.model.products import multiply, multiply_quantized

Params: TypeAlias = PyTree[Float[Array, "..."] | Int8[Array, "..."]]
"""A nested dict of weights; 8-bit ones come from `quantize`."""


def _variables(config: ModelConfig, key: PRNGKeyArray) -> PyTree:
    tokens = jnp.zeros((1, 1), jnp.int32)
    return Decoder(config).init(key, tokens, tokens, jnp.ones((1, 1, 1), bool))["params"]


def init(config: ModelConfig, key: PRNGKeyArray) -> Params:
    """Draws initial parameters.

    Args:
        config: The decoder's shape.
        key: A random key.

    Returns:
        A nested dict of float32 arrays.

    Example:
        >>> params = init(ModelConfig(num_layers=1), jax.random.key(0))
        >>> params["embedding"].shape
        (512, 128)
    """
    return nn.meta.unbox(_variables(config, key))


def logical_axes(config: ModelConfig) -> PyTree[jax.sharding.PartitionSpec]:
    """Returns each parameter's logical axes, in a tree like that of `init`.

    Example:
        >>> tuple(logical_axes(ModelConfig(num_layers=1))["embedding"])
        ('vocab', 'embed')
    """
    boxed = jax.eval_shape(lambda: _variables(config, jax.random.key(0)))
    return nn.get_partition_spec(boxed)


def num_parameters(config: ModelConfig) -> int:
    """Returns the number of parameters, without allocating them.

    Example:
        >>> num_parameters(ModelConfig(num_layers=1))
        278912
    """
    abstract = jax.eval_shape(lambda: init(config, jax.random.key(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(abstract))


def positions_of(segment_ids: Int[Array, "batch time"]) -> Int[Array, "batch time"]:
    """Counts each token's position within its segment, whatever padding stands between.

    Args:
        segment_ids: The document of each token, 0 for padding; segments do not interleave.

    Returns:
        Positions from 0 in every segment; padding gets 0.

    Example:
        >>> positions_of(jnp.array([[1, 1, 0, 1, 2, 2]])).tolist()
        [[0, 1, 0, 2, 0, 1]]
    """
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    before = jnp.tril(jnp.ones(same.shape[1:], bool), k=-1)
    return jnp.where(segment_ids > 0, (same & before).sum(-1), 0)


def attention_mask(segment_ids: Int[Array, "batch time"]) -> Bool[Array, "batch time time"]:
    """Returns who sees whom: earlier tokens, and itself, of the same segment; padding nobody.

    Example:
        >>> attention_mask(jnp.array([[1, 2, 2]]))[0].astype(int).tolist()
        [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    """
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    causal = jnp.tril(jnp.ones(same.shape[1:], bool))
    return same & causal & (segment_ids > 0)[:, None, :]


def hidden_states(
    config: ModelConfig,
    params: Params,
    tokens: Int[Array, "batch time"],
    *,
    positions: Int[Array, "batch time"] | None = None,
    segment_ids: Int[Array, "batch time"] | None = None,
) -> Float[Array, "batch time dim"]:
    """Runs the decoder up to the final norm.

    Args:
        config: The decoder's shape.
        params: From `init`.
        tokens: Token ids.
        positions: Position of each token in its document; counted in `segment_ids` if absent.
        segment_ids: The document of each token, 0 for padding; all one document if absent.
            Tokens attend within their document only.

    Returns:
        Hidden states; those of padding mean nothing.

    Raises:
        ValueError: If shapes disagree.
    """
    batch, time = check_shape("tokens", tokens, ("batch", "time"))
    if segment_ids is None:
        segment_ids = jnp.ones((batch, time), jnp.int32)
    check_shape("segment_ids", segment_ids, (batch, time))
    if positions is None:
        positions = positions_of(segment_ids)
    check_shape("positions", positions, (batch, time))
    mask = attention_mask(segment_ids)
    return Decoder(config).apply({"params": params}, tokens, positions, mask)[0]


def unembed(
    config: ModelConfig, params: Params, hidden: Float[Array, "... dim"]
) -> Float[Array, "... vocab"]:
    """Turns hidden states into float32 logits."""
    name = "embedding" if config.tie_embeddings else "output"
    if f"{name}_scale" in params:
        logits = multiply_quantized(hidden, params[name], params[f"{name}_scale"], axis=1)
    else:
        logits = multiply(hidden, params[name].astype(config.dtype), axis=1)
    return soft_capped(logits, config.logit_soft_cap)


def forward(
    config: ModelConfig,
    params: Params,
    tokens: Int[Array, "batch time"],
    *,
    positions: Int[Array, "batch time"] | None = None,
    segment_ids: Int[Array, "batch time"] | None = None,
) -> Float[Array, "batch time vocab"]:
    """Returns the logits of the next token after each token; arguments as for `hidden_states`.

    Example:
        >>> config = ModelConfig(num_layers=1)
        >>> params = init(config, jax.random.key(0))
        >>> forward(config, params, jnp.array([[1, 2, 3]])).shape
        (1, 3, 512)
    """
    hidden = hidden_states(config, params, tokens, positions=positions, segment_ids=segment_ids)
    return unembed(config, params, hidden)
