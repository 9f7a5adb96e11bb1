"""The two-player game of RLAD: credit, play, the compiled iteration, and inference budgets."""

from jaxreason.rlad.config import GameConfig
from jaxreason.rlad.credit import Credit, assign_credit
from jaxreason.rlad.inference import Ballots, abstraction_ballots, pass_at_k, solution_ballots
from jaxreason.rlad.iteration import GameState, Player, PlayerState, init_game, iterate
from jaxreason.rlad.play import Play, play, propose, solve

__all__ = [
    "Ballots",
    "Credit",
    "GameConfig",
    "GameState",
    "Play",
    "Player",
    "PlayerState",
    "abstraction_ballots",
    "assign_credit",
    "init_game",
    "iterate",
    "pass_at_k",
    "play",
    "propose",
    "solution_ballots",
    "solve",
]
