"""What an experiment is: every setting of every stage, checked before anything compiles."""

import dataclasses

from data.config import DataConfig
from jaxreason.checks import check_that
from jaxreason.model import ModelConfig
from jaxreason.optimizer import OptimizerConfig
from jaxreason.rlad import GameConfig
from jaxreason.tasks import RuleInductionConfig, make_rule_induction


def _check_sequences(problems: int, slots: int, solutions: int, limit: int) -> None:
    count = problems * slots * solutions
    check_that(
        count <= limit,
        f"{problems} problems x {slots} abstractions (bare ones included) x {solutions} solutions "
        f"are {count} sequences at a time, more than max_sequences = {limit}: ask for fewer "
        "abstractions, solutions or problems, or raise max_sequences.",
    )


def longest_document(task: RuleInductionConfig) -> int:
    """Returns the tokens of the longest problem with its abstraction, solution and terminators."""
    functions = make_rule_induction(task)
    pair = task.list_length + task.width + 2
    problem = 1 + task.num_examples * pair + task.list_length + 1
    return problem + 1 + functions.abstraction_length + functions.solution_length


@dataclasses.dataclass(frozen=True)
class SupervisedConfig:
    """Settings of pretraining or of one warm start."""

    steps: int = 800
    """Updates."""
    batch_size: int = 32
    """Packed sequences in one update."""
    microbatches: int = 1
    """Parts of a batch whose gradients are accumulated one after the other; they divide it."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """The optimiser."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "microbatches"):
            value = getattr(self, name)
            check_that(value >= 1, f"{name} must be 1 or more; got {value}.")
        check_that(
            self.batch_size % self.microbatches == 0,
            f"microbatches must divide batch_size; got {self.microbatches} for {self.batch_size}.",
        )


@dataclasses.dataclass(frozen=True)
class WarmStartConfig(SupervisedConfig):
    """Settings of each of the two warm starts."""

    steps: int = 100
    """Updates."""
    filter_samples: int = 0
    """Solutions, with and without, by which the base model tells whether a teacher's abstraction
    raises success; the abstraction generator learns from those that do. 0 keeps all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_that(
            self.filter_samples >= 0,
            f"filter_samples must be 0 or more; got {self.filter_samples}.",
        )


@dataclasses.dataclass(frozen=True)
class CurriculumConfig:
    """Which problems the game is played on: easy ones first, then those of middling success."""

    problems: int = 0
    """Problems in the pool that is measured first; 0 draws fresh ones instead."""
    samples: int = 8
    """Solutions by which the solver's warm start is measured on each."""
    easy: float = 0.5
    """Success above which a problem is easy: the first half of the steps."""
    hard: float = 0.125
    """Success up to which it is hard, and left out; the second half takes what is between."""
    floor: float = 0.1
    """Weight of problems that are always or never solved."""

    def __post_init__(self) -> None:
        check_that(self.problems >= 0, f"problems must be 0 or more; got {self.problems}.")
        check_that(self.samples >= 1, f"samples must be 1 or more; got {self.samples}.")
        check_that(
            0 <= self.hard < self.easy < 1,
            f"0 <= hard < easy < 1 must hold; got {self.hard} and {self.easy}.",
        )
        check_that(0 <= self.floor <= 1, f"floor must be in [0, 1]; got {self.floor}.")


@dataclasses.dataclass(frozen=True)
class RLConfig:
    """Settings of the two-player game."""

    steps: int = 100
    """Rounds; each plays one iteration and updates both players, or, when they alternate, a turn of
    each."""
    game: GameConfig = GameConfig()
    """Sizes and coefficients of one iteration."""
    curriculum: CurriculumConfig = CurriculumConfig()
    """Which problems it is played on."""
    max_sequences: int = 4096
    """The most sequences that may be generated at the same time; bounds the memory."""
    abstraction_optimizer: OptimizerConfig = OptimizerConfig(learning_rate=3e-4, weight_decay=0.0)
    """The abstraction generator's optimiser."""
    solution_optimizer: OptimizerConfig = OptimizerConfig(learning_rate=3e-4, weight_decay=0.0)
    """The solution generator's optimiser."""

    def __post_init__(self) -> None:
        check_that(self.steps >= 1, f"steps must be 1 or more; got {self.steps}.")
        _check_sequences(
            self.game.problems,
            self.game.abstractions + self.game.bare,
            self.game.solutions,
            self.max_sequences,
        )


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How every stage is evaluated, and how the budget of inference is spent."""

    problems: int = 256
    """Held-out problems in each split, and training problems on which accuracies for the optimal
    weights (OW) are estimated."""
    abstractions: int = 8
    """Abstractions m for each problem."""
    solutions: int = 2
    """Solutions k under each abstraction; as many without one as m x k."""
    temperature: float = 1.0
    """Sampling temperature of both players."""
    samples: int = 3
    """Worked problems of each held-out split shown in the report."""
    max_sequences: int = 8192
    """The most sequences that may be generated at the same time; bounds the memory."""

    def __post_init__(self) -> None:
        names = ("problems", "abstractions", "solutions", "samples")
        for name in names:
            value = getattr(self, name)
            check_that(value >= 1, f"{name} must be 1 or more; got {value}.")
        check_that(self.temperature > 0, f"temperature must be above 0; got {self.temperature}.")
        check_that(
            self.samples <= self.problems,
            f"samples must be at most problems; got {self.samples} of {self.problems}.",
        )
        _check_sequences(self.problems, self.abstractions, self.solutions, self.max_sequences)


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """What the training loops of all stages share."""

    checkpoint_every: int = 100
    """Steps between two checkpoints."""
    log_every: int = 10
    """Steps between two rows of metrics."""
    max_skipped: int = 5
    """Updates skipped in a row, for a loss or gradient that is not finite, that stop the run."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            check_that(value >= 1, f"{field.name} must be 1 or more; got {value}.")


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Data, model and stages of one experiment."""

    seed: int = 0
    """Seed of initialisation, sampling and evaluation."""
    data: DataConfig = DataConfig()
    """Corpora, tokenizer and mixtures."""
    task: RuleInductionConfig = RuleInductionConfig()
    """Difficulty of the problems."""
    model: ModelConfig = ModelConfig()
    """Shape of both players."""
    pretrain: SupervisedConfig = SupervisedConfig()
    """Pretraining on the mixture."""
    sft: WarmStartConfig = WarmStartConfig()
    """Each of the two warm starts."""
    rl: RLConfig = RLConfig()
    """The two-player game."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation after every stage."""
    loop: LoopConfig = LoopConfig()
    """Checkpoints, metrics and skipped updates."""

    def __post_init__(self) -> None:
        check_that(
            self.model.vocab_size == self.data.vocab_size,
            "model.vocab_size must equal data.vocab_size; got "
            f"{self.model.vocab_size} and {self.data.vocab_size}.",
        )
        check_that(
            self.task.held_out > 0 and self.task.max_steps > 1,
            "task.held_out must be above 0 and task.max_steps above 1, so that there are held-out "
            f"compositions to evaluate on; got {self.task.held_out} and {self.task.max_steps}.",
        )
        longest = longest_document(self.task)
        check_that(
            self.data.sequence_length >= longest,
            f"data.sequence_length must hold the longest worked problem of this task, {longest} "
            f"tokens; got {self.data.sequence_length}.",
        )
