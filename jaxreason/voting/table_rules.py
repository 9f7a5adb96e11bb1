"""The methods applied to tables of votes. Needs pandas."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxreason.voting.diagnostics import Diagnosis, diagnose
from jaxreason.voting.methods import AUTO, Method, compiled, find_method, probabilities
from jaxreason.voting.recommendation import recommended_method
from jaxreason.voting.result import Votes
from jaxreason.voting.table import Table
from jaxreason.voting.table_labels import DataError
from jaxreason.voting.ties import best_options

_diagnose = compiled(diagnose)


def choose_method(
    name: str, table: Table, diagnosis: Diagnosis | None = None, *, seed: int = 0
) -> Method:
    """Returns the method of a name, and for "auto" the one that suits the votes.

    Args:
        name: One of `methods.METHODS`, or "auto".
        table: The votes.
        diagnosis: What `diagnose_table` finds; by default it is asked, if need be.
        seed: Of the bootstrap.

    Returns:
        The method, see `recommendation.recommended_method`.

    Raises:
        ValueError: If there is no such method.

    Example:
        >>> from jaxreason.voting.table import tabulate
        >>> votes = pd.DataFrame({"task": [1, 2], "ann": ["a", "b"], "ben": ["a", "a"]})
        >>> choose_method("isp", tabulate(votes)).name
        'isp'
    """
    if name != AUTO:
        return find_method(name)
    found = diagnose_table(table, seed=seed) if diagnosis is None else diagnosis
    return find_method(recommended_method(found))


def fit_table(method: Method, table: Table, truth: np.ndarray | None = None) -> Any:
    """Fits a method to a table.

    Args:
        method: One of `methods.METHODS`.
        table: The votes.
        truth: The right option of each task, -1 where the method must not know it; by default
            what the table holds.

    Returns:
        The parameters.

    Raises:
        DataError: If the method needs the truth and there is none, or needs labels that mean the
            same in every task and they don't.

    Example:
        >>> from jaxreason.voting.methods import METHODS
        >>> from jaxreason.voting.table import tabulate
        >>> votes = pd.DataFrame({"task": [1, 2], "ann": ["a", "b"], "ben": ["a", "a"]})
        >>> fit_table(METHODS["wawa"], tabulate(votes)).tolist()
        [0.75, 0.75]
    """
    truth = table.truth if truth is None else truth
    check_suits(method, table, truth)
    reads_truth = bool((truth >= 0).any()) and method.truth != "ignored"
    return method.fit(
        jnp.asarray(table.answers),
        num_options=_num_options(table),
        max_options=table.max_options,
        truth=jnp.asarray(truth) if reads_truth else None,
    )


def check_suits(method: Method, table: Table, truth: np.ndarray) -> None:
    """Checks that a method can be fitted to a table.

    Args:
        method: One of `methods.METHODS`.
        table: The votes.
        truth: The right option of each task, -1 where the method must not know it.

    Raises:
        DataError: If the method needs the truth and there is none, or needs labels that mean the
            same in every task and they don't.

    Example:
        >>> from jaxreason.voting.table import tabulate
        >>> table = tabulate(pd.DataFrame({"task": [1, 2], "ann": ["a", "b"], "ben": ["a", "a"]}))
        >>> check_suits(find_method("wawa"), table, table.truth)
    """
    if method.same_options and table.meanings is not None:
        raise DataError(
            f"The method {method.name} needs labels that mean the same in every task; open-ended "
            "answers don't. Take another one."
        )
    if method.truth == "required" and not (truth >= 0).any():
        raise DataError(
            f"The method {method.name} estimates accuracies from labelled tasks; give the truth of "
            "some, or take a method that needs none."
        )


def vote_on_table(
    method: Method, parameters: Any, table: Table, *, ties: str = "split", seed: int = 0
) -> Votes:
    """Votes on every task of a table.

    Args:
        method: One of `methods.METHODS`.
        parameters: What `fit_table` returned.
        table: The votes, with the workers of the fit in the same order.
        ties: `"split"`, `"random"` or `"first"`.
        seed: For `ties="random"`.

    Returns:
        The outcome.

    Example:
        >>> from jaxreason.voting.methods import METHODS
        >>> from jaxreason.voting.table import tabulate
        >>> votes = pd.DataFrame({"task": [1, 2], "ann": ["a", "b"], "ben": ["a", "b"]})
        >>> vote_on_table(METHODS["majority"], None, tabulate(votes)).answers.tolist()
        [0, 1]
    """
    return method.vote(
        parameters,
        jnp.asarray(table.answers),
        num_options=_num_options(table),
        max_options=table.max_options,
        ties=ties,
        key=jax.random.key(seed) if ties == "random" else None,
    )


def option_probabilities(table: Table, votes: Votes) -> np.ndarray:
    """Returns how probable each option is, see `methods.probabilities`.

    Args:
        table: The votes.
        votes: What `vote_on_table` returned for them.

    Returns:
        The probabilities, `[question, option]`.

    Example:
        >>> from jaxreason.voting.methods import METHODS
        >>> from jaxreason.voting.table import tabulate
        >>> table = tabulate(pd.DataFrame({"task": [1], "a": ["x"], "b": ["x"], "c": ["y"]}))
        >>> votes = vote_on_table(METHODS["majority"], None, table)
        >>> option_probabilities(table, votes).round(2).tolist()
        [[0.67..., 0.33...]]
    """
    answers = jnp.asarray(table.answers)
    shares = probabilities(votes, answers, _num_options(table), max_options=table.max_options)
    return np.asarray(shares)


def describe_answers(table: Table, votes: Votes) -> pd.DataFrame:
    """Puts the outcome in words.

    Args:
        table: The votes.
        votes: What `vote_on_table` returned for them.

    Returns:
        One row a task: `answer`, its `confidence` (see `methods.probabilities`), the `runner_up`
        (the most probable other option, missing if it is impossible), and whether there was a
        `tie`. All but `tie` are missing for a task without any vote.

    Example:
        >>> from jaxreason.voting.methods import METHODS
        >>> from jaxreason.voting.table import tabulate
        >>> table = tabulate(pd.DataFrame({"task": [1], "ann": ["a"], "ben": ["b"]}))
        >>> votes = vote_on_table(METHODS["majority"], None, table, ties="first")
        >>> describe_answers(table, votes).loc[1].to_dict()
        {'answer': 'a', 'confidence': 0.5, 'runner_up': 'b', 'tie': True}
    """
    chosen = np.asarray(votes.answers)
    shares = option_probabilities(table, votes).copy()
    rows = np.arange(len(chosen))
    voted = chosen >= 0
    confidence = np.where(voted, shares[rows, np.maximum(chosen, 0)], np.nan)
    shares[rows, np.maximum(chosen, 0)] = -1.0
    second = np.where(voted & (shares.max(axis=1) > 0), shares.argmax(axis=1), -1)
    tied = np.asarray(best_options(votes.scores)).sum(axis=1) > 1
    return pd.DataFrame(
        {
            "answer": table.name_options(chosen),
            "confidence": confidence.astype(float),
            "runner_up": table.name_options(second),
            "tie": tied & voted,
        },
        index=table.tasks,
    )


def worker_accuracies(table: Table, votes: Votes) -> np.ndarray:
    """Returns the accuracies that a rule estimated, or how often each worker sides with it.

    Args:
        table: The votes.
        votes: What `vote_on_table` returned for them.

    Returns:
        One number a worker, nan for one without a vote.

    Example:
        >>> from jaxreason.voting.methods import METHODS
        >>> from jaxreason.voting.table import tabulate
        >>> data = pd.DataFrame({"task": [1, 2], "a": ["x", "y"], "b": ["x", "y"], "c": ["x", "x"]})
        >>> table = tabulate(data)
        >>> worker_accuracies(table, vote_on_table(METHODS["majority"], None, table)).tolist()
        [1.0, 1.0, 0.5]
    """
    voted = table.answers >= 0
    counts = voted.sum(axis=0)
    if votes.accuracies is not None:
        rates = np.asarray(votes.accuracies, float)
    else:
        same = voted & (table.answers == np.asarray(votes.answers)[:, None])
        rates = same.sum(axis=0) / np.maximum(counts, 1)
    return np.where(counts > 0, rates, np.nan)


def diagnose_table(table: Table, *, seed: int = 0) -> Diagnosis:
    """Diagnoses a table.

    Args:
        table: The votes.
        seed: Of the bootstrap.

    Returns:
        What `diagnostics.diagnose` finds.

    Example:
        >>> from jaxreason.voting.table import tabulate
        >>> table = tabulate(pd.DataFrame({"task": [1, 2], "ann": ["a", "b"], "ben": ["a", "a"]}))
        >>> diagnose_table(table).votes.tolist()
        [2.0, 2.0]
    """
    return _diagnose(
        jnp.asarray(table.answers),
        num_options=_num_options(table),
        max_options=table.max_options,
        truth=jnp.asarray(table.truth) if (table.truth >= 0).any() else None,
        key=jax.random.key(seed),
    )


def _num_options(table: Table) -> int | jax.Array:
    return (
        table.num_options if isinstance(table.num_options, int) else jnp.asarray(table.num_options)
    )
