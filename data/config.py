"""What the data of a run depends on."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Settings of the corpora, the tokenizer and the mixtures.

    Raises:
        ValueError: If a setting is out of range.
    """

    vocab_size: int = 512
    """Tokens of the tokenizer, of which about 300 are special tokens, symbols and bytes."""
    sequence_length: int = 128
    """Tokens in a packed sequence."""
    reasoning_density: float = 0.8
    """Share of the loss-bearing pretraining tokens from the reasoning corpus, in [0, 1]."""
    num_problems: int = 20_000
    """Problems in the pretraining corpus."""
    sft_problems: int = 4_000
    """Further problems, for supervised fine-tuning."""
    teacher_error: float = 0.5
    """Share of wrong abstractions in the fine-tuning of both players, in [0, 1]."""
    pretraining_bare_share: float = 0.33
    """Share of those reasoning tokens that come without an abstraction, in [0, 1]."""
    bare_share: float = 0.125
    """Share of the solution generator's loss-bearing tokens without an abstraction, in [0, 1]."""
    block_size: int = 64
    """Sequences in a block of a mixture; shares are exact to one sequence in every block."""
    seed: int = 0
    """Seed of the corpus, the teacher and the order."""

    def __post_init__(self) -> None:
        for name in ("reasoning_density", "teacher_error", "pretraining_bare_share", "bare_share"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must lie in [0, 1]; got {share:g}.")
        for name in ("num_problems", "sft_problems", "block_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if self.sequence_length < 2:
            raise ValueError(f"sequence_length must be at least 2; got {self.sequence_length}.")
