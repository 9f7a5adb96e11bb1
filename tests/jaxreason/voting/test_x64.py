"""Every rule and the diagnosis run where jax makes 64-bit arrays by default, with one outcome."""

CODE = """
import jax, jax.numpy as jnp, numpy as np
from jaxreason.voting.diagnostics import diagnose
from jaxreason.voting.methods import METHODS
from jaxreason.voting.simulation import copy_answers, simulate_difficulty

keys = jax.random.split(jax.random.key(0))
x, parents = jnp.linspace(0.4, 0.8, 5, dtype=jnp.float32), jnp.array([0, 0, 2, 3, 4])
answers, truth = simulate_difficulty(keys[0], x, 3, 300, spread=1.0)
answers = np.asarray(copy_answers(keys[1], answers, parents=parents, rho=0.9))
labels = np.where(np.arange(300) < 60, truth, -1)
outcomes = {}
for wide in (False, True):
    jax.config.update("jax_enable_x64", wide)
    kind = np.int64 if wide else np.int32
    given, known = jnp.asarray(answers, kind), jnp.asarray(labels, kind)
    for by_question in (False, True):
        options = jnp.full(300, 3, kind) if by_question else 3
        most = 3 if by_question else None
        for method in METHODS.values():
            truth = None if method.truth == "ignored" else known
            shape = {"num_options": options, "max_options": most}
            fitted = method.fit(given, **shape, truth=truth)
            votes = method.vote(fitted, given, **shape, ties="first", key=None)
            outcomes.setdefault((method.name, by_question), []).append(np.asarray(votes.answers))
    found = diagnose(given, 3, truth=known, key=jax.random.key(0), resamples=5)
    outcomes.setdefault("accuracies", []).append(np.asarray(found.accuracies))
for name, (narrow, wide) in outcomes.items():
    if name == "accuracies":
        np.testing.assert_allclose(narrow, wide, atol=1e-4)
    else:
        assert (narrow == wide).mean() > 0.99, name
print(len(outcomes))
"""


def test_64_bit_arrays_change_no_outcome(run_with_devices):
    assert run_with_devices(CODE, 1).strip() == "23"
