"""Docstrings, arithmetic and rule induction: a mixture that every machine can build offline."""

from data.mixture_config import MixtureConfig, Source, Stage, TokenizerConfig
from data.readers import Docstrings, RuleProblems, WordProblems

MIXTURE = MixtureConfig(
    sources=(
        Source("docstrings", Docstrings()),
        Source(
            "arithmetic",
            WordProblems(num_problems=5000),
            renderer="problem_trace_answer",
            group="reasoning",
            near_duplicates=None,
        ),
        Source(
            "rules",
            RuleProblems(num_problems=5000),
            renderer="rule_induction",
            group="reasoning",
            near_duplicates=None,
        ),
    ),
    stages=(Stage(tokens=600_000, reasoning_token_share=0.0), Stage(400_000, 0.2)),
    sequence_length=256,
    block_size=64,
    tokenizer=TokenizerConfig(vocab_size=2048),
)
