"""The same at a size that runs in a minute or two: it shows that everything works, not more."""

from jaxreason.model import ModelConfig
from jaxreason.optimizer import OptimizerConfig
from jaxreason.rlad import GameConfig
from jaxreason.tasks import RuleInductionConfig
from train.rlad.config import EvaluationConfig, StudyConfig, WarmUpConfig, WorldConfig

_MUON = OptimizerConfig(method="muon", learning_rate=1e-2, warmup_steps=2)
_SMALL = ModelConfig(
    vocab_size=64, dim=16, num_layers=1, num_heads=2, num_kv_heads=1, hidden_dim=16
)

CONFIG = StudyConfig(
    seeds=2,
    world=WorldConfig(
        task=RuleInductionConfig(primitives=("reverse", "add 1", "sort"), list_length=2),
        model=_SMALL,
        large=_SMALL,
        filter_samples=2,
        base=WarmUpConfig(steps=4, documents=8, optimizer=_MUON),
        warm_start=WarmUpConfig(steps=2, documents=8, optimizer=_MUON),
    ),
    game=GameConfig(
        problems=2,
        abstractions=2,
        solutions=1,
        solution_group="problem",
        abstraction_estimator="grpo",
        turn=1,
    ),
    iterations=4,
    chunk=2,
    evaluation=EvaluationConfig(
        problems=4, abstractions=2, solutions=2, bare=4, allocation_solutions=2
    ),
)
