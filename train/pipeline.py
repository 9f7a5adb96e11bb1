"""The whole experiment: `python -m train.pipeline [NAME] [--dotted.setting value ...]`.

data -> pretraining -> two warm starts -> two-player game -> inference over m abstractions x k
solutions -> voting, with an evaluation after every stage and a report. A run that was stopped
continues where it was.
"""

import sys
import time

from train.config import ExperimentConfig
from train.evaluate import compare, evaluate_stage, read_evaluation
from train.forecast import plan
from train.loop import Run
from train.measure import Evaluator
from train.pretrain import pretrain
from train.program import run_program
from train.progress import clock, print_plan
from train.report import write_report
from train.rl import load_warm_starts, make_task, make_vocabulary, reinforce
from train.sft import fine_tune
from train.summary import summary_table


def run_pipeline(config: ExperimentConfig, run: Run) -> None:
    """Runs every stage of an experiment and writes its report.

    Args:
        config: The experiment.
        run: Where to write.
    """
    started = time.monotonic()
    print_plan(plan(config))
    base = pretrain(config, run)
    evaluator = Evaluator(config, make_task(config, make_vocabulary(config, run)))
    evaluate_stage(config, run, evaluator, "pretrain", (base, base))
    evaluate_stage(config, run, evaluator, "sft", fine_tune(config, run))
    trained = reinforce(config, run)
    scores = evaluate_stage(config, run, evaluator, "rl", trained)
    compare(run, evaluator, load_warm_starts(config, run), trained, scores)
    print(f"\n{summary_table(read_evaluation(run))}\n")
    print(f"took {clock(time.monotonic() - started)}; the report: {write_report(run.path)}")


if __name__ == "__main__":
    run_program(
        "pipeline",
        "Trains both players from nothing, evaluates every stage and writes a report.",
        run_pipeline,
        sys.argv[1:],
    )
