"""Grids of cells for studies, one file each: `python -m train.front_loading NAME`."""
