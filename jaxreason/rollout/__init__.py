"""Compiled generation under a stated distribution, and its exact scorer."""

from jaxreason.rollout.buckets import pad_prompts
from jaxreason.rollout.generate import (
    Generation,
    Rollout,
    advance,
    begin,
    completion_log_probs,
    generate,
)
from jaxreason.rollout.queue import QueueCounts, generate_queue
from jaxreason.rollout.sampling import Sampling, sample_token

__all__ = [
    "Generation",
    "QueueCounts",
    "Rollout",
    "Sampling",
    "advance",
    "begin",
    "completion_log_probs",
    "generate",
    "generate_queue",
    "pad_prompts",
    "sample_token",
]
