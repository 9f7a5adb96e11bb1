"""The studies of the two-player game on the rule task: `python -m train.rlad`."""
