"""The side of transformers and torch in `benchmarks.generate` and `benchmarks.train_step`.

Runs in TRL's environment; see `benchmarks/make_peers.sh`.
"""

import os

import torch
from transformers import AutoModelForCausalLM

from benchmarks.model_worker import given, serve_generation, serve_training
from benchmarks.rl_iteration_worker import Worker, versions


def main() -> None:
    """Serves the work that is given."""
    worker, (work, threads) = Worker(), given()
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    model = AutoModelForCausalLM.from_pretrained(work.folder, dtype=getattr(torch, work.dtype))
    tokens = torch.tensor(work.tokens)
    facts = {
        "threads": torch.get_num_threads(),
        "versions": versions("transformers", "torch"),
    }

    def generate(count: int) -> list[list[int]]:
        with torch.inference_mode():
            written = model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                do_sample=False,
                min_new_tokens=count,
                max_new_tokens=count,
                eos_token_id=None,
                pad_token_id=0,
            )
        return written[:, tokens.shape[1] :].tolist()

    def train() -> float:
        model.zero_grad(set_to_none=True)
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        return loss.item()

    if work.kind == "generate":
        model.eval()
        model.generation_config.eos_token_id = None  # nothing may end a row
        serve_generation(worker, generate, work.new_tokens, **facts)
    else:
        serve_training(worker, train, **facts)


if __name__ == "__main__":
    main()
