"""The shape of a decoder."""

import dataclasses

from jaxreason.checks import check_that


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are lowered, so that positions beyond those of pretraining work."""

    kind: str = "none"
    """`none`; `linear`: all of them, divided by `factor`; or `llama3`: long wavelengths only."""
    factor: float = 8.0
    """Divides the frequencies."""
    low_frequency_factor: float = 1.0
    """Of `llama3`: waves with fewer turns in `original_length` than this are slowed down fully."""
    high_frequency_factor: float = 4.0
    """Of `llama3`: waves with more turns than this are kept; those between go smoothly over."""
    original_length: int = 8192
    """Of `llama3`: number of positions in pretraining."""

    def __post_init__(self) -> None:
        known = ("none", "linear", "llama3")
        check_that(self.kind in known, f"kind must be one of {known}; got {self.kind!r}.")
        check_that(self.factor > 0, f"factor must be above 0; got {self.factor}.")
        low, high = self.low_frequency_factor, self.high_frequency_factor
        check_that(
            0 < low < high,
            "low_frequency_factor must be above 0 and below high_frequency_factor; got"
            f" {low} and {high}.",
        )
        length = self.original_length
        check_that(length >= 1, f"original_length must be 1 or more; got {length}.")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A decoder: pre-norm, rotary positions, gated feed-forward layers, grouped-query attention.

    The defaults are of the Llama shape; Qwen2, Qwen3, Gemma 2 and Gemma 3 are other settings.
    """

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
    head_size: int | None = None
    """Width of one attention head; the width of the stream over the query heads if None."""
    hidden_dim: int = 384
    """Width of the feed-forward layer."""
    activation: str = "silu"
    """Of the feed-forward gate: `silu`, or `gelu_tanh`, the tangent approximation of GELU."""
    qkv_bias: bool = False
    """Whether queries, keys and values have biases."""
    qk_norm: bool = False
    """Whether each head's queries and keys go through an RMS norm before they are rotated."""
    query_scalar: int | None = None
    """Attention scores are divided by its square root; the width of a head if None."""
    attention_soft_cap: float | None = None
    """Bounds attention scores smoothly, `cap * tanh(score / cap)`, unless None."""
    window: int | None = None
    """Number of positions that a token sees, its own among them, in layers that have a window."""
    window_pattern: tuple[bool, ...] = (True,)
    """Which layers have the window, if there is one; repeated over the layers."""
    rope_theta: float = 10_000.0
    """Base of the rotary wavelengths."""
    rope_scaling: RopeScaling = RopeScaling()
    """How rotary frequencies are scaled."""
    local_rope_theta: float | None = None
    """Base of the wavelengths in layers with a window, then unscaled; as in others if None."""
    norm_epsilon: float = 1e-5
    """Added to the mean square in RMS norms."""
    zero_centered_norms: bool = False
    """Whether RMS norms multiply by 1 + scale, which starts at 0."""
    sandwich_norms: bool = False
    """Whether what a layer adds to the stream goes through an RMS norm, too."""
    scale_embeddings: bool = False
    """Whether embeddings are multiplied by the square root of the width."""
    tie_embeddings: bool = True
    """Whether the output projection is the transposed embedding."""
    logit_soft_cap: float | None = None
    """Bounds the logits smoothly, as `attention_soft_cap`, unless None."""
    dtype: str = "float32"
    """Type of activations: float32, bfloat16 or float16. Norms, logits and log-probs are float32;
    parameters have the type that they are made in, float32 by `init`."""
    remat: str = "none"
    """What the backward pass computes again to save memory: `none`; `dots`, all of a layer but its
    products with weights; or `full`, all but what goes into a layer."""

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "dim", "num_layers", "num_heads", "num_kv_heads", "hidden_dim")
        for name in sizes:
            size = getattr(self, name)
            check_that(size >= 1, f"{name} must be 1 or more; got {size}.")
        for name in ("head_size", "query_scalar", "window"):
            size = getattr(self, name)
            check_that(size is None or size >= 1, f"{name} must be 1 or more; got {size}.")
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
            "head_size, or dim / num_heads, must be even for rotary positions; got"
            f" {self.head_dim}.",
        )
        check_that(bool(self.window_pattern), "window_pattern must name at least one layer.")
        positive = ("attention_soft_cap", "logit_soft_cap", "rope_theta", "local_rope_theta")
        for name in positive:
            value = getattr(self, name)
            check_that(value is None or value > 0, f"{name} must be above 0; got {value}.")
        choices = {
            "activation": ("silu", "gelu_tanh"),
            "dtype": ("float32", "bfloat16", "float16"),
            "remat": ("none", "dots", "full"),
        }
        for name, known in choices.items():
            value = getattr(self, name)
            check_that(value in known, f"{name} must be one of {known}; got {value!r}.")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.head_size or self.dim // self.num_heads

    def has_window(self, layer: int) -> bool:
        """Tells whether a layer sees the last `window` positions only.

        Example:
            >>> gemma2 = ModelConfig(window=4096, window_pattern=(True, False))
            >>> [gemma2.has_window(layer) for layer in range(3)]
            [True, False, True]
        """
        pattern = self.window_pattern
        return self.window is not None and pattern[layer % len(pattern)]
