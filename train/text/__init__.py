"""Programs with a pretrained model on text: evaluation, fine-tuning, the two-player game."""
