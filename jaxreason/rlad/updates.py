"""Updates of one player on its samples: policy gradients, and offline from scored abstractions."""

import dataclasses
from collections.abc import Callable
from typing import no_type_check

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PyTree

from jaxreason.checks import check_that
from jaxreason.model import Params, TokenScores
from jaxreason.optimizer import apply_gradients
from jaxreason.policy_gradient import (
    Preferred,
    WeightedSum,
    best_and_worst,
    penalised_returns,
    player_loss,
    preference,
    rejection_fine_tuning,
    whiten,
)
from jaxreason.rlad.config import GameConfig
from jaxreason.rlad.play import fold
from jaxreason.rlad.players import Player, PlayerState, beside
from jaxreason.rollout import Rollout, Sampling, completion_log_probs
from jaxreason.sequences import Sequence
from jaxreason.training import Metrics, TrainState, accumulate_gradients

_WHITENED = ("reinforce++", "reinforce++-baseline")
_Loss = Callable[[Params, PyTree], tuple[WeightedSum, Metrics]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Samples:
    """What one part of the game gives to learn from.

    Attributes:
        prompts: `[prompt, time]`; the batch has as many samples of each, side by side.
        rollout: What was written, `[batch, step]`.
        advantages: `[batch]`.
        earning: Whether a sample's reward counts, `[batch]`.
        kept: Whether it is in the loss, `[batch]`.
        part: `abstraction` or `solution`; static.
        estimator: How the advantages were estimated; static.
    """

    prompts: Sequence
    rollout: Rollout
    advantages: Float[Array, "..."]
    earning: Bool[Array, "..."]
    kept: Bool[Array, "..."]
    part: str = dataclasses.field(metadata={"static": True})
    estimator: str = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
@no_type_check
class Proposals:
    """Abstractions that the solver has scored: what the abstraction generator learns offline from.

    Attributes:
        prompts: `[problem]`.
        rollout: What was written, `[problem, abstraction]`.
        rewards: Success of the solutions under each, `[problem, abstraction]`.
        base: Success without an abstraction, `[problem]`.
        usable: Which abstractions could be judged and were not dropped, `[problem, abstraction]`.
    """

    prompts: Sequence
    rollout: Rollout
    rewards: Float[Array, "..."]
    base: Float[Array, "..."]
    usable: Bool[Array, "..."]


def learn_online(
    config: GameConfig,
    player: Player,
    state: PlayerState,
    samples: tuple[Samples, ...],
    *,
    base: Params | None = None,
    axis_name: str | None = None,
) -> tuple[PlayerState, Metrics]:
    """Makes `config.minibatches` policy-gradient updates of one model.

    Args:
        config: Sizes and coefficients; static.
        player: The model and its optimiser; static.
        state: Its parameters.
        samples: The parts that it played, one or, for a shared model, both: their losses are added
            up, each token counting the same.
        base: What the player's adapters go beside, if it has adapters.
        axis_name: The axis of `pmap` over which problems are spread, if any; static.

    Returns:
        The new state, and metrics named `part/metric`.

    Raises:
        ValueError: If tokens spread over `pmap` are to be whitened.

    Example:
        See `iterate`, which calls it.
    """
    references, advantages = [], []
    for part in samples:
        check_that(
            axis_name is None or part.estimator not in _WHITENED,
            f"{part.estimator} whitens over all tokens: use jit with sharded arrays, not pmap.",
        )
        reference = part.rollout.log_probs
        if config.kl_coef > 0:
            fixed = beside(base, state.reference)
            scores = _score(config, player, fixed, part.prompts, part.rollout)
            reference = scores.log_probs
        references.append(reference)
        advantages.append(_token_advantages(config, part, reference))

    def loss(params: Params, batch: PyTree) -> tuple[WeightedSum, Metrics]:
        total, metrics = WeightedSum(jnp.zeros(()), jnp.zeros(())), Metrics()
        whole = beside(base, params)
        for part, reference, advantage in zip(*batch, strict=True):
            value, measured = _online_loss(config, player, whole, part, reference, advantage)
            total = jax.tree.map(jnp.add, total, value)
            metrics |= {f"{part.part}/{name}": metric for name, metric in measured.items()}
        return total, metrics

    parts = _cut((tuple(samples), tuple(references), tuple(advantages)), config.minibatches)
    name = samples[0].part if len(samples) == 1 else "shared"
    step = _stepper(config, player, loss, name, axis_name)
    train, metrics = jax.lax.scan(step, state.train, parts)
    return PlayerState(train, state.reference), _add_up(metrics)


def learn_offline(
    config: GameConfig,
    player: Player,
    state: PlayerState,
    proposals: Proposals,
    *,
    updates: int,
    base: Params | None = None,
    axis_name: str | None = None,
) -> tuple[PlayerState, Metrics]:
    """Makes `config.offline_epochs` passes over abstractions that the solver has scored.

    Under `rft` it learns the likelihood of those that did strictly better than solving without
    one; under `preference` it learns to prefer each problem's best to its worst.

    See "RLAD: Training LLMs to Discover Abstractions for Solving Reasoning Problems" by Qu et al.
    (https://arxiv.org/abs/2510.02263), section 4.

    Args:
        config: Sizes and coefficients; static.
        player: The abstraction generator; static.
        state: Its parameters.
        proposals: Scored abstractions.
        updates: Parts that the problems are cut into, one update each; static.
        base: What the player's adapters go beside, if it has adapters.
        axis_name: The axis of `pmap` over which problems are spread, if any; static.

    Returns:
        The new state and metrics, of the last pass.

    Raises:
        ValueError: If the updates do not divide the problems.

    Example:
        See `play_turns`, which calls it.
    """
    if config.abstraction_update == "rft":
        batch, loss = _kept_proposals(proposals), _likelihood_loss(config, player, base)
    else:
        batch = _pairs(proposals)
        loss = _preference_loss(config, player, state.reference, base)
    parts = _cut(batch, updates)
    step = _stepper(config, player, loss, "abstraction", axis_name)

    def epoch(train: TrainState, _: None) -> tuple[TrainState, Metrics]:
        train, metrics = jax.lax.scan(step, train, parts)
        return train, _add_up(metrics)

    train, metrics = jax.lax.scan(epoch, state.train, None, length=config.offline_epochs)
    return PlayerState(train, state.reference), jax.tree.map(lambda leaf: leaf[-1], metrics)


def _score(
    config: GameConfig, player: Player, params: Params, prompts: Sequence, rollout: Rollout
) -> TokenScores:
    """Scores what was written under the distribution that it is sampled from."""
    return completion_log_probs(
        player.model,
        params,
        prompts,
        rollout.completion,
        sampling=Sampling(temperature=config.temperature),
    )


def _token_advantages(config: GameConfig, part: Samples, reference: Array) -> Array:
    """Gives each token its advantage, less the KL penalty to come if that is in the reward."""
    mask = part.rollout.completion.mask
    earning = mask & (part.earning & part.kept)[:, None]
    advantages = jnp.broadcast_to(part.advantages[:, None], mask.shape)
    if config.kl_in_reward:
        kept = mask & part.kept[:, None]
        log_probs = part.rollout.log_probs
        advantages = penalised_returns(
            part.advantages, log_probs, reference, kept, kl_coef=config.kl_coef
        )
    if part.estimator in _WHITENED:
        return jnp.where(earning, whiten(advantages, earning), advantages)
    return advantages


def _online_loss(
    config: GameConfig,
    player: Player,
    params: Params,
    part: Samples,
    reference: Array,
    advantages: Array,
) -> tuple[WeightedSum, Metrics]:
    scored = _score(config, player, params, part.prompts, part.rollout)
    completion = part.rollout.completion
    constant = config.aggregation == "constant"
    loss, metrics = player_loss(
        scored.log_probs,
        part.rollout.log_probs,
        reference,
        scored.entropy,
        advantages,
        completion.mask & part.kept[:, None],
        surrogate=config.surrogate,
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        dual_clip=config.dual_clip,
        kl=config.kl,
        kl_coef=0.0 if config.kl_in_reward else config.kl_coef,
        entropy_coef=config.entropy_coef,
        aggregation=config.aggregation,
        length=completion.mask.shape[-1] if constant else None,
    )
    if config.kl_coef == 0:
        del metrics["kl"]  # the reference was not asked
    return loss, metrics


def _kept_proposals(proposals: Proposals) -> PyTree:
    kept = proposals.usable & (proposals.rewards > proposals.base[:, None])
    return proposals, kept


def _likelihood_loss(config: GameConfig, player: Player, base: Params | None) -> _Loss:
    def loss(params: Params, batch: PyTree) -> tuple[WeightedSum, Metrics]:
        proposals, kept = batch
        rollout = fold(proposals.rollout, 2)
        scores = _score(config, player, beside(base, params), proposals.prompts, rollout)
        mask = rollout.completion.mask
        share = WeightedSum(kept.sum(dtype=jnp.float32), jnp.float32(kept.size))
        return rejection_fine_tuning(scores.log_probs, kept.reshape(-1), mask), {
            "abstraction/kept": share
        }

    return loss


def _pairs(proposals: Proposals) -> PyTree:
    """Returns each problem's best and worst abstraction, and whether they differ."""
    best, worst, differ = best_and_worst(proposals.rewards, where=proposals.usable)
    take = lambda index: jax.tree.map(  # noqa: E731
        lambda leaf: jax.vmap(lambda rows, at: rows[at])(leaf, index), proposals.rollout
    )
    return (proposals.prompts, take(best)), (proposals.prompts, take(worst)), differ


def _preference_loss(
    config: GameConfig, player: Player, reference: Params, base: Params | None
) -> _Loss:
    def side(params: Params, written: tuple[Sequence, Rollout], differ: Array) -> Preferred:
        log_probs, ref_log_probs = (
            _score(config, player, beside(base, each), *written).log_probs
            for each in (params, reference)
        )
        mask = written[1].completion.mask & differ[:, None]
        return Preferred(log_probs, ref_log_probs, mask)

    def loss(params: Params, batch: PyTree) -> tuple[WeightedSum, Metrics]:
        winner, loser, differ = batch
        total, metrics = preference(
            side(params, winner, differ),
            side(params, loser, differ),
            beta=config.preference_beta,
            likelihood_coef=config.likelihood_coef,
        )
        return total, {f"abstraction/preference_{name}": m for name, m in metrics.items()}

    return loss


def _cut(batch: PyTree, parts: int) -> PyTree:
    size = jax.tree.leaves(batch)[0].shape[0]
    check_that(
        size % parts == 0,
        f"the updates of an iteration must divide its samples; got {parts} for {size}.",
    )
    return jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), batch)


def _stepper(
    config: GameConfig, player: Player, loss: _Loss, name: str, axis_name: str | None
) -> Callable[[TrainState, PyTree], tuple[TrainState, Metrics]]:
    """Returns one update as a step of `scan`, with its loss and gradient norm as metrics."""

    def step(train: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        gradients, total, metrics = accumulate_gradients(
            loss,
            train.params,
            batch,
            num_microbatches=config.microbatches,
            axis_name=axis_name,
        )
        params, opt_state = apply_gradients(
            player.optimizer, train.params, train.opt_state, gradients, total.mean()
        )
        norm = optax.tree.norm(gradients)
        metrics |= {
            f"{name}/loss": total,
            f"{name}/gradient_norm": WeightedSum(norm, jnp.ones_like(norm)),
        }
        return TrainState(params, opt_state), metrics

    return step


def _add_up(metrics: Metrics) -> Metrics:
    return jax.tree.map(lambda leaf: leaf.sum(0), metrics)
