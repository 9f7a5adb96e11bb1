"""How much memory a round of the game on text takes, estimated from shapes alone."""

import jax
import jax.numpy as jnp

from jaxreason.model import ModelConfig, init_adapters, num_parameters
from jaxreason.tasks import Sequence, Task, TextProblem
from train.text.rl_config import TextRLConfig

_COPIES = 5
"""Of a player's adapters: themselves, the reference, two moments and a gradient; in float32."""
_CHUNK = 4096
"""Tokens whose logits exist at the same time."""


def memory_parts(
    settings: TextRLConfig, model: ModelConfig, task: Task, problems: TextProblem
) -> dict[str, int]:
    """Returns the bytes that a round takes, by what they hold, for `train.memory.check_memory`.

    Writing and learning come one after the other, so only the larger one counts.

    Args:
        settings: Sizes of the game.
        model: The decoder's shape.
        task: The task of the questions.
        problems: Their prompts.
    """
    game, size = settings.game, jnp.dtype(model.dtype).itemsize
    one = jax.tree.map(lambda leaf: leaf[0], problems)
    prompt = _solver_prompt(task, one)
    propose, slots = one.propose.tokens.shape[-1], prompt + task.solution_length
    prompts = game.problems * (game.abstractions + game.bare)
    writing = writing_bytes(model, task, problems, prompts=prompts, solutions=game.solutions)
    parts = game.minibatches * game.microbatches
    read = prompts * prompt + prompts * game.solutions * task.solution_length
    proposed = game.problems * (propose + game.abstractions * task.abstraction_length)
    learning = max(
        _of_update(model, -(-read // parts), slots),
        _of_update(model, -(-proposed // parts), propose + task.abstraction_length),
    )
    adapters = jax.eval_shape(lambda: init_adapters(settings.lora, model, jax.random.key(0)))
    trained = sum(leaf.size for leaf in jax.tree.leaves(adapters)) * _COPIES * 4
    players = 1 if game.shared or not game.abstractions else 2
    told = {
        "parameters": num_parameters(model) * size,
        "adapters and optimisers": players * trained,
    }
    if writing > learning:
        return told | {"cache of what is being written": writing}
    return told | {"activations of an update": learning}


def writing_bytes(
    model: ModelConfig, task: Task, problems: TextProblem, *, prompts: int, solutions: int
) -> int:
    """Returns the bytes of the cache while solutions are written.

    The prompts' own cache stays until it has been repeated for every solution.

    Args:
        model: The decoder's shape.
        task: The task of the questions.
        problems: Their prompts.
        prompts: Prompts at the same time.
        solutions: Solutions of each.
    """
    prompt = _solver_prompt(task, jax.tree.map(lambda leaf: leaf[0], problems))
    place = 2 * model.num_layers * model.num_kv_heads * model.head_dim
    places = prompts * (prompt + solutions * (prompt + task.solution_length))
    return place * places * jnp.dtype(model.dtype).itemsize


def _solver_prompt(task: Task, problem: TextProblem) -> int:
    """Returns the padded length of the solver's prompts."""
    hint = jax.ShapeDtypeStruct((task.abstraction_length,), jnp.int32)
    blank = Sequence(hint, jax.ShapeDtypeStruct(hint.shape, jnp.bool))
    bare = jax.ShapeDtypeStruct((), jnp.bool)
    return jax.eval_shape(task.solution_prompt, problem, blank, bare).tokens.shape[-1]


def _of_update(model: ModelConfig, tokens: int, slots: int) -> int:
    """Returns the bytes that are kept of every token for the gradient, and those of the logits."""
    width, kv = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
    attention = 4 * model.dim + 3 * width + 4 * kv + 2 * model.num_heads * slots
    layer = attention + 4 * model.hidden_dim
    products = 2 * model.dim + width + 2 * kv + 2 * model.hidden_dim
    of_layer = {"none": layer, "dots": products, "full": model.dim}[model.remat]
    again = 0 if model.remat == "none" else layer  # one layer at a time
    kept = tokens * (model.num_layers * of_layer + again) * jnp.dtype(model.dtype).itemsize
    return kept + 2 * min(tokens, _CHUNK) * model.vocab_size * 4
