"""Settings of the two-player game with a pretrained model on text."""

import dataclasses
import math
from typing import Literal

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
    questions: int = 2000
    """Training questions that are drawn from; of a data set all if there are fewer."""
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
    workers: int = 1
    """Processes that judge solutions."""
    time_limit: float = 5.0
    """Seconds that judging one solution may take."""
    remat: Literal["none", "dots", "full"] = "full"
    """What the backward pass computes again to save memory: nothing; all of a layer but its
    products with weights; or all but what goes into a layer."""
    samples_every: int = 10
    """Rounds between two whose texts are written down."""

    def __post_init__(self) -> None:
        for name in (
            *("steps", "questions", "max_prompt_length", "abstraction_length"),
            *("solution_length", "workers", "samples_every"),
        ):
            value = getattr(self, name)
            check_that(value >= 1, f"{name} must be 1 or more; got {value}.")
        check_that(
            0 < self.time_limit < math.inf,
            f"time_limit must be above 0 and finite; got {self.time_limit}.",
        )
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
