"""The main job: everything, small, in less than ten minutes on two CPU cores."""

from train.config import ExperimentConfig

CONFIG = ExperimentConfig()
