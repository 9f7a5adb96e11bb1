"""Jittable families of problems: generate, render and verify on the device."""

from jaxreason.sequences import Sequence, compact, concatenate, constant_sequence
from jaxreason.tasks.digit_lists import PRIMITIVES, DigitList, apply_primitive, apply_rule
from jaxreason.tasks.rendering import decode, to_text
from jaxreason.tasks.rule_induction import Problem, RuleInductionConfig, rule_table, sample
from jaxreason.tasks.rule_induction_task import make_rule_induction
from jaxreason.tasks.task import SPLITS, Task
from jaxreason.tasks.text_task import TextProblem, make_text_task
from jaxreason.tasks.vocabulary import SYMBOLS, Vocabulary

__all__ = [
    "PRIMITIVES",
    "SPLITS",
    "SYMBOLS",
    "DigitList",
    "Problem",
    "RuleInductionConfig",
    "Sequence",
    "Task",
    "TextProblem",
    "Vocabulary",
    "apply_primitive",
    "apply_rule",
    "compact",
    "concatenate",
    "constant_sequence",
    "decode",
    "make_rule_induction",
    "make_text_task",
    "rule_table",
    "sample",
    "to_text",
]
