"""Writing a folder: whole or not at all, with what transformers wants to find."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from data.pretrained.load import load_pretrained
from data.pretrained.save import save_pretrained
from data.pretrained.sources import SafetensorsFolder


def read(file):
    return json.loads(file.read_text())


def test_what_a_folder_holds(config, params, tmp_path):
    base = {
        "eos_token_id": [2, 7],
        "pad_token_id": 0,
        "max_position_embeddings": 99,
        "hidden_size": 1,
        "rope_parameters": {"rope_type": "yarn"},
    }
    save_pretrained(
        tmp_path / "new" / "model",
        config,
        params,
        base=base,
        generation={"temperature": 0.5},
        files={"tokenizer.json": b"{}"},
    )
    folder = tmp_path / "new" / "model"
    names = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"]
    assert sorted(file.name for file in folder.iterdir()) == names
    assert [file.name for file in folder.parent.iterdir()] == ["model"]
    ids = {"bos_token_id": None, "eos_token_id": [2, 7], "pad_token_id": 0}
    assert read(folder / "generation_config.json") == ids | {"temperature": 0.5}
    entries = read(folder / "config.json")
    assert entries.items() >= ids.items()
    assert (entries["architectures"], entries["hidden_size"]) == (["LlamaForCausalLM"], 8)
    assert entries["max_position_embeddings"] == 99 and "rope_parameters" not in entries


def test_shards_and_their_index(sharded, params):
    index = read(sharded / "model.safetensors.index.json")
    assert index["metadata"]["total_size"] == sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    files = sorted(file.name for file in sharded.glob("*.safetensors"))
    assert files == [
        f"model-{n:05}-of-{len(files):05}.safetensors" for n in range(1, len(files) + 1)
    ]
    assert sorted(set(index["weight_map"].values())) == files
    assert max((sharded / name).stat().st_size for name in files) < 1000 + 1500  # and a header


def test_a_folder_that_is_there_stays_as_it_is(config, params, folder):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(
        ValueError, match="model is there already; remove it or name another folder"
    ):
        save_pretrained(folder, config, jax.tree.map(np.zeros_like, params))
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}


class Broken:
    """A parameter that can't be fetched from its device."""

    def __init__(self, leaf):
        self.shape = leaf.shape

    def __array__(self, *args, **kwargs):
        raise RuntimeError("the device is gone")


def test_what_fails_midway_leaves_nothing(config, params, tmp_path):
    broken = params | {"norm": {"scale": Broken(params["norm"]["scale"])}}
    with pytest.raises(RuntimeError, match="the device is gone"):
        save_pretrained(tmp_path / "model", config, broken)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_can_not_be_written_is_named(config, params, folder):
    with pytest.raises(ValueError, match="config.json/model can't be written .Not a directory"):
        save_pretrained(folder / "config.json" / "model", config, params)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"norm": {}}, "the parameters lack norm/scale, unlike those of the config"),
        ({"output": np.zeros((11, 8))}, "the parameters hold output, unlike those of the config"),
        ({"norm": {"scale": np.ones(7)}}, r"norm/scale has shape \[7\]; the config asks for \[8\]"),
    ],
)
def test_parameters_of_another_decoder_are_refused(config, params, tmp_path, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        save_pretrained(tmp_path / "model", config, params | change)
    assert list(tmp_path.iterdir()) == []


def test_a_decoder_that_no_family_has_is_refused(config, params, tmp_path):
    config = dataclasses.replace(config, logit_soft_cap=3.0)
    with pytest.raises(ValueError, match="no family in transformers has such a decoder"):
        save_pretrained(tmp_path / "model", config, params)
    assert list(tmp_path.iterdir()) == []


def test_types(config, params, tmp_path):
    save_pretrained(tmp_path / "half", config, params, dtype="float16")
    source = SafetensorsFolder(tmp_path / "half")
    assert source.config["torch_dtype"] == "float16"
    assert {source.read(name).dtype.name for name in source.shapes} == {"float16"}
    _, tree = load_pretrained(source, dtype="float32")
    expected = jax.tree.map(lambda leaf: leaf.astype(np.float16).astype(np.float32), params)
    jax.tree.map(np.testing.assert_array_equal, tree, expected)
