"""The front-loading experiment in the small: `python -m train.front_loading --help`."""
