"""Which settings a run on text may go on with though they are others than it began with."""

from pathlib import Path

from train.text.config import RL_STAGE, SFT_ABSTRACTION_STAGE, SFT_STAGE

ALWAYS = ("evaluation.", "loop.", "rl.workers", "rl.time_limit", "rl.samples_every")
"""Names, or what names begin with, that no trained number depends on."""
STAGES = {"sft.": (SFT_ABSTRACTION_STAGE, SFT_STAGE), "rl.": (RL_STAGE,)}
"""What depends on a part of the settings."""
TEST_QUESTIONS = "evaluation.questions"
"""A family's training questions are those drawn after its test questions."""


def may_change(path: Path, name: str) -> bool:
    """Tells whether a run may go on with another value of a setting.

    Settings of a stage may change until it begins, so that one which does not fit into memory, say,
    costs none of the stages before it.

    Args:
        path: The run folder.
        name: The dotted name of the setting.

    Example:
        >>> may_change(Path("nowhere"), "rl.steps"), may_change(Path("nowhere"), "seed")
        (True, False)
    """
    begun = {
        prefix: any((path / "checkpoints" / stage).exists() for stage in stages)
        for prefix, stages in STAGES.items()
    }
    if name == TEST_QUESTIONS:
        return not any(begun.values())
    return name.startswith(ALWAYS) or any(
        name.startswith(prefix) and not has_begun for prefix, has_begun in begun.items()
    )
