"""The arms of the studies: each is the game of the config with one thing changed."""

import dataclasses
from types import MappingProxyType
from typing import Any

from jaxreason.optimizer import make_optimizer
from jaxreason.rlad import GameConfig, Player, iterations_per_round, updates_per_round
from train.rlad.config import StudyConfig

WARM, RLAD, GRPO = "warm", "rlad", "grpo"
_TURNS = MappingProxyType({"problems": 16, "solutions": 2, "bare": 2, "schedule": "alternating"})
"""Turns, with two solutions under each abstraction and four without: rates to compare."""

CHANGES: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        RLAD: {},
        GRPO: {"abstractions": 0, "bare": 1, "solutions": 11, "mask_bare": False},
        "naive": {"mask_bare": False},
        "shared": {"shared": True},
        "joint": {"shared": True, "bare": 0},
        "alternating": {**_TURNS},
        "rft": {**_TURNS, "abstraction_update": "rft"},
        "preference": {**_TURNS, "abstraction_update": "preference"},
        "no_kl": {"kl_coef": 0.0},
        "no_entropy": {"entropy_coef": 0.0},
    }
)
"""What each arm changes of the game of `StudyConfig`. `grpo` has one policy and as many solutions
as take the tokens that `rlad` spends on both players."""

TITLES = MappingProxyType(
    {
        WARM: "warm start",
        RLAD: "RLAD",
        GRPO: "GRPO, one policy",
        "naive": "naive reward",
        "shared": "one shared model",
        "joint": "one joint trajectory",
        "alternating": "turns, generator online",
        "rft": "turns, generator by RFT",
        "preference": "turns, generator by preference",
        "no_kl": "no KL",
        "no_entropy": "no entropy bonus",
    }
)


def game_of(config: StudyConfig, arm: str) -> GameConfig:
    """Returns an arm's game."""
    return dataclasses.replace(config.game, **CHANGES[arm])


def rounds_of(config: StudyConfig, arm: str, iterations: int) -> int:
    """Returns how many rounds of an arm make so many iterations."""
    return iterations // iterations_per_round(game_of(config, arm))


def players_of(config: StudyConfig, arm: str) -> tuple[Player, Player]:
    """Returns an arm's players, with learning rates for the updates that they will make."""
    game, rounds = game_of(config, arm), rounds_of(config, arm, config.iterations)
    optimizers = (config.abstraction_optimizer, config.solution_optimizer)
    return tuple(
        Player(
            config.world.model, make_optimizer(optimizer, rounds * updates_per_round(game, part))
        )
        for part, optimizer in zip(("abstraction", "solution"), optimizers, strict=True)
    )
