import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.sequences import Sequence, compact, concatenate, constant_sequence

ROWS = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=4, max_size=4)

compacted = jax.jit(compact)


@given(ROWS)
def test_compact_keeps_what_counts_in_its_order(row):
    tokens, mask = (jnp.array(column) for column in zip(*row, strict=True))
    result = compacted(Sequence(tokens, mask))
    valid = [token for token, counts in row if counts]
    assert result.tokens.tolist() == valid + [0] * (4 - len(valid))
    assert result.mask.tolist() == [True] * len(valid) + [False] * (4 - len(valid))


def test_concatenate_broadcasts_and_keeps_padding():
    rows = Sequence(jnp.array([[1, 2], [3, 4]]), jnp.array([[True, False], [False, True]]))
    joined = concatenate([constant_sequence(9), rows])
    assert joined.tokens.tolist() == [[9, 1, 2], [9, 3, 4]]
    assert joined.mask.tolist() == [[True, True, False], [True, False, True]]
    assert joined.length.tolist() == [2, 2]


def test_sequences_are_pytrees():
    doubled = jax.vmap(lambda one: concatenate([one, one]))(
        Sequence(jnp.arange(6).reshape(3, 2), jnp.ones((3, 2), bool))
    )
    np.testing.assert_array_equal(doubled.tokens, [[0, 1, 0, 1], [2, 3, 2, 3], [4, 5, 4, 5]])
