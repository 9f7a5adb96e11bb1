"""What an experiment with a pretrained model is."""

import dataclasses
import math
from typing import Literal

from jaxreason.checks import check_that
from jaxreason.model import LoRAConfig
from jaxreason.optimizer import OptimizerConfig
from jaxreason.rollout import Sampling
from train.config import LoopConfig, SupervisedConfig
from train.text.rl_config import TextRLConfig

SFT_STAGE, SFT_ABSTRACTION_STAGE, RL_STAGE = "sft", "sft_abstraction", "rl"
"""Names of the stages: the solver's fine-tuning, the abstraction generator's, and the game."""


@dataclasses.dataclass(frozen=True)
class TextSFTConfig(SupervisedConfig):
    """Settings of supervised fine-tuning on right responses."""

    steps: int = 200
    """Updates."""
    batch_size: int = 16
    """Packed sequences in one update."""
    microbatches: int = 4
    """Parts of a batch whose gradients are accumulated one after the other; they divide it."""
    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=2e-4, warmup_steps=10, weight_decay=0.0
    )
    """The optimiser; its state is float32."""
    questions: int = 8000
    """Training questions; of a data set all if there are fewer."""
    sequence_length: int = 512
    """Tokens in a packed sequence; a longer conversation is left out."""
    teacher: str | None = None
    """Files of a teacher: rows with `problem`, `abstraction` and `solution`. Then both players get
    a warm start from them; otherwise a solver learns the task's training questions."""
    bare_share: float = 0.2
    """Share of a teacher's lessons from which the solver learns without the abstraction."""
    filter_samples: int = 0
    """Solutions, with and without, by which the model tells whether a teacher's abstraction raises
    success; the abstraction generator learns from those that do. 0 keeps all."""
    rank: int = 16
    """Rank of the low-rank adapters that are trained; 0 trains all weights."""
    alpha: float = 32.0
    """What adapters add is multiplied by alpha / rank."""
    remat: Literal["none", "dots", "full"] = "full"
    """What the backward pass computes again to save memory: nothing; all of a layer but its
    products with weights; or all but what goes into a layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_that(self.questions >= 1, f"questions must be 1 or more; got {self.questions}.")
        length = self.sequence_length
        check_that(length >= 2, f"sequence_length must be 2 or more; got {length}.")
        check_that(
            0 <= self.bare_share <= 1, f"bare_share must lie in [0, 1]; got {self.bare_share}."
        )
        samples = self.filter_samples
        check_that(samples >= 0, f"filter_samples must be 0 or more; got {samples}.")
        check_that(
            self.teacher is not None or samples == 0,
            "filter_samples chooses among a teacher's abstractions: name its files by teacher.",
        )
        check_that(self.rank >= 0, f"rank must be 0 or more; got {self.rank}.")
        check_that(self.alpha > 0, f"alpha must be above 0; got {self.alpha}.")

    @property
    def lora(self) -> LoRAConfig | None:
        """The adapters; None if all weights are trained."""
        return LoRAConfig(self.rank, self.alpha) if self.rank else None


@dataclasses.dataclass(frozen=True)
class TextEvaluationConfig:
    """How answers are drawn and judged."""

    questions: int = 200
    """Test questions; of a data set all if there are fewer."""
    samples: int = 1
    """Responses to each question."""
    temperature: float = 0.0
    """Sampling temperature; 0 is greedy."""
    top_p: float = 1.0
    """Keep the most likely tokens that together reach this probability."""
    max_new_tokens: int = 256
    """The most tokens of a response."""
    abstractions: int = 4
    """Abstractions m for each question, of a pair of players."""
    solutions: int = 2
    """Solutions k under each abstraction; as many without one as m x k."""
    batch_size: int = 16
    """Questions that are answered at the same time, each with all its responses."""
    workers: int = 1
    """Processes that verify answers."""
    time_limit: float = 5.0
    """Seconds that the verifier may take for one answer."""
    shown: int = 3
    """Responses that are shown on the screen; samples.json has all."""

    def __post_init__(self) -> None:
        for name in (
            *("questions", "samples", "max_new_tokens", "abstractions", "solutions"),
            *("batch_size", "workers"),
        ):
            value = getattr(self, name)
            check_that(value >= 1, f"{name} must be 1 or more; got {value}.")
        check_that(
            0 < self.time_limit < math.inf,
            f"time_limit must be above 0 and finite; got {self.time_limit}.",
        )
        check_that(self.shown >= 0, f"shown must be 0 or more; got {self.shown}.")
        check_that(
            self.samples == 1 or self.sampling.temperature > 0,
            f"{self.samples} samples at temperature 0 would be one and the same: raise the"
            " temperature, or take one sample.",
        )

    @property
    def sampling(self) -> Sampling:
        """The distribution that responses are drawn from."""
        return Sampling(self.temperature, top_p=self.top_p)


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """A pretrained model, a task, and what is done with them."""

    model: str = "smollm2"
    """Name, file or folder of the pretrained model."""
    task: str = "gsm8k"
    """`gsm8k`, or the name of a family of reasoning-gym."""
    folder: str | None = None
    """Where the data of the task lie; through TFDS if None."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of activations, and of weights that are not trained."""
    seed: int = 0
    """Seed of the questions, adapters, order and samples."""
    sft: TextSFTConfig = TextSFTConfig()
    """Supervised fine-tuning."""
    rl: TextRLConfig = TextRLConfig()
    """The two-player game."""
    evaluation: TextEvaluationConfig = TextEvaluationConfig()
    """Evaluation."""
    loop: LoopConfig = LoopConfig(checkpoint_every=20)
    """Checkpoints, metrics and skipped updates."""
