"""The paper's reasoning sets, and the controls it lacks, from a large source and a small one.

See "Front-Loading Reasoning" by Akter et al. (https://arxiv.org/abs/2510.03264): LDQ is large and
diverse, SHQ small and of high quality, LMQ their union, ALF the part of LDQ with long traces.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from data.mixture_config import Source

PAPER_PASSES = 6.0  # of pretraining over SHQ, five to seven
PAPER_SHQ_PART = 0.04  # of the plain union's tokens, 3.4 to 4.8%
PAPER_LONG_TRACE = 4096  # tokens


def reasoning_sets(
    large: Source,
    small: Source,
    *,
    shq_part: float = PAPER_SHQ_PART,
    shq_passes: float = PAPER_PASSES,
    long_trace: int = PAPER_LONG_TRACE,
) -> Mapping[str, tuple[Source, ...]]:
    """Returns the sources of each reasoning set.

    Args:
        large: The large, diverse source.
        small: The small source of high quality.
        shq_part: SHQ's part of LMQ's loss-bearing tokens; the paper does not say its own.
        shq_passes: How often the stream passes through SHQ; `LDQ_matched_to_SHQ` takes so few
            examples of the large source that it is passed through as often, which tells diversity
            from repetition.
        long_trace: Tokens from which on a trace is long enough for ALF.

    Returns:
        By name, the sources to put beside the base ones: `LDQ`, `SHQ`, `LMQ`, `ALF`,
        `LDQ_matched_to_SHQ`, and `disjoint`: the problems of the small source that the mixture's
        `held_out_share` keeps from SHQ, so that fine-tuning on them meets no known problem.
    """
    change = dataclasses.replace
    return MappingProxyType(
        {
            "LDQ": (large,),
            "SHQ": (change(small, max_passes=max(small.max_passes, shq_passes)),),
            "LMQ": (
                change(large, weight=1 - shq_part),
                change(small, weight=shq_part, max_passes=max(small.max_passes, shq_passes)),
            ),
            "ALF": (change(large, min_trace_tokens=long_trace),),
            "LDQ_matched_to_SHQ": (change(large, match_passes=shq_passes),),
            "disjoint": (change(small, part="held_out"),),
        }
    )
