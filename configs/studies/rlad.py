"""The studies of the game at their full size: five seeds side by side."""

from train.rlad.config import StudyConfig

CONFIG = StudyConfig()
