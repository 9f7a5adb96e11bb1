"""Offline losses against golden values, a NumPy reference and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.policy_gradient import (
    Preferred,
    best_and_worst,
    preference,
    rejection_fine_tuning,
)


@pytest.fixture
def sides():
    """Four pairs of sequences, padded to five and to seven; the last pair has an empty winner."""
    rng = np.random.default_rng(0)
    found = []
    for time in (5, 7):
        mask = rng.random((4, time)) < 0.7
        mask[:, 0] = True
        log_probs, ref = rng.normal(-1.5, 0.5, (2, 4, time))
        found.append([log_probs, ref, mask])
    found[0][2][3] = False
    return found


def as_preferred(side):
    log_probs, ref, mask = side
    return Preferred(
        jnp.array(log_probs, jnp.float32), jnp.array(ref, jnp.float32), jnp.array(mask)
    )


def reference(winner, loser, beta, coef):
    total = 0.0
    for pair in range(3):
        margins = [
            sum((lp - ref)[m]) for lp, ref, m in ((w[pair] for w in s) for s in (winner, loser))
        ]
        valid = winner[2][pair]
        likelihood = winner[0][pair][valid].mean()
        total += np.log1p(np.exp(-beta * (margins[0] - margins[1]))) - coef * likelihood
    return total


@pytest.mark.parametrize(("beta", "coef"), [(0.1, 0.0), (0.5, 1.0)])
def test_preference_matches_the_reference_and_its_finite_differences(sides, beta, coef):
    winner, loser = sides

    def loss(log_probs, other):
        chosen = [as_preferred([log_probs, *winner[1:]]), as_preferred([other, *loser[1:]])]
        return preference(*chosen, beta=beta, likelihood_coef=coef)[0]

    found = loss(winner[0], loser[0])
    np.testing.assert_allclose(found.sum, reference(winner, loser, beta, coef), rtol=1e-5)
    assert found.weight == 3
    arrays = [jnp.array(side[0], jnp.float32) for side in sides]
    gradients = jax.grad(lambda *arrays: loss(*arrays).sum, argnums=(0, 1))(*arrays)
    for side, gradient in enumerate(gradients):
        for index in np.ndindex(gradient.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [[array.copy() for array in some] for some in sides]
                moved[side][0][index] += step
                ends.append(reference(*moved, beta, coef))
            np.testing.assert_allclose(gradient[index], (ends[0] - ends[1]) / 2e-6, atol=1e-4)


def test_preference_golden_values():
    """Margins 1 and -1 with beta 1/2: -log sigmoid(1) = 0.313262."""
    mask = jnp.array([[True]])
    sides = [Preferred(jnp.array([[value]]), jnp.array([[0.0]]), mask) for value in (1.0, -1.0)]
    loss, metrics = preference(*sides, beta=0.5)
    np.testing.assert_allclose(loss.mean(), 0.313262, atol=1e-6)
    assert metrics["accuracy"].mean() == 1 and metrics["margin"].mean() == 2
    loss, metrics = preference(*sides[::-1], beta=0.5)
    np.testing.assert_allclose(loss.mean(), 1.313262, atol=1e-6)
    assert metrics["accuracy"].mean() == 0


def test_garbage_and_padding_change_nothing(sides):
    clean = preference(*map(as_preferred, sides), likelihood_coef=1.0)[0]
    dirty = []
    for log_probs, ref, mask in sides:
        spoilt = [np.where(mask, array, np.nan) for array in (log_probs, ref)]
        dirty.append(as_preferred([*spoilt, mask]))
    assert preference(*dirty, likelihood_coef=1.0)[0] == clean

    def total(log_probs):
        spoilt = dirty[0]._replace(log_probs=log_probs)
        return preference(spoilt, dirty[1], likelihood_coef=1.0)[0].sum

    gradient = jax.grad(total)(dirty[0].log_probs)
    assert jnp.isfinite(gradient).all() and (gradient[~dirty[0].mask] == 0).all()


def test_pairs_can_be_split(sides):
    whole = preference(*map(as_preferred, sides))[0]
    parts = [
        preference(*(as_preferred([array[rows] for array in side]) for side in sides))[0]
        for rows in (slice(0, 1), slice(1, 4))
    ]
    np.testing.assert_allclose(parts[0].sum + parts[1].sum, whole.sum, rtol=1e-6)
    assert parts[0].weight + parts[1].weight == whole.weight


def test_no_pair_gives_zero():
    nothing = Preferred(jnp.zeros((2, 3)), jnp.zeros((2, 3)), jnp.zeros((2, 3), bool))
    loss, _ = preference(nothing, nothing)
    assert loss == (0, 0) and loss.mean() == 0


def test_only_what_is_kept_is_learned():
    log_probs = jnp.array([[-1.0, -2.0], [-3.0, jnp.nan], [-5.0, -6.0]])
    mask = jnp.array([[True, True], [True, False], [True, True]])
    kept = jnp.array([True, True, False])

    def loss(log_probs, mode="token"):
        return rejection_fine_tuning(log_probs, kept, mask, aggregation=mode)

    assert loss(log_probs) == (6.0, 3.0)
    assert loss(log_probs, "sequence") == (1.5 + 3.0, 2.0)
    gradient = jax.grad(lambda log_probs: loss(log_probs).sum)(log_probs)
    assert gradient.tolist() == [[-1, -1], [-1, 0], [0, 0]]
    nothing = rejection_fine_tuning(log_probs, jnp.zeros(3, bool), mask)
    assert nothing == (0, 0) and nothing.mean() == 0


def test_best_and_worst():
    rewards = jnp.array([[0.5, 1.0, 0.0, 1.0], [0.2, 0.2, 0.2, 0.2], [0.1, 0.9, 0.3, 0.4]])
    best, worst, differ = best_and_worst(rewards)
    assert best.tolist() == [1, 0, 1] and worst.tolist() == [2, 0, 0]
    assert differ.tolist() == [True, False, True]
    where = jnp.array([[True] * 4, [True] * 4, [True, False, True, False]])
    best, worst, differ = best_and_worst(rewards, where=where)
    assert (best[2], worst[2], differ[2]) == (2, 0, True)
    _, _, differ = best_and_worst(rewards, where=jnp.zeros((3, 4), bool))
    assert not differ.any()


def test_wrong_arguments_are_named(sides):
    winner, loser = map(as_preferred, sides)
    with pytest.raises(ValueError, match="beta must be positive; got 0"):
        preference(winner, loser, beta=0.0)
    with pytest.raises((ValueError, TypeError), match="loser"):
        preference(winner, Preferred(*(array[:2] for array in loser)))
    with pytest.raises((ValueError, TypeError), match="kept"):
        rejection_fine_tuning(winner.log_probs, jnp.ones(3, bool), winner.mask)
