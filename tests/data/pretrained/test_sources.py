"""Folders of safetensors: what they hold is what was written, and what is wrong has a name."""

import json
import struct

import jax.numpy as jnp
import numpy as np
import pytest

from data.pretrained.sources import SafetensorsFolder
from data.pretrained.tensor_file import map_tensor, read_entries, write_tensors

TENSORS = {
    "a": np.arange(6.0).reshape(2, 3),
    "b": np.array([0.5, -2.0]),
    "none": np.zeros((0, 3)),
    "one": np.array(7.0),
}


def write(file, dtype=np.float32, tensors=TENSORS):
    shapes = {name: array.shape for name, array in tensors.items()}
    write_tensors(file, shapes, np.dtype(dtype), lambda name: tensors[name].astype(dtype))


def rewrite_header(file, change):
    """Applies a change to the header of a file."""
    content = file.read_bytes()
    end = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:end])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[end:])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, jnp.bfloat16])
def test_what_is_written_is_read(tmp_path, dtype):
    write(tmp_path / "file", dtype)
    entries = read_entries(tmp_path / "file")
    assert list(entries) == list(TENSORS)
    for name, expected in TENSORS.items():
        array = map_tensor(tmp_path / "file", entries[name])
        assert array.dtype == dtype and array.shape == expected.shape
        np.testing.assert_array_equal(array.astype(np.float64), expected)
        assert name == "none" or not array.flags.writeable


def test_the_format_is_that_of_its_library(tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason="pip install safetensors")
    write(tmp_path / "ours")
    theirs = library.load_file(tmp_path / "ours")
    assert {name: array.tolist() for name, array in theirs.items()} == {
        name: array.tolist() for name, array in TENSORS.items()
    }
    library.save_file({"a": TENSORS["a"]}, tmp_path / "theirs")
    entry = read_entries(tmp_path / "theirs")["a"]
    np.testing.assert_array_equal(map_tensor(tmp_path / "theirs", entry), TENSORS["a"])


@pytest.mark.parametrize(
    "kept, sentence", [(-1, "is truncated: it has"), (5, "is truncated, or no")]
)
def test_a_truncated_file_is_named(folder, kept, sentence):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=rf"model\.safetensors {sentence}"):
        SafetensorsFolder(folder)


def cut_shape(header):
    header["model.norm.weight"]["shape"] = [7]


def odd_type(header):
    header["model.norm.weight"]["dtype"] = "F8_E4M3"


def no_offsets(header):
    del header["model.norm.weight"]["data_offsets"]


def negative(header):
    header["model.norm.weight"]["data_offsets"] = [-32, 0]


@pytest.mark.parametrize(
    "change, sentence",
    [
        (cut_shape, r"is damaged: the bytes of the tensor model\.norm\.weight don't fit its shape"),
        (odd_type, r"the tensor model\.norm\.weight is of type F8_E4M3; weights may be F64, F32"),
        (no_offsets, r"its header does not describe the tensor model\.norm\.weight"),
        (negative, r"its header does not describe the tensor model\.norm\.weight"),
    ],
)
def test_a_damaged_header_is_named(folder, change, sentence):
    rewrite_header(folder / "model.safetensors", change)
    with pytest.raises(ValueError, match=rf"model\.safetensors.*{sentence}"):
        SafetensorsFolder(folder)


@pytest.mark.parametrize(
    "content, sentence",
    [
        (struct.pack("<Q", 3) + b"[1]", "its header is not a JSON object"),
        (struct.pack("<Q", 3) + b"\xff{]", "its header is not JSON"),
        (b"PK\x03\x04" + 60 * b"pickle", "its header is cut"),
        (b"", "its header is cut"),
    ],
)
def test_other_files_are_refused(folder, content, sentence):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=rf"model\.safetensors .*{sentence}"):
        SafetensorsFolder(folder)


def test_shards_hold_what_one_file_holds(folder, sharded):
    one, many = SafetensorsFolder(folder), SafetensorsFolder(sharded)
    assert len(list(sharded.glob("*.safetensors"))) > 2
    assert one.shapes == many.shapes
    for name in one.shapes:
        np.testing.assert_array_equal(one.read(name), many.read(name))


def test_a_missing_shard_is_named(sharded):
    second = sorted(sharded.glob("*.safetensors"))[1]
    second.unlink()
    with pytest.raises(ValueError, match=f"{second.name} can't be read .No such file"):
        SafetensorsFolder(sharded)


@pytest.mark.parametrize(
    "places, sentence",
    [
        ({"w": "../outside.safetensors"}, "names '../outside.safetensors', which is not a file of"),
        (
            {"w": "model-00001-of-00005.safetensors"},
            "lacks the tensor w, which model.safetensors.in",
        ),
        ({"w": 1}, "has no weight_map"),
        (None, "has no weight_map"),
    ],
)
def test_an_index_that_can_not_be_is_refused(sharded, places, sentence):
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(ValueError, match=sentence):
        SafetensorsFolder(sharded)


def test_pickles_are_never_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        ValueError, match=r"pickled weights only \(pytorch_model.bin\), which are ne"
    ):
        SafetensorsFolder(folder)


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        ValueError, match="holds no model.safetensors and no model.safetensors.index"
    ):
        SafetensorsFolder(folder)


@pytest.mark.parametrize(
    "content, sentence",
    [
        (None, "can't be read .No such file"),
        ("{", "is not JSON"),
        ("[]", "must hold a JSON object"),
    ],
)
def test_a_config_that_can_not_be_read_is_named(folder, content, sentence):
    (folder / "config.json").unlink()
    if content:
        (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match=f"config.json {sentence}"):
        SafetensorsFolder(folder)


def test_no_folder(tmp_path):
    with pytest.raises(ValueError, match="there is no folder .*/nowhere"):
        SafetensorsFolder(tmp_path / "nowhere")
