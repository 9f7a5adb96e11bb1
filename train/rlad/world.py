"""The models before the game: pretraining and warm starts on documents made on the device."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxreason.model import ModelConfig, Params, init, token_log_probs
from jaxreason.optimizer import apply_gradients, make_optimizer
from jaxreason.policy_gradient import WeightedSum, aggregate
from jaxreason.rlad import raises_success
from jaxreason.sequences import Sequence, concatenate
from jaxreason.tasks import Task, Vocabulary, make_rule_induction, rule_table
from jaxreason.tasks.rendering import abstraction_tokens
from jaxreason.tasks.vocabulary import SOLUTION
from jaxreason.training import TrainState, accumulate_gradients, init_state
from train.rlad.config import WarmUpConfig, WorldConfig

PARTS = ("both", "abstraction", "solution")
"""What a document's loss is on: the base model learns both."""


def make_task(config: WorldConfig) -> Task:
    """Returns the world's task."""
    return make_rule_induction(config.task, Vocabulary())


def teacher_abstraction(config: WorldConfig, problem: Any, key: jax.Array) -> Sequence:
    """Returns what the teacher says of a problem: its rule, or, by mistake, any other one."""
    wrong_key, choice_key = jax.random.split(key)
    rules = rule_table(config.task).train
    other = rules[jax.random.randint(choice_key, (), 0, len(rules))]
    errs = jax.random.bernoulli(wrong_key, config.teacher_error)
    told = problem.__class__(
        jnp.where(errs, other, problem.rule), problem.inputs, problem.outputs, problem.trace
    )
    vocabulary = Vocabulary()
    tag = jnp.array([vocabulary.id_of(SOLUTION)], jnp.int32)
    words = abstraction_tokens(config.task, vocabulary, told)
    return concatenate([words, Sequence(tag, jnp.ones((1,), bool))])


def document(
    config: WorldConfig, task: Task, key: jax.Array, part: str
) -> tuple[Sequence, jax.Array]:
    """Makes one document and tells which of its tokens are learned.

    The solution generator's prompt is what comes first, a worked solution what follows; loss is on
    the abstraction in the prompt, on the solution, or on both.
    """
    problem_key, teacher_key, bare_key = jax.random.split(key, 3)
    problem = task.sample(problem_key, "train")
    share = 0.0 if part == "abstraction" else config.bare_share
    bare = jax.random.bernoulli(bare_key, share)
    said = teacher_abstraction(config, problem, teacher_key)
    prompt = task.solution_prompt(problem, said, bare)
    solution = task.solution(problem)
    begins = task.abstraction_prompt(problem).tokens.shape[-1]
    place = jnp.arange(prompt.tokens.shape[-1])
    learns_abstraction = jnp.array(part != "solution") & (place >= begins) & ~bare
    learns_solution = jnp.full(solution.tokens.shape, part != "abstraction")
    whole = concatenate([prompt, solution])
    return whole, whole.mask & jnp.concatenate([learns_abstraction, learns_solution])


def likelihood_loss(model: ModelConfig, params: Params, batch: Any) -> tuple[WeightedSum, dict]:
    """Computes the negative log-likelihood of documents where they are learned."""
    rows, learned = batch
    segments = rows.mask.astype(jnp.int32)
    scores = token_log_probs(model, params, rows.tokens, segment_ids=segments)
    return aggregate(-scores.log_probs, learned[:, 1:]), {}


def warm_up(
    config: WorldConfig,
    stage: WarmUpConfig,
    model: ModelConfig,
    params: Params,
    key: jax.Array,
    part: str,
    *,
    pool: tuple[jax.Array, jax.Array] | None = None,
) -> tuple[Params, jax.Array]:
    """Trains on fresh documents, or on those of a pool of keys with log-weights.

    Returns:
        Parameters, and the loss of each update.
    """
    task, optimizer = make_task(config), make_optimizer(stage.optimizer, stage.steps)
    make = jax.vmap(lambda key: document(config, task, key, part))

    def step(state: TrainState, key: jax.Array) -> tuple[TrainState, jax.Array]:
        keys = jax.random.split(key, stage.documents)
        if pool is not None:
            keys = pool[0][jax.random.categorical(key, pool[1], shape=(stage.documents,))]
        gradients, loss, _ = accumulate_gradients(
            partial(likelihood_loss, model), state.params, make(keys)
        )
        mean = loss.mean()
        params, opt_state = apply_gradients(
            optimizer, state.params, state.opt_state, gradients, mean
        )
        return TrainState(params, opt_state), mean

    keys = jax.random.split(key, stage.steps)
    state, losses = jax.lax.scan(step, init_state(optimizer, params), keys)
    return state.params, losses


def pretrain(config: WorldConfig, model: ModelConfig, key: jax.Array) -> tuple[Params, jax.Array]:
    """Returns a base model of a shape, and its losses."""
    init_key, data_key = jax.random.split(key)
    return warm_up(config, config.base, model, init(model, init_key), data_key, "both")


def warm_start(
    config: WorldConfig, model: ModelConfig, params: Params, key: jax.Array, part: str
) -> tuple[Params, jax.Array]:
    """Fine-tunes the base model for one part of the game."""
    filter_key, train_key = jax.random.split(key)
    pool = None
    if part == "abstraction" and config.filter_samples:
        pool = useful_documents(config, model, params, filter_key)
    return warm_up(config, config.warm_start, model, params, train_key, part, pool=pool)


def useful_documents(
    config: WorldConfig, model: ModelConfig, params: Params, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Draws documents and keeps those whose abstraction raises the base model's success.

    Returns:
        The documents' keys, and log-weights: 0 for those kept, -inf for the others (0 for all if
        none was kept).
    """
    task, stage = make_task(config), config.warm_start
    draw_key, play_key = jax.random.split(key)
    keys = jax.random.split(draw_key, 2 * stage.documents * min(stage.steps, 16))
    parts = jax.vmap(lambda key: jax.random.split(key, 3))(keys)  # as `document` splits them
    problems = jax.vmap(lambda key: task.sample(key, "train"))(parts[:, 0])
    said = jax.vmap(partial(teacher_abstraction, config))(problems, parts[:, 1])
    kept = raises_success(
        task,
        model,
        params,
        problems,
        jax.tree.map(lambda leaf: leaf[:, None], said),
        jax.random.split(play_key, len(keys)),
        samples=config.filter_samples,
    )[:, 0]
    return keys, jnp.where(kept | ~kept.any(), 0.0, -jnp.inf)
