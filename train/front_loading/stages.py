"""The stages of a cell: pretraining and fine-tuning on a stream, and GRPO with verified answers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data.stream import Batches, BatchIterator, Stream
from data.tokenizer import Tokenizer
from jaxreason.model import ModelConfig, Params
from jaxreason.optimizer import OptimizerConfig, apply_gradients, make_optimizer
from jaxreason.policy_gradient import grpo, player_loss
from jaxreason.rollout import Sampling, completion_log_probs, generate
from jaxreason.training import TrainState, accumulate_gradients, init_state, supervised_step
from train.front_loading.config import GridConfig
from train.front_loading.scores import MODEL_INPUTS, answer_of, encode_prompts
from train.front_loading.world import Problem, is_right
from train.progress import track


class SupervisedTrainer:
    """Trains on streams; compiled once for all that have its batch size and schedule.

    Args:
        model: The shape of the models.
        optimizer: The optimiser.
        batch_size: Sequences in an update.
        total_steps: The length of the schedule; of no meaning if the learning rate is constant.
    """

    def __init__(
        self, model: ModelConfig, optimizer: OptimizerConfig, batch_size: int, total_steps: int
    ) -> None:
        self._optimizer = make_optimizer(optimizer, total_steps)
        self._batch_size = batch_size
        step = partial(supervised_step, model, self._optimizer)
        self._step = jax.jit(step, donate_argnums=0)

    def train(self, name: str, params: Params, stream: Stream) -> Params:
        """Returns parameters trained on a stream, once through; those given are donated."""
        batches = Batches(stream, min(self._batch_size, len(stream)))
        state = init_state(self._optimizer, params)
        with track(name, len(batches)) as progress:
            for batch in BatchIterator(batches):
                state, metrics = self._step(state, {key: batch[key] for key in MODEL_INPUTS})
                progress.advance(loss=float(metrics["loss"]))
        return state.params


class GRPOTrainer:
    """Trains on problems whose answers are verified on the host.

    Args:
        config: The grid.
        tokenizer: The models' tokenizer.
    """

    def __init__(self, config: GridConfig, tokenizer: Tokenizer) -> None:
        self._config, self._tokenizer = config, tokenizer
        self._optimizer = make_optimizer(config.rl.optimizer, config.rl.steps)
        self._generate = jax.jit(
            partial(
                generate,
                config.model,
                max_new_tokens=config.max_new_tokens,
                stop_tokens=(tokenizer.eos_id,),
                sampling=Sampling(),
            )
        )
        self._update = jax.jit(self._updated, donate_argnums=0)

    def train(
        self, name: str, params: Params, problems: Callable[[int], list[Problem]], seed: int
    ) -> Params:
        """Returns parameters trained for the configured steps.

        Args:
            name: What the progress says.
            params: Where it starts, and what the KL holds it near to.
            problems: The problems of a step.
            seed: Seed of the samples.
        """
        settings = self._config.rl
        reference = params
        state = init_state(self._optimizer, jax.tree.map(jnp.copy, params))
        key = jax.random.key(seed)
        with track(name, settings.steps) as progress:
            for step in range(settings.steps):
                chosen = problems(step)
                state, reward = self._iteration(
                    state, reference, chosen, jax.random.fold_in(key, step)
                )
                progress.advance(reward=reward)
        return state.params

    def _iteration(
        self, state: TrainState, reference: Params, chosen: list[Problem], key: jax.Array
    ) -> tuple[TrainState, float]:
        samples = self._config.rl.samples
        repeated = [problem for problem in chosen for _ in range(samples)]
        prompts = encode_prompts(self._tokenizer, repeated, self._config.max_prompt)
        made = self._generate(state.params, prompts, key)
        tokens, mask = np.asarray(made.completion.tokens), np.asarray(made.completion.mask)
        answers = [
            answer_of(self._tokenizer, row[valid].tolist())
            for row, valid in zip(tokens, mask, strict=True)
        ]
        rewards = np.array(
            [is_right(*pair) for pair in zip(repeated, answers, strict=True)], np.float32
        )
        advantages = grpo(jnp.asarray(rewards.reshape(-1, samples))).reshape(-1)
        batch = {"prompts": prompts, "made": made, "advantages": advantages}
        return self._update(state, reference, batch), float(rewards.mean())

    def _updated(self, state: TrainState, reference: Params, batch: dict[str, Any]) -> TrainState:
        gradients, loss, _ = accumulate_gradients(
            partial(self._loss, reference), state.params, batch
        )
        updated = apply_gradients(
            self._optimizer, state.params, state.opt_state, gradients, loss.mean()
        )
        return TrainState(*updated)

    def _loss(self, reference: Params, params: Params, batch: dict[str, Any]) -> Any:
        prompts, made = batch["prompts"], batch["made"]
        scores, held = (
            completion_log_probs(self._config.model, chosen, prompts, made.completion)
            for chosen in (params, reference)
        )
        return player_loss(
            scores.log_probs,
            made.log_probs,
            held.log_probs,
            scores.entropy,
            batch["advantages"],
            made.completion.mask,
            clip_high=0.2,
            kl_coef=self._config.rl.kl_coef,
            entropy_coef=0.0,
        )
