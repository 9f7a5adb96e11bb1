import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.colors import to_hex

from jaxreason.voting.diagnostics import diagnose
from jaxreason.voting.plot import plot_workers
from jaxreason.voting.simulation import simulate_clones

ACCURACIES = jnp.array([0.6, 0.6, 0.8, 0.9, 0.7])
NAMES = ("ann", "ben", "cat", "dan", "a worker of a name that is too long to be shown")


@pytest.fixture(scope="module")
def diagnosis():
    """Of five agents, the second a copy of the first; a tenth of the questions is labelled."""
    parents = jnp.array([0, 0, 2, 3, 4])
    answers, truth = simulate_clones(
        jax.random.key(0), ACCURACIES, 4, 500, parents=parents, rho=0.9
    )
    known = jnp.where(jnp.arange(500) < 50, truth, -1)
    return diagnose(answers, 4, truth=known, key=jax.random.key(1), resamples=20)


def texts(ticks):
    return [text.get_text() for text in ticks]


def test_workers_stand_in_one_order_the_most_accurate_first(diagnosis):
    agreement, excess, accuracy, weight, *_ = plot_workers(
        NAMES, diagnosis, weights=np.arange(5.0)
    ).axes
    order = np.argsort(-np.asarray(diagnosis.accuracies))
    assert order[0] == 3
    shown = [f"{(*NAMES[:4], 'a worker of a name that…')[n]}" for n in order]
    assert [text[:-3] for text in texts(agreement.get_yticklabels())] == shown
    assert texts(accuracy.get_yticklabels()) == texts(agreement.get_yticklabels())
    assert texts(agreement.get_xticklabels()) == texts(excess.get_yticklabels()) == list("12345")
    drawn = agreement.images[0].get_array()
    np.testing.assert_allclose(drawn[0, 1], diagnosis.agreement[order[0], order[1]])
    np.testing.assert_allclose([bar.get_width() for bar in weight.patches], order)


def test_the_rules_own_accuracies_take_the_place_of_those_from_agreement(diagnosis):
    own = np.array([0.2, 0.9, np.nan, 0.4, 0.3])
    _, _, accuracy, *_ = plot_workers(NAMES, diagnosis, accuracies=own).axes
    assert [text[:3] for text in texts(accuracy.get_yticklabels())[:4]] == [
        *("ben", "dan", "a w", "ann")
    ]
    estimated, _, _ = accuracy.collections  # the others are those on labels, without and with ends
    np.testing.assert_allclose(estimated.get_offsets()[:4, 0], [0.9, 0.4, 0.3, 0.2])
    assert texts(accuracy.get_legend().get_texts())[0] == "estimated by the rule"


def test_many_workers_have_some_of_their_numbers_and_strangers_a_blank():
    answers = np.random.default_rng(0).integers(3, size=(30, 90))
    answers[:15, 0], answers[15:, 1] = -1, -1  # these two never meet
    found = diagnose(jnp.array(answers), 3, key=jax.random.key(0), resamples=2)
    agreement, *_ = plot_workers([f"${n}$" for n in range(90)], found).axes
    ticks = texts(agreement.get_yticklabels())
    assert len(ticks) == 30 and ticks[1].endswith("  4")
    blanks = np.ma.getmaskarray(np.ma.masked_invalid(agreement.images[0].get_array()))
    assert blanks.sum() == 90 + 2
    assert to_hex(agreement.get_facecolor()) == "#e4e7eb"


def test_clones_are_framed_and_the_diagonal_is_blank(diagnosis):
    _, excess, *_ = plot_workers(NAMES, diagnosis).axes
    order = list(np.argsort(-np.asarray(diagnosis.accuracies)))
    first, second = order.index(0), order.index(1)
    corners = {(box.get_x() + 0.5, box.get_y() + 0.5) for box in excess.patches}
    assert corners == {(first, second), (second, first)}
    assert np.ma.getmaskarray(np.ma.masked_invalid(excess.images[0].get_array())).diagonal().all()
    assert len(excess.texts) == 20  # every number off the diagonal


def test_without_weights_their_panel_is_not_shown(diagnosis):
    assert not plot_workers(NAMES, diagnosis).axes[3].get_visible()


def test_a_legend_tells_whose_the_accuracies_are(diagnosis):
    def legend(diagnosis, **settings):
        return texts(plot_workers(NAMES, diagnosis, **settings).axes[2].get_legend().get_texts())

    assert legend(diagnosis) == ["estimated from agreement", "on labelled tasks"]
    blind = dataclasses.replace(diagnosis, labelled_accuracies=jnp.full(5, jnp.nan))
    assert legend(blind) == ["estimated from agreement"]
    assert legend(blind, accuracies=np.full(5, 0.5)) == ["estimated by the rule"]


def test_without_an_estimate_there_is_no_legend(diagnosis):
    blind = dataclasses.replace(diagnosis, labelled_accuracies=jnp.full(5, jnp.nan))
    axes = plot_workers(NAMES, blind, accuracies=np.full(5, np.nan)).axes[2]
    assert axes.get_legend() is None


def test_long_numbers_stand_upright():
    answers = np.random.default_rng(0).integers(3, size=(6, 100))
    found = diagnose(jnp.array(answers), 3, key=jax.random.key(0), resamples=2)
    axes, *_ = plot_workers(range(100), found).axes
    assert {tick.get_rotation() for tick in axes.get_xticklabels()} == {90.0}
