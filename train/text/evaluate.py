"""Evaluation of a pretrained model on questions whose answers a verifier judges."""

import jax

from data.questions import QuestionSet
from data.verifier_pool import VerifierPool
from jaxreason.model import Adapters, Params, attach
from train.errors import refuse_bad_values
from train.loop import Run
from train.report import write_report
from train.text import sft
from train.text.answers import Answerer, Compiled
from train.text.config import TextConfig
from train.text.figure import save_figure
from train.text.measures import Judged
from train.text.pair import evaluate_pairs
from train.text.pretrained import Pretrained, open_pretrained, open_task, size_of
from train.text.referee import open_pool
from train.text.results import BASE, report


def evaluate_text(config: TextConfig, run: Run) -> None:
    """Evaluates the pretrained model and, where a run has them, the fine-tuned one and the pair.

    Writes evaluation.json, samples.json, figure.png and report.html into the run folder, and
    pair.json if there are both players' warm starts or they have played the game.

    Args:
        config: The experiment.
        run: Where to write; finished stages there are evaluated too.

    Raises:
        RefusedError: If the model or the questions can't be had, or memory does not suffice.
    """
    pretrained = open_pretrained(config)
    questions = open_task(config, run.cache_dir, num_train=0)
    evaluator = Evaluator(config, pretrained, questions)
    judged = {}
    with open_pool(questions, config.evaluation) as pool:
        shapes = pretrained.shapes(config.dtype)
        compiled = evaluator.answerer.compile(shapes, unloaded=size_of(shapes))
        base = pretrained.load(config.dtype)
        judged[BASE] = evaluator.judge(base, compiled, BASE, pool)
        if sft.is_finished(config, run):
            trained = sft.trained_shapes(config, pretrained)
            shapes = jax.eval_shape(tuned_params, shapes, trained)
            compiled = evaluator.answerer.compile(shapes, unloaded=size_of(trained))
            tuned = tuned_params(base, sft.load_tuned(config, run, pretrained))
            judged[sft.STAGE] = evaluator.judge(tuned, compiled, sft.STAGE, pool)
        elif (run.path / "checkpoints" / sft.STAGE).exists():
            print(f"the stage {sft.STAGE} of {run.path} is not finished; it is left out")
    report(config, run, questions, judged)
    try:
        evaluate_pairs(config, run, pretrained, base, questions)
    finally:  # what was measured is shown, even if the pairs' questions or memory do not fit
        save_figure(run.path)
        print(f"\nthe report: {write_report(run.path)}")


def tuned_params(base: Params, trained: Params | Adapters) -> Params:
    """Returns what fine-tuning trained as the model takes it."""
    return attach(base, trained) if isinstance(trained, Adapters) else trained


class Evaluator:
    """The questions of an evaluation, ready to be put to models of one shape.

    Args:
        config: The experiment.
        pretrained: The model.
        questions: The task.
    """

    def __init__(self, config: TextConfig, pretrained: Pretrained, questions: QuestionSet) -> None:
        self._questions, self._samples = questions.test, config.evaluation.samples
        with refuse_bad_values():
            prompts = [pretrained.prompt(questions.prompt(each)) for each in questions.test]
        self.answerer = Answerer(
            pretrained.model, pretrained.tokenizer, prompts, config.evaluation, config.seed
        )

    def judge(self, params: Params, compiled: Compiled, stage: str, pool: VerifierPool) -> Judged:
        """Draws responses and has them judged."""
        answers = self.answerer.answer(params, compiled, f"evaluate {stage}")
        references = [question.reference for question in self._questions]
        with refuse_bad_values():
            verdicts = pool.score(
                [text for texts in answers.texts for text in texts],
                [reference for reference in references for _ in range(self._samples)],
            )
        shape = (len(references), self._samples)
        rewards, valid = verdicts.rewards.reshape(shape), verdicts.valid.reshape(shape)
        return Judged(answers, rewards, valid, verdicts)
