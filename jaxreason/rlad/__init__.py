"""The two-player game of RLAD: credit, play, the compiled iteration, and inference budgets."""

from jaxreason.rlad.allocation import (
    AbstractionAccuracy,
    Calibration,
    abstraction_accuracy,
    bare_calibration,
    calibration_of,
    expected_tokens,
    pass_at_mk,
)
from jaxreason.rlad.config import GameConfig
from jaxreason.rlad.controls import CONTROLS, control_abstractions
from jaxreason.rlad.credit import Credit, assign_credit
from jaxreason.rlad.curriculum import ProblemPool, draw_problems, make_pool, pool_weights
from jaxreason.rlad.inference import Ballots, abstraction_ballots, pass_at_k, solution_ballots
from jaxreason.rlad.iteration import iterate, learn, play_round
from jaxreason.rlad.leakage import find_leaks, spells_answer
from jaxreason.rlad.metrics import game_metrics
from jaxreason.rlad.planner import Plan, plan
from jaxreason.rlad.play import Play, play, propose, solve
from jaxreason.rlad.players import GameState, Player, PlayerState, init_game
from jaxreason.rlad.schedule import (
    iterations_per_round,
    play_turns,
    train_game,
    updates_per_round,
)
from jaxreason.rlad.success import predict_pass
from jaxreason.rlad.updates import Proposals, Samples, learn_offline, learn_online
from jaxreason.rlad.voted import voted_accuracy
from jaxreason.rlad.warm_start import raises_success

__all__ = [
    "CONTROLS",
    "AbstractionAccuracy",
    "Ballots",
    "Calibration",
    "Credit",
    "GameConfig",
    "GameState",
    "Plan",
    "Play",
    "Player",
    "PlayerState",
    "ProblemPool",
    "Proposals",
    "Samples",
    "abstraction_accuracy",
    "abstraction_ballots",
    "assign_credit",
    "bare_calibration",
    "calibration_of",
    "control_abstractions",
    "draw_problems",
    "expected_tokens",
    "find_leaks",
    "game_metrics",
    "init_game",
    "iterate",
    "iterations_per_round",
    "learn",
    "learn_offline",
    "learn_online",
    "make_pool",
    "pass_at_k",
    "pass_at_mk",
    "plan",
    "play",
    "play_round",
    "play_turns",
    "pool_weights",
    "predict_pass",
    "propose",
    "raises_success",
    "solution_ballots",
    "solve",
    "spells_answer",
    "train_game",
    "updates_per_round",
    "voted_accuracy",
]
