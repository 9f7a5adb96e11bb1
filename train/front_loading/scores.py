"""What every model of the grid is scored on, after every stage, on the same tasks."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from data.renderers import asked
from data.spans import END_OF_THINK, THINK, plain
from data.stream import Batches, Stream
from data.tokenizer import AnyTokenizer
from jaxreason.model import ModelConfig, Params
from jaxreason.rollout import Sampling, generate, pad_prompts
from jaxreason.sequences import Sequence as Tokens
from jaxreason.training import next_token_loss
from train.front_loading.world import Problem, is_right, obeys

GREEDY = Sampling(temperature=0.0)
MODEL_INPUTS = ("tokens", "positions", "segment_ids", "loss_mask")


class Scorer:
    """Scores models by greedy answers and by the loss of held-out text.

    Args:
        model: Their shape.
        tokenizer: Their tokenizer.
        problems: Problems by set: `seen`, `unseen` and `forms`.
        general: Held-out base text.
        max_prompt: Tokens of the longest problem.
        max_new_tokens: Tokens that a model may answer with.
    """

    def __init__(
        self,
        model: ModelConfig,
        tokenizer: AnyTokenizer,
        problems: dict[str, list[Problem]],
        general: Stream,
        *,
        max_prompt: int,
        max_new_tokens: int,
    ) -> None:
        self._tokenizer, self._problems = tokenizer, problems
        self._prompts = {
            name: encode_prompts(tokenizer, chosen, max_prompt) for name, chosen in problems.items()
        }
        self._batches = _whole_batches(general)
        self._answer = jax.jit(
            partial(
                generate,
                model,
                max_new_tokens=max_new_tokens,
                stop_tokens=(tokenizer.eos_id,),
                sampling=GREEDY,
            )
        )
        self._loss = jax.jit(partial(_loss, model))

    def scores(self, params: Params) -> dict[str, float]:
        """Returns the scores of a model.

        Returns:
            `seen`, `unseen`: accuracies; `reasoning`: their mean; `forms`: the share of answers of
            the form that was asked for; `general_loss`: nats a token of held-out base text;
            `trace`: the share of answers to seen families that show a trace.
        """
        answers = {name: self._answers(params, name) for name in self._problems}
        scores = {
            name: _mean(is_right(*pair) for pair in zip(self._problems[name], found, strict=True))
            for name, (found, _) in answers.items()
            if name != "forms"
        }
        forms = zip(self._problems["forms"], answers["forms"][0], strict=True)
        totals = [self._loss(params, batch) for batch in self._batches]
        lost, weight = (float(sum(part)) for part in zip(*totals, strict=True))
        return scores | {
            "reasoning": (scores["seen"] + scores["unseen"]) / 2,
            "forms": _mean(obeys(*pair) for pair in forms),
            "general_loss": lost / weight,
            "trace": _mean(answers["seen"][1]),
        }

    def _answers(self, params: Params, name: str) -> tuple[list[str], list[bool]]:
        """Returns the answers to a set of problems, and which of them show a trace."""
        made = self._answer(params, self._prompts[name], jax.random.key(0)).completion
        rows = [
            tokens[mask].tolist()
            for tokens, mask in zip(*map(np.asarray, (made.tokens, made.mask)), strict=True)
        ]
        return (
            [answer_of(self._tokenizer, row) for row in rows],
            [self._think_id in row for row in rows],
        )

    @property
    def _think_id(self) -> int:
        return self._tokenizer.symbol_ids([THINK.symbol])[0]


def encode_prompts(tokenizer: AnyTokenizer, problems: Sequence[Problem], length: int) -> Tokens:
    """Returns problems as tokens, padded to one length.

    Raises:
        ValueError: If one is longer.
    """
    rows = [tokenizer.encode(plain(asked(problem["problem"]))) for problem in problems]
    longest = max(map(len, rows))
    if longest > length:
        raise ValueError(f"the longest problem has {longest} tokens; raise max_prompt to that.")
    return pad_prompts(rows, buckets=(length,))


def answer_of(tokenizer: AnyTokenizer, completion: Sequence[int]) -> str:
    """Returns what a completion answers: what follows the trace, all of it if there is none.

    A completion that did not end has no answer.
    """
    ids = list(completion)
    if not ids or ids[-1] != tokenizer.eos_id:
        return ""
    end = tokenizer.symbol_ids([END_OF_THINK.symbol])[0]
    if end in ids:
        ids = ids[ids.index(end) + 1 :]
    return tokenizer.decode(ids)


def _whole_batches(stream: Stream) -> list[dict[str, jax.Array]]:
    """Returns a stream as batches of one size, the rest left out."""
    batches = Batches(stream, min(32, len(stream)))
    return [
        {name: jnp.asarray(batches[step][name]) for name in MODEL_INPUTS}
        for step in range(len(batches))
    ]


def _loss(model: ModelConfig, params: Params, batch: dict[str, jax.Array]) -> tuple[jax.Array, ...]:
    loss, _ = next_token_loss(model, params, batch)
    return loss.sum, loss.weight


def _mean(values: object) -> float:
    return float(np.mean([float(value) for value in values]))
