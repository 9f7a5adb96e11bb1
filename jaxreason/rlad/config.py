"""The sizes and coefficients of the two-player game, and which of its variants is played."""

import dataclasses
from typing import Literal

from jaxreason.checks import check_that
from jaxreason.policy_gradient.player_loss import Surrogate, check_loss
from jaxreason.rlad.credit import ESTIMATORS, SOLUTION_GROUPS

OFFLINE = ("rft", "preference")
LEAK_RULES = ("keep", "drop", "penalise")


@dataclasses.dataclass(frozen=True)
class GameConfig:
    """One iteration: problems x abstractions x solutions, and how both players learn from it.

    Neighbours of RLAD are points of this space. One joint trajectory (write an abstraction, go on
    and solve, one reward for both): `shared=True, solutions=1, bare=0, solution_group="problem"`
    and the same estimator twice. The hierarchical variant: `shared=True, bare=0,
    solution_group="problem"`, both estimators `grpo`. Plain GRPO of one policy:
    `abstractions=0, bare=1, mask_bare=False`.
    """

    problems: int = 48
    """Problems in one iteration."""
    abstractions: int = 8
    """Abstractions sampled for each problem; 0 leaves the solution generator alone."""
    solutions: int = 2
    """Solutions sampled under each abstraction."""
    bare: int = 1
    """Solver prompts without an abstraction for each problem, each with as many solutions."""
    mask_bare: bool = True
    """Whether solutions without an abstraction earn nothing, as in the paper; false is the naive
    reward, by which they are worth what they are."""
    shared: bool = False
    """Whether one model plays both parts, with two prompts."""
    temperature: float = 1.0
    """Sampling temperature of both players."""
    abstraction_estimator: str = "rloo"
    """Advantage over a problem's abstractions: none, reinforce (which is Dr. GRPO's, too), rloo,
    grpo, reinforce++ or reinforce++-baseline."""
    solution_estimator: str = "grpo"
    """Advantage over a group of solutions, out of the same."""
    solution_group: str = "abstraction"
    """Solutions compared with one another: those of one `abstraction`, or all of the `problem`."""
    dynamic_sampling: bool = False
    """Whether groups whose rewards are all equal are left out of the loss (DAPO, as a mask)."""
    overlong_buffer: int = 0
    """Tokens below the longest solution over which DAPO's soft penalty falls to -1; 0 for none."""
    leak_rule: str = "keep"
    """What becomes of an abstraction that gives the answer away: keep, drop or penalise."""
    leak_samples: int = 0
    """Solutions that the base model samples from the abstraction alone to find leaks; 0 asks the
    task's own check of the text instead."""
    leak_penalty: float = 1.0
    """Taken from a leaking abstraction's reward under the rule penalise."""
    surrogate: Surrogate = "clip"
    """The loss: clip, gspo, cispo or policy_gradient."""
    clip_low: float = 0.2
    """How far below 1 the probability ratio still counts."""
    clip_high: float = 0.5
    """How far above 1 the probability ratio still counts."""
    dual_clip: float | None = None
    """The largest ratio that a negative advantage is multiplied by."""
    aggregation: Literal["token", "sequence", "constant"] = "token"
    """How tokens are averaged; constant divides by the longest completion, as Dr. GRPO does."""
    kl: str = "k3"
    """Estimator of the KL divergence to the warm start in the loss: k2 or k3."""
    kl_in_reward: bool = False
    """Whether the KL divergence (k1) is taken from the reward instead."""
    kl_coef: float = 0.001
    """Coefficient of the KL divergence."""
    entropy_coef: float = 0.001
    """Coefficient of the entropy bonus."""
    minibatches: int = 1
    """Updates of each player in one iteration, on successive parts of its samples."""
    microbatches: int = 1
    """Parts of an update whose gradients are accumulated one after the other, for less memory."""
    abstraction_update: Literal["online", "rft", "preference", "frozen"] = "online"
    """How the abstraction generator learns: by policy gradient, offline from abstractions that the
    solver has scored (filtered likelihood or preference pairs), or not at all."""
    solution_update: Literal["online", "frozen"] = "online"
    """How the solution generator learns."""
    schedule: Literal["simultaneous", "alternating"] = "simultaneous"
    """Whether both players learn from every iteration, or take turns while the other waits."""
    turn: int = 8
    """Iterations of each player's turn when alternating. An abstraction generator that learns
    offline gathers scored abstractions for as long, then learns from all of them."""
    offline_epochs: int = 2
    """Passes over what was gathered."""
    preference_beta: float = 0.1
    """How much a margin of log-probabilities weighs in the preference loss."""
    likelihood_coef: float = 1.0
    """Coefficient of the winner's likelihood in the preference loss; 0 is plain DPO."""

    def __post_init__(self) -> None:
        self._check_ranges()
        self._check_names()
        self._check_groups()
        self._check_updates()

    def _check_ranges(self) -> None:
        for name in (
            "problems",
            "solutions",
            "minibatches",
            "microbatches",
            "turn",
            "offline_epochs",
        ):
            value = getattr(self, name)
            check_that(value >= 1, f"{name} must be 1 or more; got {value}.")
        for name in ("abstractions", "bare", "overlong_buffer", "leak_samples"):
            value = getattr(self, name)
            check_that(value >= 0, f"{name} must be 0 or more; got {value}.")
        for name in ("temperature", "preference_beta"):
            value = getattr(self, name)
            check_that(value > 0, f"{name} must be above 0; got {value}.")
        names = ("clip_high", "kl_coef", "entropy_coef", "leak_penalty", "likelihood_coef")
        for name in names:
            value = getattr(self, name)
            check_that(value >= 0, f"{name} must be 0 or more; got {value}.")
        highest = 1.0 if self.surrogate != "cispo" else 1.0 + 1e-9
        check_that(
            0 <= self.clip_low < highest, f"clip_low must be in [0, 1); got {self.clip_low}."
        )
        check_that(
            self.problems % self.minibatches == 0,
            f"minibatches must divide problems; got {self.minibatches} for {self.problems}.",
        )
        each = self.problems // self.minibatches
        check_that(
            each % self.microbatches == 0,
            "microbatches must divide the problems of an update; got "
            f"{self.microbatches} for {each}.",
        )

    def _check_names(self) -> None:
        choices = {
            "abstraction_estimator": tuple(ESTIMATORS),
            "solution_estimator": tuple(ESTIMATORS),
            "solution_group": SOLUTION_GROUPS,
            "leak_rule": LEAK_RULES,
            "abstraction_update": ("online", *OFFLINE, "frozen"),
            "solution_update": ("online", "frozen"),
            "schedule": ("simultaneous", "alternating"),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            check_that(value in allowed, f"{name} must be in {allowed}; got {value!r}.")
        check_loss(self.surrogate, self.kl, self.dual_clip, self.aggregation)

    def _check_groups(self) -> None:
        check_that(
            self.abstractions + self.bare > 0,
            "abstractions and bare are both 0: there is nothing to solve.",
        )
        check_that(
            self.abstractions > 0 or not self.mask_bare,
            "without abstractions all prompts are bare: set mask_bare to False, so they count.",
        )
        alone = self.solutions == 1 and self.solution_group == "abstraction"
        check_that(
            not (alone and self._compares(self.solution_estimator)),
            "one solution under each abstraction has nothing to be compared with: set "
            "solution_group to 'problem' or solutions to 2 or more.",
        )
        slots = self.abstractions + (0 if self.mask_bare else self.bare)
        check_that(
            slots * self.solutions > 1 or not self._compares(self.solution_estimator),
            "one abstraction with one solution has nothing to be compared with: set one of them to "
            "2 or more.",
        )

    def _check_updates(self) -> None:
        learns = (self.abstractions > 0 and self.abstraction_update, self.solution_update)
        check_that(
            any(update not in (False, "frozen") for update in learns),
            "nobody learns: both players are frozen.",
        )
        check_that(
            self.abstraction_update != "rft" or self.bare > 0,
            "rft keeps abstractions that beat solving without one: set bare to 1 or more.",
        )
        check_that(
            not self.shared or self.abstraction_update == self.solution_update == "online",
            "a shared model learns both parts at once: leave both updates at 'online'.",
        )
        check_that(
            not self.shared or self.schedule == "simultaneous",
            "a shared model can't take turns with itself: leave schedule at 'simultaneous'.",
        )
        check_that(
            self.schedule == "simultaneous" or (all(learns) and "frozen" not in learns),
            "alternating needs two players that learn: set schedule to 'simultaneous'.",
        )

    @staticmethod
    def _compares(estimator: str) -> bool:
        return estimator not in ("none", "reinforce++")
