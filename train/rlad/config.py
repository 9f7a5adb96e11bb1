"""What the studies of the game are made of: a small world, warm starts, arms, evaluation."""

import dataclasses

from jaxreason.checks import check_that
from jaxreason.model import ModelConfig
from jaxreason.optimizer import OptimizerConfig
from jaxreason.rlad import GameConfig
from jaxreason.tasks import RuleInductionConfig


@dataclasses.dataclass(frozen=True)
class WarmUpConfig:
    """One supervised stage on documents that are made as they are needed."""

    steps: int = 800
    """Updates."""
    documents: int = 128
    """Documents in one update."""
    optimizer: OptimizerConfig = OptimizerConfig(method="muon", learning_rate=1e-2, warmup_steps=30)
    """The optimiser."""

    def __post_init__(self) -> None:
        for name in ("steps", "documents"):
            value = getattr(self, name)
            check_that(value >= 1, f"{name} must be 1 or more; got {value}.")


@dataclasses.dataclass(frozen=True)
class WorldConfig:
    """The problems, the teacher, and the models before the game."""

    task: RuleInductionConfig = RuleInductionConfig()
    """Difficulty of the problems."""
    model: ModelConfig = ModelConfig(vocab_size=64, dim=96, num_layers=2, hidden_dim=192)
    """Shape of both players."""
    large: ModelConfig = ModelConfig(vocab_size=64, dim=128, num_layers=3, hidden_dim=256)
    """Shape of the larger solver of the weak-to-strong study."""
    teacher_error: float = 0.3
    """Share of the teacher's abstractions that name a wrong rule; worked solutions are right."""
    bare_share: float = 0.2
    """Share of the documents with a solution that have no abstraction."""
    filter_samples: int = 0
    """Solutions by which the base model tells whether a teacher's abstraction raises success; the
    abstraction generator's warm start learns from those that do. 0 keeps all."""
    base: WarmUpConfig = WarmUpConfig()
    """Pretraining of the base model."""
    warm_start: WarmUpConfig = WarmUpConfig(
        steps=80,
        optimizer=OptimizerConfig(method="muon", learning_rate=3e-3, warmup_steps=10),
    )
    """Each of the two warm starts."""


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """What is sampled from every pair of players."""

    problems: int = 128
    """Held-out problems of each split."""
    abstractions: int = 16
    """Abstractions for each problem."""
    solutions: int = 2
    """Solutions under each abstraction."""
    bare: int = 32
    """Solutions without an abstraction."""
    allocation_solutions: int = 16
    """Solutions under each abstraction in the study of how a budget is spent."""
    hard: float = 0.125
    """Success of the base model up to which a problem counts as hard."""

    def __post_init__(self) -> None:
        for name in ("problems", "abstractions", "solutions", "bare", "allocation_solutions"):
            value = getattr(self, name)
            check_that(value >= 2, f"{name} must be 2 or more; got {value}.")


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """All studies: they share the world, the seeds and the arms."""

    seeds: int = 5
    """Seeds, trained side by side."""
    first_seed: int = 0
    """The first of them."""
    world: WorldConfig = WorldConfig()
    """The world."""
    game: GameConfig = GameConfig(
        problems=32,
        abstractions=8,
        solutions=1,
        solution_group="problem",
        abstraction_estimator="grpo",
        kl_coef=0.05,
        entropy_coef=0.003,
    )
    """The game of the arm `rlad`; other arms change one thing of it."""
    iterations: int = 96
    """Iterations of the game in every arm."""
    chunk: int = 16
    """Iterations that run as one program."""
    abstraction_optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=3e-4, warmup_steps=5, weight_decay=0.0
    )
    """The abstraction generator's optimiser."""
    solution_optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=1e-4, warmup_steps=5, weight_decay=0.0
    )
    """The solution generator's optimiser."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation of every arm."""

    def __post_init__(self) -> None:
        check_that(self.seeds >= 2, f"seeds must be 2 or more; got {self.seeds}.")
        check_that(
            self.iterations % self.chunk == 0 and self.chunk % (2 * self.game.turn) == 0,
            "chunk must divide iterations and hold whole turns of both players; got "
            f"chunk={self.chunk}, iterations={self.iterations}, turn={self.game.turn}.",
        )
