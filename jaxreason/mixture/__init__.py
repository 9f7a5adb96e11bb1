"""Mixtures with an exact reasoning density: how many sequences, in which order, packed how."""

from jaxreason.mixture.allocation import Allocation, OnCap, allocate, passes_needed
from jaxreason.mixture.documents import Document, Documents, Fitted, Overlong, fit
from jaxreason.mixture.packing import (
    Layout,
    Packed,
    best_fit,
    concatenate_and_cut,
    lay_out,
    packed_size,
    positions_of,
)
from jaxreason.mixture.permutation import fold_in, permuted_index
from jaxreason.mixture.schedule import (
    Location,
    Schedule,
    locate,
    read_before,
    rebase,
    running_counts,
)
from jaxreason.mixture.shares import SourceSize, StageSize, realised_density

__all__ = [
    "Allocation",
    "Document",
    "Documents",
    "Fitted",
    "Layout",
    "Location",
    "OnCap",
    "Overlong",
    "Packed",
    "Schedule",
    "SourceSize",
    "StageSize",
    "allocate",
    "best_fit",
    "concatenate_and_cut",
    "fit",
    "fold_in",
    "lay_out",
    "locate",
    "packed_size",
    "passes_needed",
    "permuted_index",
    "positions_of",
    "read_before",
    "realised_density",
    "rebase",
    "running_counts",
]
