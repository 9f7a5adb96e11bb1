"""The grid: every cell once, parents first, names that differ."""

import dataclasses

import pytest

from train.front_loading.config import GridConfig, SFTSettings
from train.front_loading.grid import ARMS, Cell, cells, with_parents
from train.front_loading.hypotheses import HYPOTHESES

CONFIG = GridConfig(seeds=(0, 1))


def test_every_cell_is_there_once_after_its_parent():
    found = cells(CONFIG.seeds)
    assert len(set(found)) == len(found)
    for place, cell in enumerate(found):
        assert cell.parent is None or cell.parent in found[:place]
    assert {cell.seed for cell in found} == {0, 1}
    assert {cell.arm for cell in found} == set(ARMS)


def test_names_tell_cells_apart():
    names = [cell.name for cell in cells(CONFIG.seeds)]
    assert len(set(names)) == len(names)
    assert Cell(3, "lmq", "shq", times=2).name == "lmq-sft_shq_x2-seed3"
    assert Cell(3, "lmq", "ldq", equal_tokens=True, rl=True).name == "lmq-sft_ldq_tokens-rl-seed3"


def test_stages_and_parents():
    cell = Cell(0, "none", "shq", rl=True)
    line = with_parents([cell])
    assert [one.stage for one in line] == ["pretrain", "sft", "rl"]
    assert line == [Cell(0, "none"), Cell(0, "none", "shq"), cell]


def test_every_cell_of_a_hypothesis_is_in_the_grid():
    found = set(cells(CONFIG.seeds))
    for hypothesis in HYPOTHESES:
        for side in (hypothesis.first, hypothesis.second):
            for arm in side.arms:
                settings = dataclasses.asdict(side)
                del settings["arms"]
                assert Cell(0, arm, **settings) in found


def test_settings_that_can_not_work_are_refused():
    with pytest.raises(ValueError, match="seeds must be at least one and differ"):
        GridConfig(seeds=(0, 0))
    with pytest.raises(ValueError, match="learning rate of fine-tuning must be constant"):
        SFTSettings(optimizer=dataclasses.replace(SFTSettings().optimizer, final_fraction=0.5))
