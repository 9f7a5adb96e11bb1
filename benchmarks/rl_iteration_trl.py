"""TRL's side of `benchmarks.rl_iteration`: its GRPOTrainer, generation by transformers.

Runs in an environment of its own; see `benchmarks/make_peers.sh`.
"""

import json
import os
import random
import sys
import tempfile
from typing import Any

import datasets
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    TrainerCallback,
    TrainerControl,
)
from trl import GRPOConfig, GRPOTrainer

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

PROMPTS = 4096  # of the data set; it is read again when they are used up


class Clock(TrainerCallback):
    """Runs the trainer's steps when the benchmark asks for them."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Starts the clock; generation is part of the step."""
        self.worker.begin()

    def on_step_end(
        self, _args: Any, _state: Any, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Stops the clock after the update."""
        control.should_training_stop = not self.worker.end()
        return control


def make_model(shape: Shape) -> LlamaForCausalLM:
    """Returns the model with random parameters."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.dim,
            intermediate_size=shape.hidden_dim,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_heads,
            num_key_value_heads=shape.num_kv_heads,
            max_position_embeddings=shape.prompt_length + shape.completion_length,
            rms_norm_eps=NORM_EPSILON,
            rope_parameters={"rope_type": "default", "rope_theta": float(ROPE_THETA)},
            initializer_range=INIT_DEVIATION,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
            dtype=torch.float32,
        )
    )


def make_tokenizer(shape: Shape) -> PreTrainedTokenizerFast:
    """Returns a tokenizer of words that are ids.

    The model can't write the tokens for padding and the end: their ids lie beyond its vocabulary.
    """
    words = {str(token): token for token in range(shape.vocab_size)}
    words |= {"<pad>": shape.vocab_size, "<end>": shape.vocab_size + 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", unk_token="<pad>"
    )


def make_trainer(shape: Shape, worker: Worker, folder: str) -> GRPOTrainer:
    """Returns the trainer: one generation and one update a step, nothing saved or logged."""

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        rewards = [even_share(tokens) for tokens in completion_ids]
        worker.note([len(tokens) for tokens in completion_ids], rewards)
        return rewards

    generator = random.Random(0)
    prompts = [{"prompt": random_prompt(shape, generator)} for _ in range(PROMPTS)]
    config = GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=shape.rows,
        num_generations=shape.completions,
        max_completion_length=shape.completion_length,
        max_steps=10**6,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        max_grad_norm=CLIP_NORM,
        loss_type="grpo",
        beta=0.0,
        temperature=1.0,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return GRPOTrainer(
        model=make_model(shape),
        reward_funcs=reward,
        args=config,
        train_dataset=datasets.Dataset.from_list(prompts),
        processing_class=make_tokenizer(shape),
        callbacks=[Clock(worker)],
    )


def main() -> None:
    """Serves iterations of the shape that is given as JSON."""
    worker = Worker()
    case = json.loads(sys.argv[1])
    shape = Shape(**case["shape"])
    torch.set_num_threads(case.get("threads") or len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(shape, worker, folder)
        parameters = list(trainer.model.parameters())
        before = [parameter.detach().clone() for parameter in parameters]
        wanted = worker.ready(
            parameters=sum(parameter.numel() for parameter in parameters),
            threads=torch.get_num_threads(),
            versions=versions("trl", "transformers", "torch"),
        )
        if wanted:
            trainer.train()
        pairs = zip(parameters, before, strict=True)
        worker.close(max((new.detach() - old).abs().max().item() for new, old in pairs))


if __name__ == "__main__":
    main()
