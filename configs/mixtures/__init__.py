"""Mixtures for the data programs, one file each: `python -m data.plan NAME`."""
