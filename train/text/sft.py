"""Supervised fine-tuning of a pretrained model on right responses, in the form of its chats."""

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence as Seq
from functools import partial
from typing import Any

import jax
import numpy as np
import optax

from data.questions import QuestionSet
from data.stream import Batches, PackedSource, mix
from data.tables import table
from jaxreason.mixture import Document, Documents, StageSize, best_fit, fit
from jaxreason.model import Adapters, ModelConfig, Params, init_adapters
from jaxreason.optimizer import make_optimizer, skipped_updates
from jaxreason.training import TrainState, init_state, supervised_step
from train.checkpoints import SEAL
from train.errors import RefusedError, refuse_bad_values
from train.loop import SKIPPED, SKIPPED_IN_A_ROW, Run, check_data, load_stage, train_stage
from train.memory import check_memory, least_memory
from train.pretrain import MODEL_INPUTS
from train.progress import track
from train.run_folder import read_json, write_json
from train.text.config import (
    RL_STAGE,
    SFT_ABSTRACTION_STAGE,
    SFT_STAGE,
    TextConfig,
    TextSFTConfig,
)
from train.text.lessons import Lesson, keep_useful, prompts_of, read_lessons, untested
from train.text.pretrained import Pretrained, open_pretrained, open_task, size_of
from train.text.prompts import Pieces

STAGE, ABSTRACTION_STAGE = SFT_STAGE, SFT_ABSTRACTION_STAGE
USEFUL = "useful_lessons.json"
"""The file of a run with the numbers of the lessons whose abstraction raises success."""
BLOCK = 64  # sequences in a block of the stream


def fine_tune_text(config: TextConfig, run: Run) -> None:
    """Fine-tunes a pretrained model, or continues where an earlier start was.

    Without a teacher a solver learns the task's questions. A teacher's files give both players a
    warm start: stage `sft_abstraction`, then stage `sft`.

    Args:
        config: The experiment.
        run: Where to write.

    Raises:
        RefusedError: If the model or the data can't be had, or memory does not suffice.
    """
    if (run.path / "checkpoints" / RL_STAGE).exists() and not is_finished(config, run):
        raise RefusedError(
            f"the players of {run.path} have begun their game without a fine-tuning: take another"
            " --run-dir for one."
        )
    pretrained, settings = open_pretrained(config), config.sft
    count = 0 if settings.teacher else settings.questions
    questions = open_task(config, run.cache_dir, num_train=count)
    if settings.teacher is None:
        documents = []
        with (
            refuse_bad_values(),
            track("tokenise questions", len(questions.train)) as progress,
        ):
            for number in progress:
                question = questions.train[number]
                asked = pretrained.prompt(questions.prompt(question))
                documents.append(conversation(pretrained, asked, questions.response(question)))
        train_stage_on(config, run, STAGE, pretrained, documents)
        return
    lessons = untested(read_lessons(settings.teacher)[: settings.questions], questions)
    useful = lessons
    if settings.filter_samples and not is_finished(config, run, ABSTRACTION_STAGE):
        useful = _kept(config, run, pretrained, questions, lessons)
    with refuse_bad_values():
        stages = documents_of(pretrained, questions, lessons, useful, settings, config.seed)
    for stage, documents in stages.items():
        if not is_finished(config, run, stage):
            train_stage_on(config, run, stage, pretrained, documents)


def _kept(
    config: TextConfig,
    run: Run,
    pretrained: Pretrained,
    questions: QuestionSet,
    lessons: Seq[Lesson],
) -> list[Lesson]:
    """Returns the lessons that are useful; written down, as verdicts may depend on the machine."""
    path = run.path / USEFUL
    if not path.exists():
        useful = set(keep_useful(config, pretrained, questions, lessons))
        write_json(path, [row for row, lesson in enumerate(lessons) if lesson in useful])
    return [lessons[row] for row in read_json(path)]


def documents_of(
    pretrained: Pretrained,
    questions: QuestionSet,
    lessons: Seq[Lesson],
    useful: Seq[Lesson],
    settings: TextSFTConfig,
    seed: int,
) -> dict[str, list[Document]]:
    """Returns what the two players learn from a teacher, by stage.

    Args:
        pretrained: The model.
        questions: The task, for its instruction.
        lessons: What the solver learns, a share of them without the abstraction.
        useful: What the abstraction generator learns.
        settings: The settings of fine-tuning.
        seed: Chooses which ones are bare.
    """
    read: dict[Lesson, tuple[Pieces, Seq[int]]] = {}
    with track("tokenise lessons", len(lessons)) as progress:
        for number in progress:
            read[lessons[number]] = prompts_of(pretrained, lessons[number], questions.instruction)
    proposals = [
        conversation(pretrained, read[lesson][0].propose, lesson.abstraction) for lesson in useful
    ]
    bare = np.random.default_rng(seed).permutation(len(lessons)) < round(
        settings.bare_share * len(lessons)
    )
    solutions = []
    for lesson, is_bare in zip(lessons, bare, strict=True):
        pieces, hinted = read[lesson]
        solutions.append(
            conversation(pretrained, pieces.bare if is_bare else hinted, lesson.solution)
        )
    return {ABSTRACTION_STAGE: proposals, STAGE: solutions}


def train_stage_on(
    config: TextConfig, run: Run, stage: str, pretrained: Pretrained, documents: Seq[Document]
) -> Params | Adapters:
    """Trains a stage on conversations, or continues where an earlier start was.

    Returns:
        Adapters, or all weights if the rank is 0.

    Raises:
        RefusedError: If no conversation fits a sequence, or memory does not suffice.
    """
    with refuse_bad_values():
        batches = prepare_text(documents, config.task, config.sft, config.seed)
    check_data(run.path, stage, batches.stream.fingerprint)
    print(table(batches.stream.summary()), end="\n\n")
    trainer = Trainer(pretrained, config)
    program = trainer.compile({name: batches[0][name] for name in MODEL_INPUTS})
    state, base = trainer.start(stage)

    def step(state: TrainState, key: jax.Array, number: int) -> tuple[TrainState, dict[str, Any]]:
        del key
        batch = batches[number]
        return program(state, base, {name: batch[name] for name in MODEL_INPUTS})

    key, total = jax.random.key(config.seed), config.sft.steps
    return train_stage(run, stage, config.loop, state=state, step=step, total=total, key=key).params


def prepare_text(
    conversations: Seq[Document], name: str, settings: TextSFTConfig, seed: int
) -> Batches:
    """Makes the batch of every step: conversations, packed, of which the responses are learned.

    Raises:
        ValueError: If no conversation fits a sequence.
    """
    documents = Documents.join(conversations)
    fitted = fit(documents, settings.sequence_length, overlong="drop")
    if len(fitted.documents) == 0:
        raise ValueError(
            f"no conversation fits {settings.sequence_length} tokens, the shortest has"
            f" {documents.lengths.min()}: raise sft.sequence_length."
        )
    if fitted.num_overlong:
        print(
            f"{fitted.num_overlong:,} of {len(documents):,} conversations are longer than"
            f" {settings.sequence_length} tokens and left out"
        )
    packed = best_fit(fitted.documents, settings.sequence_length)
    source = PackedSource(name, packed, True, len(fitted.documents))
    stage = StageSize(settings.steps * settings.batch_size, 1)
    return Batches(mix([source], [stage], block_size=BLOCK, seed=seed), settings.batch_size)


def conversation(pretrained: Pretrained, asked: Seq[int], response: str) -> Document:
    """Returns a prompt with a response as the model would give it.

    The response is encoded by itself, as the model writes it after the prompt's last token, and
    ends with the stop token that the model's template puts after an answer.
    """
    tokens = [*asked, *pretrained.tokenizer.encode(response), _end_of_turn(pretrained)]
    return Document(np.array(tokens, np.int32), prompt_length=len(asked))


def _end_of_turn(pretrained: Pretrained) -> int:
    """Returns the last stop token of a whole conversation; the end of a text if it has none."""
    tokenizer = pretrained.tokenizer
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    stops = [token for token in tokenizer.encode_chat(turns) if token in tokenizer.stop_ids]
    return stops[-1] if stops else tokenizer.eos_id


class Trainer:
    """The update of adapters, or of all weights, whose memory is known before it is taken.

    Args:
        pretrained: The model.
        config: The experiment.
    """

    def __init__(self, pretrained: Pretrained, config: TextConfig) -> None:
        self._pretrained, self._config = pretrained, config
        self._model = dataclasses.replace(pretrained.model, remat=config.sft.remat)
        self._optimizer = make_optimizer(config.sft.optimizer, config.sft.steps)

    def compile(self, batch: Any) -> Callable[..., tuple[TrainState, dict[str, Any]]]:
        """Compiles the update, tells the memory that it takes and refuses what does not fit.

        Raises:
            RefusedError: If there is not so much memory.
        """
        trained, base = self._shapes()
        state = jax.eval_shape(lambda params: init_state(self._optimizer, params), trained)
        step = partial(_update, self._model, self._optimizer, self._config.sft.microbatches)
        lowered = jax.jit(step, donate_argnums=0).lower(state, base, batch)
        program = lowered.compile(compiler_options=least_memory(self._model))
        gradients = size_of(trained)
        work = program.memory_analysis().temp_size_in_bytes
        adapters = {} if base is None else {"adapters": size_of(trained)}
        check_memory(
            {
                "parameters": size_of(trained if base is None else base),
                **adapters,
                "gradients": gradients,
                "optimiser": size_of(state.opt_state),
                "activations": max(work - gradients, 0),
            }
        )
        return program

    def start(self, stage: str) -> tuple[TrainState, Params | None]:
        """Loads the model; returns a stage's state before its first update, and what is frozen."""
        lora = self._config.sft.lora
        if lora is None:
            return init_state(self._optimizer, self._pretrained.load("float32")), None
        number = (STAGE, ABSTRACTION_STAGE).index(stage)
        key = jax.random.fold_in(jax.random.key(self._config.seed), 1 + number)
        adapters = init_adapters(lora, self._model, key)
        return init_state(self._optimizer, adapters), self._pretrained.load(self._config.dtype)

    def _shapes(self) -> tuple[Params | Adapters, Params | None]:
        """Returns what is trained and what is frozen, as shapes."""
        return trained_shapes(self._config, self._pretrained), (
            self._pretrained.shapes(self._config.dtype) if self._config.sft.lora else None
        )


def _update(
    model: ModelConfig,
    optimizer: optax.GradientTransformation,
    microbatches: int,
    state: TrainState,
    base: Params | None,
    batch: Any,
) -> tuple[TrainState, dict[str, Any]]:
    """Makes one update, with the counts of skipped updates among its metrics."""
    state, metrics = supervised_step(
        model, optimizer, state, batch, base=base, num_microbatches=microbatches
    )
    in_a_row, total = skipped_updates(state.opt_state)
    return state, metrics | {SKIPPED_IN_A_ROW: in_a_row, SKIPPED: total}


def trained_shapes(config: TextConfig, pretrained: Pretrained) -> Params | Adapters:
    """Returns what fine-tuning trains, as shapes; always float32."""
    lora = config.sft.lora
    if lora is None:
        return pretrained.shapes("float32")
    return jax.eval_shape(lambda: init_adapters(lora, pretrained.model, jax.random.key(0)))


def is_finished(config: TextConfig, run: Run, stage: str = STAGE) -> bool:
    """Tells whether a stage of a run's fine-tuning has been run to its end."""
    return (run.path / "checkpoints" / stage / str(config.sft.steps) / SEAL).exists()


def load_tuned(config: TextConfig, run: Run, pretrained: Pretrained) -> Params | Adapters:
    """Returns what fine-tuning trained.

    Raises:
        RefusedError: If it has not been run to its end.
    """
    target = {"params": trained_shapes(config, pretrained)}
    return load_stage(run.path, STAGE, config.sft.steps, target)["params"]
