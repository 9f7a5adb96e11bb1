"""The sizes and coefficients of one iteration of the two-player game."""

import dataclasses

from jaxreason.checks import check_that
from jaxreason.rlad.credit import ESTIMATORS, SOLUTION_GROUPS


@dataclasses.dataclass(frozen=True)
class GameConfig:
    """One iteration: problems x abstractions x solutions, and how both players learn from it."""

    problems: int = 48
    """Problems in one iteration."""
    abstractions: int = 8
    """Abstractions sampled for each problem."""
    solutions: int = 2
    """Solutions sampled under each abstraction."""
    bare: int = 1
    """Solver prompts without an abstraction for each problem, each with as many solutions."""
    temperature: float = 1.0
    """Sampling temperature of both players."""
    abstraction_estimator: str = "rloo"
    """Advantage over a problem's abstractions: reinforce, rloo or grpo."""
    solution_estimator: str = "grpo"
    """Advantage over a group of solutions: reinforce, rloo or grpo."""
    solution_group: str = "abstraction"
    """Solutions compared with one another: those of one `abstraction`, or all of the `problem`."""
    clip_low: float = 0.2
    """How far below 1 the probability ratio still counts."""
    clip_high: float = 0.5
    """How far above 1 the probability ratio still counts."""
    kl_coef: float = 0.001
    """Coefficient of the KL divergence (k3) to the warm start."""
    entropy_coef: float = 0.001
    """Coefficient of the entropy bonus."""
    minibatches: int = 1
    """Updates of each player in one iteration, on successive parts of its samples."""

    def __post_init__(self) -> None:
        for name in ("problems", "abstractions", "solutions", "minibatches"):
            value = getattr(self, name)
            check_that(value >= 1, f"{name} must be 1 or more; got {value}.")
        check_that(self.bare >= 0, f"bare must be 0 or more; got {self.bare}.")
        check_that(self.temperature > 0, f"temperature must be above 0; got {self.temperature}.")
        for name in ("abstraction_estimator", "solution_estimator"):
            value = getattr(self, name)
            check_that(
                value in ESTIMATORS, f"{name} must be in {tuple(ESTIMATORS)}; got {value!r}."
            )
        group = self.solution_group
        check_that(
            group in SOLUTION_GROUPS, f"solution_group must be in {SOLUTION_GROUPS}; got {group!r}."
        )
        alone = self.solutions == 1 and group == "abstraction"
        check_that(
            not alone,
            "one solution under each abstraction has nothing to be compared with: set "
            "solution_group to 'problem' or solutions to 2 or more.",
        )
        check_that(
            self.abstractions * self.solutions > 1,
            "one abstraction with one solution has nothing to be compared with: set one of them to "
            "2 or more.",
        )
        check_that(0 <= self.clip_low < 1, f"clip_low must be in [0, 1); got {self.clip_low}.")
        for name in ("clip_high", "kl_coef", "entropy_coef"):
            value = getattr(self, name)
            check_that(value >= 0, f"{name} must be 0 or more; got {value}.")
        check_that(
            self.problems % self.minibatches == 0,
            f"minibatches must divide problems; got {self.minibatches} for {self.problems}.",
        )
