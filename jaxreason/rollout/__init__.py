"""Compiled generation under a stated distribution, and its exact scorer."""

from jaxreason.rollout.buckets import pad_prompts
from jaxreason.rollout.generate import Rollout, completion_log_probs, generate
from jaxreason.rollout.sampling import Sampling, sample_token

__all__ = [
    "Rollout",
    "Sampling",
    "completion_log_probs",
    "generate",
    "pad_prompts",
    "sample_token",
]
