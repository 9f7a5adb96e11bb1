"""Tunix's side of `benchmarks.rl_iteration`: its GRPOLearner, generation by its own sampler.

Runs in an environment of its own; see `benchmarks/make_peers.sh`.
"""

import json
import os
import random
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from tunix.models.llama3.model import Llama3, ModelConfig
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import RolloutConfig

from benchmarks.rl_iteration_worker import (
    CLIP_NORM,
    INIT_DEVIATION,
    LEARNING_RATE,
    NORM_EPSILON,
    ROPE_THETA,
    Shape,
    Worker,
    even_share,
    random_prompt,
    versions,
)


class Numbers:
    """A tokenizer of words that are ids.

    The model can't write the tokens for padding and the end: their ids lie beyond its vocabulary.
    """

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def encode(self, text: str, **_: Any) -> list[int]:
        """Returns the ids of a text."""
        return [int(word) for word in text.split()]

    def decode(self, tokens: list[int], **_: Any) -> str:
        """Returns the text of ids."""
        return " ".join(map(str, tokens))

    def bos_id(self) -> None:
        """Returns no id: prompts begin with nothing."""
        return None

    def pad_id(self) -> int:
        """Returns the id of padding."""
        return self.vocab_size

    def eos_id(self) -> int:
        """Returns the id of the end."""
        return self.vocab_size + 1


def make_model(shape: Shape) -> Llama3:
    """Returns the model with random parameters."""
    config = ModelConfig(
        num_layers=shape.num_layers,
        vocab_size=shape.vocab_size,
        embed_dim=shape.dim,
        hidden_dim=shape.hidden_dim,
        num_heads=shape.num_heads,
        head_dim=shape.head_dim,
        num_kv_heads=shape.num_kv_heads,
        rope_theta=ROPE_THETA,
        norm_eps=NORM_EPSILON,
        weight_tying=True,
    )
    model = Llama3(config, rngs=nnx.Rngs(0))
    state = nnx.state(model, nnx.Param)
    leaves, tree = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    # Tunix leaves the feed-forward matrices at 0 for a checkpoint to fill.
    drawn = [
        INIT_DEVIATION * jax.random.normal(key, leaf.shape) if leaf.ndim > 1 else leaf
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    nnx.update(model, jax.tree.unflatten(tree, drawn))
    return model


def make_learner(shape: Shape, worker: Worker, model: Llama3) -> GRPOLearner:
    """Returns the learner: one generation and one update an iteration, nothing saved."""

    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        tokens = [[int(word) for word in completion.split()] for completion in completions]
        rewards = [even_share(completion) for completion in tokens]
        worker.note([len(completion) for completion in tokens], rewards)
        return rewards

    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"))
    adam = optax.chain(optax.clip_by_global_norm(CLIP_NORM), optax.adam(LEARNING_RATE))
    cluster = RLCluster(
        actor=model,
        tokenizer=Numbers(shape.vocab_size),
        cluster_config=ClusterConfig(
            role_to_mesh=dict.fromkeys((Role.ACTOR, Role.REFERENCE, Role.ROLLOUT), mesh),
            rollout_engine="vanilla",
            training_config=RLTrainingConfig(
                actor_optimizer=adam, eval_every_n_steps=10**9, max_steps=10**6
            ),
            rollout_config=RolloutConfig(
                max_prompt_length=shape.prompt_length,
                max_tokens_to_generate=shape.completion_length,
                kv_cache_size=shape.prompt_length + shape.completion_length,
                temperature=1.0,
                top_p=1.0,
            ),
        ),
    )
    config = GRPOConfig(num_generations=shape.completions, num_iterations=1, beta=0.0)
    return GRPOLearner(rl_cluster=cluster, reward_fns=reward, algo_config=config)


def batches(shape: Shape, worker: Worker) -> Iterator[dict[str, np.ndarray]]:
    """Yields prompts when the benchmark asks for an iteration; the next is taken after it ended."""
    generator = random.Random(0)
    wanted = True
    while wanted:
        prompts = [random_prompt(shape, generator) for _ in range(shape.problems)]
        worker.begin()
        yield {"prompts": np.array(prompts)}
        wanted = worker.end()


def main() -> None:
    """Serves iterations of the shape that is given as JSON."""
    worker = Worker()
    shape = Shape(**json.loads(sys.argv[1])["shape"])
    model = make_model(shape)
    learner = make_learner(shape, worker, model)
    trained = learner.rl_cluster.actor_trainer.model
    before = [np.array(leaf) for leaf in jax.tree.leaves(nnx.state(trained, nnx.Param))]
    wanted = worker.ready(
        parameters=sum(leaf.size for leaf in before),
        threads=len(os.sched_getaffinity(0)),
        versions=versions("google-tunix", "jax", "flax", "optax"),
    )
    if wanted:
        learner.train(batches(shape, worker))
    after = [np.array(leaf) for leaf in jax.tree.leaves(nnx.state(trained, nnx.Param))]
    pairs = zip(after, before, strict=True)
    worker.close(float(max(np.abs(new - old).max() for new, old in pairs)))


if __name__ == "__main__":
    main()
