"""Compiled generation under a stated distribution, and its exact scorer."""

from jaxreason.rollout.generate import Rollout, completion_log_probs, generate
from jaxreason.rollout.sampling import Sampling, sample_token

__all__ = ["Rollout", "Sampling", "completion_log_probs", "generate", "sample_token"]
