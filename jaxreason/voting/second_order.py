"""Second order: how the agents' answers go together, without knowing who is right."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.checks import check_shape
from jaxreason.voting.agreement import Agreement, pairwise_agreement
from jaxreason.voting.ballots import NumOptions, cast_ballots, check_answers, count_votes, is_vote
from jaxreason.voting.blocks import map_blocks, questions_per_block, sum_blocks
from jaxreason.voting.result import Votes, decide


def pairwise_conditionals(
    answers: Int[Array, "question agent"], num_options: int
) -> Float[Array, "agent option agent option"]:
    """Estimates P(A_i = s | A_j = a) at `[i, s, j, a]` by counting, without any labels.

    Only questions that both agents answered count. Where there is none with A_j = a, the estimate
    is uniform, 1 / K.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Section 4.3.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options K of every question.

    Returns:
        The conditionals, which sum to 1 over `s`.

    Raises:
        ValueError: If the shape of `answers` or `num_options` is wrong.

    Example:
        >>> conditionals = pairwise_conditionals(jnp.array([[0, 0], [1, 0], [1, 1]]), 2)
        >>> conditionals[0, :, 1, 0].tolist()  # agent 1 said 0 twice; agent 0 said 0 once
        [0.5, 0.5]
    """
    exists = check_answers(answers, num_options, None)

    def count(answers: Array, exists: Array) -> Array:
        ballots = cast_ballots(answers, exists)
        return jnp.einsum("qis,qja->isja", ballots, ballots, precision="highest")

    block = questions_per_block(answers.shape[1], num_options)
    pairs = sum_blocks(count, answers, exists, block=block)
    totals = jnp.sum(pairs, axis=1, keepdims=True)
    return jnp.where(totals > 0, pairs / jnp.maximum(totals, 1.0), 1.0 / num_options)


def isp(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    conditionals: Float[Array, "agent option agent option"] | Agreement | None = None,
    max_options: int | None = None,
    ties: str = "split",
    key: PRNGKeyArray | None = None,
) -> Votes:
    """Picks the option whose votes most exceed what counterfactual answers predict.

    The inverse surprisingly popular (ISP) score is, for N agents and K options,

        Adv(s) = sum_i 1{a_i = s} - sum_i S(s, i),
        S(s, i) = 1 / (N - 1) sum_{j != i} 1 / (K - 1) sum_{a != a_j} P(A_i = s | A_j = a),

    and sums to 0 over s. Only agents that answered the question enter it; if one alone did, S is
    1 / K, which leaves that agent's vote, as in `majority`.

    With one K for all questions, the conditionals are `pairwise_conditionals`. If K differs, option
    labels cannot be pooled, and the conditionals are the symmetric ones that random labels give:
    P(A_i = a | A_j = a) = 1 / K + (K - 1) / K r_ij, and (1 - r_ij) / K for every other option. Here
    r_ij is the mean of (K 1{a_i = a_j} - 1) / (K - 1) over the questions that both answered, at
    least -1 / (K - 1) on each question, and 0 if there are none. ISP is then a weighted vote: w_j
    is 1 + mean_{i != j} r_ij / (K - 1), and the votes' mean is subtracted from the scores.

    See "Beyond Majority Voting: LLM Aggregation by Leveraging Higher-Order Information" by Ai et
    al. (https://arxiv.org/abs/2510.01499), Algorithm 2, Eqs. 5 and 6.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        conditionals: P(A_i = s | A_j = a) at `[i, s, j, a]`, or an `Agreement`, which the symmetric
            ones follow from, such as those of other questions; if None they are estimated from
            these, as in the paper. An array `num_options` takes an `Agreement` only.
        max_options: The most options of any question, if `num_options` is an array.
        ties: `"split"`, `"random"` or `"first"`.
        key: Randomness, for `ties="random"`.

    Returns:
        The votes, with weights `[question, agent]` if they rest on an `Agreement`.

    Raises:
        ValueError: If a shape, an answer, `num_options`, `max_options` or `ties` is wrong, or
            `conditionals` other than an `Agreement` are given for an array `num_options`.

    Example:
        >>> rows = "0001 1101 0010 1111 1010 0000 1110 0100".split()
        >>> answers = jnp.array([[int(answer) for answer in row] for row in rows])
        >>> isp(answers, 2).answers.tolist()  # the fifth is a tie of the majority
        [0, 1, 0, 1, 1, 0, 1, 0]
        >>> print(isp(answers, 2).scores[0].round(4))  # +-73 / 60
        [ 1.2167 -1.2167]
    """
    return _vote(answers, num_options, conditionals, max_options, ties, key, counterfactual=True)


def sp(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    *,
    conditionals: Float[Array, "agent option agent option"] | Agreement | None = None,
    max_options: int | None = None,
    ties: str = "split",
    key: PRNGKeyArray | None = None,
) -> Votes:
    """Picks the option whose votes most exceed what the other answers predict.

    The surprisingly popular (SP) score, with the frequencies of answers in place of what people say
    others will answer, is for N agents

        Adv(s) = sum_i 1{a_i = s} - sum_i S(s, i),
        S(s, i) = 1 / (N - 1) sum_{j != i} P(A_i = s | A_j = a_j),

    and sums to 0 over s. It corrects a bias that most agents share. Where they err independently it
    does worse than `majority`, which does worse than `isp` (in expected Adv of the right option:
    Theorem 2), so take it as a baseline. Abstentions, lone votes and numbers of options that differ
    are treated as in `isp`: where K differs, w_j is 1 - mean_{i != j} r_ij. If all agents always
    agree, every vote is predicted, and all options tie.

    See "A solution to the single-question crowd wisdom problem" by Prelec, Seung and McCoy
    (https://doi.org/10.1038/nature21054), and "Beyond Majority Voting: LLM Aggregation by
    Leveraging Higher-Order Information" by Ai et al. (https://arxiv.org/abs/2510.01499), Section 4,
    for this form.

    Args:
        answers: Option indices, -1 where an agent abstained.
        num_options: The number of options, one for all questions or one a question.
        conditionals: P(A_i = s | A_j = a) at `[i, s, j, a]`, or an `Agreement`, which the symmetric
            ones follow from, such as those of other questions; if None they are estimated from
            these, as in the paper. An array `num_options` takes an `Agreement` only.
        max_options: The most options of any question, if `num_options` is an array.
        ties: `"split"`, `"random"` or `"first"`.
        key: Randomness, for `ties="random"`.

    Returns:
        The votes, with weights `[question, agent]` if they rest on an `Agreement`.

    Raises:
        ValueError: If a shape, an answer, `num_options`, `max_options` or `ties` is wrong, or
            `conditionals` other than an `Agreement` are given for an array `num_options`.

    Example:
        >>> rows = "0001 1101 0010 1111 1010 0000 1110 0100".split()
        >>> answers = jnp.array([[int(answer) for answer in row] for row in rows])
        >>> print(sp(answers, 2).scores[0].round(4))  # +-5 / 9
        [ 0.5556 -0.5556]
    """
    return _vote(answers, num_options, conditionals, max_options, ties, key, counterfactual=False)


def _vote(
    answers: Int[Array, "question agent"],
    num_options: NumOptions,
    conditionals: Float[Array, "agent option agent option"] | Agreement | None,
    max_options: int | None,
    ties: str,
    key: PRNGKeyArray | None,
    *,
    counterfactual: bool,
) -> Votes:
    """Votes by ISP, which predicts from the answers not given, or by SP, from those given."""
    exists = check_answers(answers, num_options, max_options)
    if isinstance(num_options, int) and not isinstance(conditionals, Agreement):
        if conditionals is None:
            conditionals = pairwise_conditionals(answers, num_options)
        check_shape("conditionals", conditionals, (answers.shape[1], num_options) * 2)
        if counterfactual:
            totals = jnp.sum(conditionals, axis=-1, keepdims=True)
            conditionals = (totals - conditionals) / (num_options - 1)
        scores = _advantages(answers, exists, conditionals)
        return decide(scores, answers, exists, ties=ties, key=key)
    if conditionals is None:
        conditionals = pairwise_agreement(answers, num_options, max_options=max_options)
    if not isinstance(conditionals, Agreement):
        raise ValueError(
            "conditionals by option need one number of options for all questions; num_options is "
            "an array, so give an Agreement."
        )
    rates = conditionals.rates
    check_shape("conditionals.rates", rates, (answers.shape[1],) * 2)
    options = jnp.maximum(jnp.sum(exists, axis=1, dtype=rates.dtype), 2.0)
    slopes = 1.0 / (options - 1.0) if counterfactual else jnp.full_like(options, -1.0)
    weights = 1.0 + slopes[:, None] * _mean_agreement(answers, exists, rates, options)
    votes = count_votes(answers, exists, weights)
    scores = votes - (jnp.sum(votes, axis=1) / options)[:, None]
    return decide(scores, answers, exists, ties=ties, key=key, weights=weights)


def _advantages(
    answers: Int[Array, "question agent"],
    exists: Bool[Array, "question option"],
    predictions: Float[Array, "agent option agent option"],
) -> Float[Array, "question option"]:
    """Returns Adv(s) of each question; A_j = a predicts A_i = s with `predictions[i, s, j, a]`."""
    agents, options = predictions.shape[:2]
    others = 1.0 - jnp.eye(agents, dtype=predictions.dtype)
    predictions = predictions * others[:, None, :, None]

    def advantages(answers: Array, exists: Array) -> Array:
        ballots = cast_ballots(answers, exists)
        predicted = jnp.einsum("qja,isja->qis", ballots, predictions, precision="highest")
        peers = jnp.sum(ballots, axis=(1, 2), keepdims=True) - 1.0
        predicted = jnp.where(peers > 0, predicted / jnp.maximum(peers, 1.0), 1.0 / options)
        answered = jnp.sum(ballots, axis=-1, keepdims=True)
        return jnp.sum(ballots - answered * predicted, axis=1)

    return map_blocks(advantages, answers, exists, block=questions_per_block(agents, options))


def _mean_agreement(
    answers: Int[Array, "question agent"],
    exists: Bool[Array, "question option"],
    rates: Float[Array, "agent agent"],
    options: Float[Array, " question"],
) -> Float[Array, "question agent"]:
    """Returns mean_{i != j} r_ij over the agents i that answered; r_ij is at least -1 / (K - 1)."""
    answered = is_vote(answers, exists).astype(rates.dtype)
    peers = jnp.maximum(jnp.sum(answered, axis=1, keepdims=True) - 1.0, 1.0)
    off_diagonal = 1.0 - jnp.eye(answers.shape[1], dtype=rates.dtype)

    def total(answered: Array, floor: Array) -> Array:
        bounded = jnp.maximum(rates[None], floor[:, None, None]) * off_diagonal[None]
        return jnp.einsum("qi,qij->qj", answered, bounded, precision="highest")

    block = questions_per_block(*rates.shape)
    return map_blocks(total, answered, -1.0 / (options - 1.0), block=block) / peers
