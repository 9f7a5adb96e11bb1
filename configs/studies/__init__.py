"""Studies of the two-player game, see `train.rlad`."""
