"""An estimator on tables of task, worker and label, as crowd-kit has them. Needs pandas."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from jaxreason.voting.methods import AUTO, find_method
from jaxreason.voting.result import Votes
from jaxreason.voting.table import Table, tabulate
from jaxreason.voting.table_labels import DataError, listed, quoted
from jaxreason.voting.table_rules import (
    choose_method,
    describe_answers,
    fit_table,
    option_probabilities,
    vote_on_table,
    worker_accuracies,
)
from jaxreason.voting.table_votes import DUPLICATES


class Aggregator:
    """Combines the labels of several workers into one a task.

    The interface is that of crowd-kit, see "Learning from Crowds with Crowd-Kit" by Ustalov,
    Pavlichenko and Tseitlin (https://arxiv.org/abs/2109.08584). Data may also be a wide table,
    see `table`, such as `data.pivot(index="task", columns="worker", values="label")`. What was
    fitted can be applied to other tasks of the same workers.

    Attributes:
        labels_: The answers by task, missing where nobody voted, or if answers are open-ended and
            the method takes none of those given to be right.
        probas_: The probabilities of all labels by task, see `methods.probabilities`; None if
            answers are open-ended.
        answers_: The answers with their `confidence`, `runner_up` and `tie`, by task.
        skills_: The workers' accuracies as the method estimates them, or how often each sides with
            its answers if it doesn't; missing for a worker without a vote.
        weights_: The weight of each worker's vote; None if the method is no weighted vote or the
            weights differ between tasks.
        method_: The name of the method that was fitted.
        parameters_: What the method fitted.
        notes_: What a reader of the outcome should know about the data, one sentence each.

    Example:
        >>> votes = pd.DataFrame(
        ...     [("t1", "ann", "cat"), ("t1", "ben", "dog"), ("t1", "eve", "dog")],
        ...     columns=["task", "worker", "label"],
        ... )
        >>> Aggregator("majority").fit_predict(votes).to_dict()
        {'t1': 'dog'}
    """

    labels_: pd.Series
    probas_: pd.DataFrame | None
    answers_: pd.DataFrame
    skills_: pd.Series
    weights_: pd.Series | None
    method_: str
    parameters_: object
    notes_: tuple[str, ...]

    def __init__(
        self,
        method: str = AUTO,
        *,
        ties: str = "first",
        seed: int = 0,
        open_ended: bool = False,
        duplicates: str = "error",
    ) -> None:
        """Chooses the method.

        Args:
            method: A name of `methods.METHODS`, or `"auto"`, the one that suits the votes, see
                `recommendation.recommended_method`.
            ties: `"first"`, the first label in sorted order, or `"random"`.
            seed: For `ties="random"` and the choice of `"auto"`, less than 2^32.
            open_ended: Labels mean something only within a task, see `table.tabulate`.
            duplicates: What to do where a worker gave one task different labels: `"error"`,
                `"first"` or `"last"`.

        Raises:
            ValueError: If there is no such method, or a setting is something else.
        """
        if duplicates not in DUPLICATES:
            raise ValueError(
                f"duplicates must be one of {listed(DUPLICATES)}; got {quoted(duplicates)}."
            )
        if ties not in ("first", "random"):
            raise ValueError(f"ties must be 'first' or 'random'; got {ties!r}.")
        if (
            not isinstance(seed, int | np.integer)
            or isinstance(seed, bool)
            or not 0 <= seed < 2**32
        ):
            raise ValueError(f"seed must be a whole number from 0 to 2^32 - 1; got {seed!r}.")
        if method != AUTO:
            find_method(method)
        self.method = method
        self.ties = ties
        self.seed = seed
        self.open_ended = open_ended
        self.duplicates = duplicates

    def __repr__(self) -> str:
        """Returns the call that makes it, less the settings that are as by default."""
        given = {
            name: getattr(self, name)
            for name, parameter in inspect.signature(Aggregator).parameters.items()
            if name == "method" or getattr(self, name) != parameter.default
        }
        return f"Aggregator({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def fit(
        self, data: pd.DataFrame, truth: pd.Series | Mapping[Any, Any] | None = None
    ) -> "Aggregator":
        """Fits the method.

        Args:
            data: A table with the columns `task`, `worker` and `label`, or a wide one.
            truth: The right labels of some tasks, a Series or dict by task, for methods that learn
                from them. Answers are the method's also for those.

        Returns:
            Itself.

        Raises:
            DataError: If the table can't be used, or the method needs the truth and there is none.
        """
        table = tabulate(data, truth, open_ended=self.open_ended, duplicates=self.duplicates)
        method = choose_method(self.method, table, seed=self.seed)
        self.parameters_ = fit_table(method, table)
        self.method_ = method.name
        votes = self._vote(table)
        self._fitted = table
        self.answers_ = describe_answers(table, votes)
        self.labels_ = self.answers_["answer"].rename("agg_label")
        self.probas_ = None if self.open_ended else _by_label(table, votes)
        rates = worker_accuracies(table, votes)
        self.skills_ = pd.Series(rates, index=table.workers, name="skill")
        by_worker = votes.weights is not None and votes.weights.ndim == 1
        self.weights_ = (
            pd.Series(np.asarray(votes.weights, float), index=table.workers, name="weight")
            if by_worker
            else None
        )
        self.notes_ = table.notes
        if truth is not None and method.truth == "ignored":
            self.notes_ += (f"The method {method.name} makes no use of the truth.",)
        return self

    def predict(self, data: pd.DataFrame) -> pd.Series:
        """Returns the answers to tasks, perhaps new ones, with what was fitted.

        Args:
            data: A table of votes by workers of the fit, or some of them.

        Returns:
            The answers by task.

        Raises:
            DataError: If nothing was fitted, the table can't be used, or it has a worker or label
                that the fit had not.
        """
        table = self._known_table(data)
        return describe_answers(table, self._vote(table))["answer"].rename("agg_label")

    def predict_proba(self, data: pd.DataFrame) -> pd.DataFrame:
        """Returns the probability of each label, tasks x labels, with what was fitted.

        Args:
            data: A table of votes by workers of the fit, or some of them.

        Returns:
            The probabilities, see `methods.probabilities`; 0 for options that a task has not.

        Raises:
            DataError: As `predict`, and if answers are open-ended.
        """
        self._check_closed()
        table = self._known_table(data)
        return _by_label(table, self._vote(table))

    def fit_predict(
        self, data: pd.DataFrame, truth: pd.Series | Mapping[Any, Any] | None = None
    ) -> pd.Series:
        """Fits the method and returns the answers by task; see `fit`."""
        return self.fit(data, truth).labels_

    def fit_predict_proba(
        self, data: pd.DataFrame, truth: pd.Series | Mapping[Any, Any] | None = None
    ) -> pd.DataFrame | None:
        """Fits the method and returns the probabilities; see `fit` and `predict_proba`."""
        self._check_closed()
        return self.fit(data, truth).probas_

    def _vote(self, table: Table) -> Votes:
        method = find_method(self.method_)
        return vote_on_table(method, self.parameters_, table, ties=self.ties, seed=self.seed)

    def _check_closed(self) -> None:
        if self.open_ended:
            raise DataError(
                "Open-ended answers have no labels in common that could be columns; take answers_, "
                "which holds the confidence in each answer."
            )

    def _known_table(self, data: pd.DataFrame) -> Table:
        """Reads a table, with the workers and labels of the fit."""
        if not hasattr(self, "_fitted"):
            raise DataError("Call fit before predict.")
        fitted = self._fitted
        table = tabulate(
            data,
            open_ended=self.open_ended,
            duplicates=self.duplicates,
            labels=None if self.open_ended else fitted.labels,
        )
        if isinstance(table.num_options, int) != isinstance(fitted.num_options, int):
            raise DataError("Either both tables, of fit and predict, have num_options, or neither.")
        if find_method(self.method_).same_options and table.max_options != fitted.max_options:
            raise DataError(
                f"The fit knows {fitted.max_options} options; a task now has {table.max_options}."
            )
        places = fitted.workers.get_indexer(table.workers)
        if (places < 0).any():
            raise DataError(
                f"Every worker must have been in the fit ({listed(fitted.workers)}); got "
                f"{listed(table.workers[places < 0])}."
            )
        answers = np.full((len(table.tasks), len(fitted.workers)), -1, np.int32)
        answers[:, places] = table.answers
        return dataclasses.replace(table, answers=answers, workers=fitted.workers)


def _by_label(table: Table, votes: Votes) -> pd.DataFrame:
    shares = option_probabilities(table, votes)[:, : len(table.labels)]
    return pd.DataFrame(shares, index=table.tasks, columns=table.labels)
