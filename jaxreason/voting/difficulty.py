"""Whether questions are equally hard: do disjoint pairs of agents agree on the same questions?"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.voting.ballots import cast_ballots

MIN_PRODUCT = 1e-3
"""Below this mean of r_ij r_kl, agents hardly agree and difficulty can't be told."""


class PairProducts(NamedTuple):
    """Sums over questions and disjoint pairs of agents {i, j}, {k, l} that answered.

    Attributes:
        observed: Of z_ij z_kl, where z = (K 1{a_i = a_j} - 1) / (K - 1).
        expected: Of r_ij r_kl, what z_ij z_kl is on average if questions are equally hard.
        number: Of 1.
    """

    observed: Float[Array, ""]
    expected: Float[Array, ""]
    number: Float[Array, ""]


def sum_pair_products(
    answers: Int[Array, "question agent"],
    exists: Bool[Array, "question option"],
    rates: Float[Array, "agent agent"],
) -> PairProducts:
    """Sums what `varying_difficulty` compares.

    Args:
        answers: Option indices; one that does not exist counts as an abstention.
        exists: Which options exist.
        rates: Agreement r_ij, see `pairwise_agreement`.

    Returns:
        The sums.

    Example:
        >>> answers = jnp.array([[0, 0, 0, 0], [0, 0, 1, 1]])  # K = 2: z = 1, and -1 across
        >>> sums = sum_pair_products(answers, jnp.ones((2, 2), bool), jnp.full((4, 4), 0.5))
        >>> print(*[float(total) for total in sums])  # on the second question 1 + 1 + 1 again
        6.0 1.5 6.0
    """
    ballots = cast_ballots(answers, exists)
    answered = jnp.sum(ballots, axis=-1)
    options = jnp.maximum(jnp.sum(exists, axis=1, dtype=rates.dtype), 2.0)
    wrong = (1.0 / (options - 1.0))[:, None]
    # Each option's voters agree with each other, and disagree with the other voters.
    counts = jnp.sum(ballots, axis=1)
    voters = jnp.sum(counts, axis=1, keepdims=True)
    agree, disagree = counts - 1.0, voters - counts
    rows, squares = agree - wrong * disagree, agree + jnp.square(wrong) * disagree
    observed = _disjoint(counts, rows, squares)

    rates = rates * (1.0 - jnp.eye(rates.shape[0], dtype=rates.dtype))
    rows = jnp.einsum("qj,ij->qi", answered, rates, precision="highest")
    squares = jnp.einsum("qj,ij->qi", answered, jnp.square(rates), precision="highest")
    expected = _disjoint(answered, rows, squares)
    number = voters * (voters - 1.0) * (voters - 2.0) * (voters - 3.0) / 8.0
    return PairProducts(jnp.sum(observed), jnp.sum(expected), jnp.sum(number))


def varying_difficulty(sums: PairProducts) -> Float[Array, ""]:
    """Computes by what share disjoint pairs agree together more often than they would by chance.

    Given the truth, two pairs without a common agent agree independently of each other if agents
    err independently and all questions are equally hard, so that E[z_ij z_kl] = r_ij r_kl. If
    skills vary with the question, the products exceed that. The result, observed / expected - 1, is
    then the squared coefficient of variation of t_i t_j over questions: 0 for equally hard
    questions. Dependence between agents raises it too.

    See "Some Latent Trait Models and Their Use in Inferring an Examinee's Ability" by Birnbaum
    (1968), for skills that vary with the question.

    Args:
        sums: See `sum_pair_products`.

    Returns:
        The share; nan if agents hardly agree (`MIN_PRODUCT`), or never four answer a question.

    Example:
        >>> float(varying_difficulty(PairProducts(jnp.array(6.0), jnp.array(1.5), jnp.array(6.0))))
        3.0
    """
    usable = sums.expected > MIN_PRODUCT * sums.number
    return jnp.where(usable, sums.observed / jnp.where(usable, sums.expected, 1.0) - 1.0, jnp.nan)


def _disjoint(
    members: Float[Array, "question group"],
    rows: Float[Array, "question group"],
    squares: Float[Array, "question group"],
) -> Float[Array, " question"]:
    """Sums v_ij v_kl over disjoint pairs, given each agent's sums of v_ij and v_ij^2 over j.

    Of all products of two pairs, those of a pair with itself and of two that share an agent are
    taken away. A group is of agents with the same sums, and `members` says how many.
    """
    total = 0.5 * jnp.sum(members * rows, axis=1)
    own = 0.5 * jnp.sum(members * squares, axis=1)
    shared = jnp.sum(members * (jnp.square(rows) - squares), axis=1)
    return 0.5 * (jnp.square(total) - own - shared)
