"""Abstractions to compare a generator's with: another problem's, a generic one, the right one."""

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxreason.checks import check_shape, check_that
from jaxreason.sequences import Sequence, compact
from jaxreason.tasks import Task

CONTROLS = ("partner", "shuffled", "generic", "oracle", "none")


def control_abstractions(
    task: Task, control: str, problems: PyTree, written: Sequence
) -> tuple[Sequence, bool]:
    """Replaces a generator's abstractions by those of a control.

    What a useless abstraction achieves tells how much of a gain is owed to a hint being there at
    all. Controls, out of `CONTROLS`:

    - `partner`: what the generator wrote;
    - `shuffled`: what it wrote for the problem before, so that the texts are the same ones;
    - `generic`: the abstraction that it wrote most often over all problems, for every problem;
    - `oracle`: a right abstraction;
    - `none`: the abstraction is withheld.

    Args:
        task: The family of problems.
        control: The control's name; static.
        problems: Problems with one batch axis, two or more.
        written: What the generator wrote, `[problem, abstraction]`.

    Returns:
        Abstractions `[problem, abstraction]`, and whether they are to be withheld.

    Raises:
        ValueError: If the control is unknown, there is one problem only, or the task states no
            right abstraction for `oracle`.

    Example:
        >>> from jaxreason.tasks import RuleInductionConfig, make_rule_induction
        >>> task = make_rule_induction(RuleInductionConfig())
        >>> tokens = jnp.array([[[1, 2]], [[3, 4]], [[3, 4]]])
        >>> written = Sequence(tokens, tokens > 0)
        >>> control_abstractions(task, "shuffled", None, written)[0].tokens[:, 0].tolist()
        [[3, 4], [1, 2], [3, 4]]
        >>> control_abstractions(task, "generic", None, written)[0].tokens[:, 0].tolist()
        [[3, 4], [3, 4], [3, 4]]
    """
    check_that(control in CONTROLS, f"control must be in {CONTROLS}; got {control!r}.")
    problem_count, slots, _ = check_shape(
        "written", written.tokens, ("problem", "abstraction", "time")
    )
    check_that(problem_count > 1, "a shuffled abstraction needs two problems or more; got 1.")
    if control == "shuffled":
        return jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), written), False
    if control == "generic":
        return _commonest(written), False
    if control == "oracle":
        right = jax.vmap(task.asked("abstraction"))(problems)
        return jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], slots, axis=1), right), False
    return written, control == "none"


def _commonest(written: Sequence) -> Sequence:
    """Returns, everywhere, the text that occurs most often; the first of equals."""
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), written)
    texts = jax.vmap(compact)(flat)
    same = (texts.tokens[:, None] == texts.tokens) & (texts.mask[:, None] == texts.mask)
    chosen = jnp.argmax(same.all(-1).sum(-1))
    take = lambda rows, like: jnp.broadcast_to(rows[chosen], like.shape)  # noqa: E731
    return jax.tree.map(take, texts, written)
