"""Mixtures with an exact reasoning density: how many sequences, in which order, packed how."""

from jaxreason.mixture.density import realised_density, sequences_per_block
from jaxreason.mixture.packing import Document, Packed, best_fit, concatenate_and_cut
from jaxreason.mixture.permutation import permuted_index
from jaxreason.mixture.schedule import Location, Schedule, locate

__all__ = [
    "Document",
    "Location",
    "Packed",
    "Schedule",
    "best_fit",
    "concatenate_and_cut",
    "locate",
    "permuted_index",
    "realised_density",
    "sequences_per_block",
]
