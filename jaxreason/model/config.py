"""The shape of a decoder."""

import dataclasses

from jaxreason.checks import check_that


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A decoder of the Llama shape: pre-norm, rotary positions, SwiGLU, grouped-query attention."""

    vocab_size: int = 512
    """Number of token ids."""
    dim: int = 128
    """Width of the residual stream."""
    num_layers: int = 3
    """Number of blocks."""
    num_heads: int = 4
    """Query heads; they divide the width."""
    num_kv_heads: int = 4
    """Key-value heads; they divide the query heads."""
    hidden_dim: int = 384
    """Width of the feed-forward layer."""
    rope_theta: float = 10_000.0
    """Base of the rotary wavelengths."""
    norm_epsilon: float = 1e-5
    """Added to the mean square in RMS norms."""
    tie_embeddings: bool = True
    """Whether the output projection is the transposed embedding."""
    dtype: str = "float32"
    """Type of activations: float32, bfloat16 or float16. Parameters, norms, logits and log-probs
    are float32."""

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "dim", "num_layers", "num_heads", "num_kv_heads", "hidden_dim")
        for name in sizes:
            size = getattr(self, name)
            check_that(size >= 1, f"{name} must be 1 or more; got {size}.")
        check_that(
            self.dim % self.num_heads == 0,
            f"num_heads must divide dim; got {self.num_heads} heads for a width of {self.dim}.",
        )
        check_that(
            self.num_heads % self.num_kv_heads == 0,
            f"num_kv_heads must divide num_heads; got {self.num_kv_heads} for {self.num_heads}.",
        )
        check_that(
            self.head_dim % 2 == 0,
            f"dim / num_heads must be even for rotary positions; got {self.head_dim}.",
        )
        known = ("float32", "bfloat16", "float16")
        check_that(self.dtype in known, f"dtype must be one of {known}; got {self.dtype!r}.")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.num_heads
