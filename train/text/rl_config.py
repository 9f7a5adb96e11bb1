"""Settings of the two-player game with a pretrained model on text."""

import dataclasses

from jaxreason.checks import check_that
from jaxreason.model import LoRAConfig
from jaxreason.optimizer import OptimizerConfig
from jaxreason.rlad import GameConfig

_OPTIMIZER = OptimizerConfig(learning_rate=1e-4, warmup_steps=5, weight_decay=0.0)


@dataclasses.dataclass(frozen=True)
class TextRLConfig:
    """The game of two adapters on one frozen base, judged by a verifier of texts."""

    steps: int = 100
    """Rounds; each updates both players."""
    num_questions: int = 2000
    """Training questions that are drawn from."""
    game: GameConfig = GameConfig(
        problems=8, abstractions=4, solutions=2, bare=1, leak_rule="drop", microbatches=4
    )
    """Sizes and coefficients of one round."""
    lora: LoRAConfig = LoRAConfig(rank=16, alpha=32.0)
    """Rank and projections of both players' adapters."""
    abstraction_optimizer: OptimizerConfig = _OPTIMIZER
    """The abstraction generator's optimiser."""
    solution_optimizer: OptimizerConfig = _OPTIMIZER
    """The solution generator's optimiser."""
    max_prompt_length: int = 256
    """Tokens of the longest prompt without its hint; questions with longer ones are left out."""
    abstraction_length: int = 64
    """Tokens of the longest hint."""
    solution_length: int = 256
    """Tokens of the longest solution."""
    verifier_workers: int = 2
    """Processes that judge solutions."""
    verifier_seconds: float = 5.0
    """Seconds that judging one solution may take."""
    samples_every: int = 10
    """Rounds between two whose texts are written down."""

    def __post_init__(self) -> None:
        for name in (
            *("steps", "num_questions", "max_prompt_length", "abstraction_length"),
            *("solution_length", "verifier_workers", "samples_every"),
        ):
            value = getattr(self, name)
            check_that(value >= 1, f"{name} must be 1 or more; got {value}.")
        seconds = self.verifier_seconds
        check_that(0 < seconds < 1e6, f"verifier_seconds must be above 0; got {seconds}.")
        check_that(
            self.game.leak_samples == 0,
            "leaks are found in the texts here: leave game.leak_samples at 0; got"
            f" {self.game.leak_samples}.",
        )
        check_that(
            self.game.schedule == "simultaneous",
            "players whose texts are judged outside the device learn from every round: leave"
            " game.schedule at 'simultaneous'.",
        )
