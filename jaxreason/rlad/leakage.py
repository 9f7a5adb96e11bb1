"""Does an abstraction give the answer away? By its text, and by what the base model makes of it."""

import re

import jax
from jaxtyping import Array, Bool, Key, PyTree

from jaxreason.checks import check_shape, check_that
from jaxreason.model import ModelConfig, Params
from jaxreason.rlad.play import write_solutions
from jaxreason.rollout import Sampling
from jaxreason.sequences import Sequence
from jaxreason.tasks import Task


def find_leaks(
    task: Task,
    model: ModelConfig,
    params: Params,
    problems: PyTree,
    abstractions: Sequence,
    keys: Key[Array, "problem"],
    *,
    samples: int,
    sampling: Sampling = Sampling(),
) -> Bool[Array, "problem abstraction"]:
    """Finds abstractions from which the base model reaches the answer with the problem withheld.

    An abstraction passes if none of the samples is right, the paper's rule for its seed data.
    Where answers can be guessed, some pass for leaks: one in n answers is hit by n samples in two
    thirds of the cases.

    See "RLAD: Training LLMs to Discover Abstractions for Solving Reasoning Problems" by Qu et al.
    (https://arxiv.org/abs/2510.02263).

    Args:
        task: The family of problems.
        model: The base model's shape.
        params: Its parameters.
        problems: Problems with one batch axis.
        abstractions: Abstractions `[problem, abstraction]`.
        keys: One key for each problem.
        samples: Solutions sampled from each abstraction alone; static.
        sampling: The distribution to draw from; static.

    Returns:
        Which abstractions leak.

    Raises:
        ValueError: If shapes disagree, no sample is asked for, or the task has no reward.

    Example:
        >>> from jaxreason.model import init
        >>> from jaxreason.tasks import RuleInductionConfig, make_rule_induction
        >>> task, config = make_rule_induction(RuleInductionConfig()), ModelConfig()
        >>> def run(key):
        ...     keys, params = jax.random.split(key, 3), init(config, key)
        ...     problems = jax.vmap(lambda key: task.sample(key, "train"))(keys)
        ...     right = jax.vmap(task.abstraction)(problems)
        ...     abstractions = jax.tree.map(lambda leaf: leaf[:, None], right)
        ...     return find_leaks(task, config, params, problems, abstractions, keys, samples=4)
        >>> jax.eval_shape(run, jax.random.key(0)).shape
        (3, 1)
    """
    check_that(samples >= 1, f"samples must be 1 or more; got {samples}.")
    task.asked("reward")
    (count,) = check_shape("keys", keys, ("problem",))
    check_shape("abstractions", abstractions.tokens, (count, "abstraction", "time"))
    prompts = jax.vmap(jax.vmap(task.withheld_prompt))(abstractions)
    _, _, rewards = write_solutions(
        task, model, params, problems, prompts, keys, solutions=samples, sampling=sampling
    )
    return (rewards > 0).any(-1)


def spells_answer(abstraction: str, answer: str, *, shortest: int = 3) -> bool:
    """Tells whether a text gives an answer away, by its characters.

    Spaces are taken out of the answer. A very short answer occurs anywhere and is never found; one
    of letters and digits must stand as a word of its own; any other must
    occur in the text without its spaces.

    Args:
        abstraction: The text.
        answer: The reference answer.
        shortest: Characters of the shortest answer that is looked for.

    Example:
        >>> spells_answer("Reduce modulo 4 first.", "42"), spells_answer("It gives 2025.", "2025")
        (False, True)
        >>> spells_answer("Look at 1000 cases.", "100")
        False
    """
    answer = "".join(answer.split())
    if len(answer) < max(shortest, 1):
        return False
    if answer.isalnum():
        return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", abstraction) is not None
    return answer in "".join(abstraction.split())
