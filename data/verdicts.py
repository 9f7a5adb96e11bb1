"""What verifiers said about samples, and how many of them said nothing."""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

MAX_MESSAGES = 5  # different ones that are kept for showing


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one sample."""

    reward: float | None
    """None if there is none: the verifier failed or took too long."""
    message: str = ""
    """Why there is none."""
    timed_out: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Verdicts:
    """The rewards of samples, in their order; one without a reward is masked, not scored 0."""

    rewards: np.ndarray
    """float32 `[sample]`; 0 where not valid."""
    valid: np.ndarray
    """bool `[sample]`: which samples have a reward."""
    failed: int
    """Samples whose verifier raised, died, or returned no number in [0, 1]."""
    timed_out: int
    """Samples whose verifier took longer than its limit."""
    messages: tuple[str, ...]
    """The first few different reasons, each with how often it came."""

    def shares(self) -> dict[str, float]:
        """Returns the shares of samples without a reward, under the names of metrics."""
        samples = max(len(self.valid), 1)
        return {
            "verifier/failed": self.failed / samples,
            "verifier/timed_out": self.timed_out / samples,
        }


def summarized(outcomes: Sequence[Outcome]) -> Verdicts:
    """Returns outcomes as arrays and counts.

    Example:
        >>> outcomes = [Outcome(1.0), Outcome(None, "ValueError: no"), Outcome(0.0)]
        >>> verdicts = summarized(outcomes)
        >>> verdicts.rewards.tolist(), verdicts.valid.tolist(), verdicts.failed
        ([1.0, 0.0, 0.0], [True, False, True], 1)
        >>> verdicts.messages
        ('ValueError: no (1 time)',)
    """
    lost = [outcome for outcome in outcomes if outcome.reward is None]
    reasons = collections.Counter(outcome.message for outcome in lost)
    timed_out = sum(outcome.timed_out for outcome in lost)
    return Verdicts(
        rewards=np.array([outcome.reward or 0.0 for outcome in outcomes], np.float32),
        valid=np.array([outcome.reward is not None for outcome in outcomes], bool),
        failed=len(lost) - timed_out,
        timed_out=timed_out,
        messages=tuple(
            f"{reason} ({count} time{'s' if count > 1 else ''})"
            for reason, count in list(reasons.items())[:MAX_MESSAGES]
        ),
    )
