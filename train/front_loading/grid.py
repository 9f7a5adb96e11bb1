"""The cells of the grid: which model is trained on what, after which."""

import dataclasses
from collections.abc import Iterable, Iterator

SHARE = 0.2  # of the paper's main arms
ONSET = 0.6  # of the run, of the late arm: the paper's ICLR version begins there


@dataclasses.dataclass(frozen=True)
class Arm:
    """How a model is pretrained."""

    sets: tuple[str, ...] = ()
    """Reasoning sets, of `ldq`, `shq`."""
    share: float = 0.0
    """Their share of the loss-bearing tokens of the whole run."""
    onset: float = 0.0
    """After which part of the run's loss-bearing tokens they begin; the share is then higher, so
    that the tokens of each source are the same."""
    matched: bool = False
    """Whether so few examples of LDQ are taken that it is passed through as often as SHQ."""


ARMS = {
    "none": Arm(),
    "shq": Arm(("shq",), SHARE),
    "ldq": Arm(("ldq",), SHARE),
    "lmq": Arm(("ldq", "shq"), SHARE),
    "ldq_matched": Arm(("ldq",), SHARE, matched=True),
    "lmq10": Arm(("ldq", "shq"), 0.1),
    "lmq40": Arm(("ldq", "shq"), 0.4),
    "lmq_late": Arm(("ldq", "shq"), SHARE, onset=ONSET),
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One model after one stage."""

    seed: int
    arm: str
    """How it was pretrained, of `ARMS`."""
    sft: str = ""
    """The set it was fine-tuned on, of `SETS`; empty: it was not."""
    times: int = 1
    """How often it was gone through."""
    equal_tokens: bool = False
    """Whether the set is cut to the tokens of SHQ's samples, not to as many samples."""
    rl: bool = False
    """Whether reinforcement learning followed."""

    @property
    def parent(self) -> "Cell | None":
        """The model that it started from; None: from scratch."""
        if self.rl:
            return dataclasses.replace(self, rl=False)
        if self.sft:
            return Cell(self.seed, self.arm)
        return None

    @property
    def stage(self) -> str:
        """The last stage: `pretrain`, `sft` or `rl`."""
        return "rl" if self.rl else "sft" if self.sft else "pretrain"

    @property
    def name(self) -> str:
        """What its files are called."""
        parts = [self.arm]
        if self.sft:
            times = f"_x{self.times}" if self.times > 1 else ""
            parts.append(f"sft_{self.sft}{times}{'_tokens' if self.equal_tokens else ''}")
        return "-".join([*parts, *(["rl"] if self.rl else []), f"seed{self.seed}"])


SETS = ("shq", "ldq", "lmq", "alf", "alf_shq", "disjoint")
"""Sets of fine-tuning; `alf_shq` is the paper's D'_ALF, `disjoint` is like SHQ with other
problems."""
MAIN = ("none", "shq", "ldq", "lmq")


def cells_of_seed(seed: int) -> Iterator[Cell]:
    """Yields the cells of one seed, parents before children."""
    for arm in ARMS:
        yield Cell(seed, arm)
    for arm in MAIN:
        for name in ("shq", "ldq", "lmq", "disjoint"):
            yield Cell(seed, arm, name)
    for times in (2, 4):
        yield Cell(seed, "none", "shq", times=times)
    yield Cell(seed, "ldq", "ldq", times=2)
    for name in ("alf", "alf_shq"):
        yield Cell(seed, "ldq", name)
    for name in ("ldq", "alf"):
        yield Cell(seed, "ldq", name, equal_tokens=True)
    for arm in ("ldq_matched", "lmq10", "lmq40", "lmq_late"):
        yield Cell(seed, arm, "shq")
    for arm in ("none", "lmq"):
        yield Cell(seed, arm, "shq", rl=True)


def cells(seeds: Iterable[int]) -> list[Cell]:
    """Returns all cells of some seeds, seed by seed."""
    return [cell for seed in seeds for cell in cells_of_seed(seed)]


def with_parents(chosen: Iterable[Cell]) -> list[Cell]:
    """Returns cells and all they start from, parents first."""
    ordered: dict[Cell, None] = {}
    for cell in chosen:
        line = []
        current: Cell | None = cell
        while current is not None:
            line.append(current)
            current = current.parent
        ordered |= dict.fromkeys(reversed(line))
    return list(ordered)
