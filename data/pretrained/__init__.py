"""Models that others trained: their weights, tokenizers and chat templates, read and written."""
