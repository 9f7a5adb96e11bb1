"""The front-loading experiment: five seeds, some hours on two CPU cores."""

from train.front_loading.config import GridConfig

CONFIG = GridConfig()
