"""Experiments: one frozen dataclass each, `CONFIG`, by the name of its file."""
