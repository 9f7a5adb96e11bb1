"""Programs with a pretrained model on problems in text."""
