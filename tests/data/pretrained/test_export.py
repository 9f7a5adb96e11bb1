"""A model that leaves as it came: new weights, with the tokenizer and settings of the old ones."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.pretrained.export import export_model, export_own
from data.pretrained.load import load_pretrained
from data.pretrained.models import open_model
from data.pretrained.save import save_pretrained
from data.pretrained.sources import SafetensorsFolder
from data.pretrained.tokenizer_files import read_tokenizer
from data.tokenizer import Tokenizer, train_tokenizer

FILES = {  # bytes that a rewritten JSON would not have
    "tokenizer.json": b'{"version":"1.0",\t"model": {}}',
    "tokenizer_config.json": b'{"eos_token":   "<|im_end|>"}',
    "special_tokens_map.json": b"{}\n",
    "chat_template.jinja": "{{ messages }} \N{EURO SIGN}".encode(),
    "merges.txt": b"#version: 0.2\r\n",
}
GENERATION = {
    "bos_token_id": 3,
    "eos_token_id": [2, 7],
    "pad_token_id": 5,
    "do_sample": True,
    "temperature": 0.6,
    "top_p": 0.95,
    "_from_model_config": True,
    "transformers_version": "4.99.0",
}


def read(file):
    return json.loads(file.read_text())


@pytest.fixture
def source(config, params, tmp_path):
    base = {"eos_token_id": [2, 7], "bos_token_id": 3, "max_position_embeddings": 77}
    folder = tmp_path / "source"
    save_pretrained(folder, config, params, base=base, files=FILES)
    (folder / "generation_config.json").write_text(json.dumps(GENERATION))
    (folder / "model.py").write_text("raise SystemExit")
    return folder


def test_everything_but_the_weights_stays(source, config, params, tmp_path):
    trained = jax.tree.map(lambda leaf: leaf + 1, params)
    export_model(source, tmp_path / "out", config, trained)
    names = {"config.json", "generation_config.json", "model.safetensors", *FILES}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == FILES
    expected = {name: GENERATION[name] for name in list(GENERATION)[:6]}
    assert read(tmp_path / "out" / "generation_config.json") == expected
    assert read(tmp_path / "out" / "config.json") == read(source / "config.json")
    _, found = load_pretrained(SafetensorsFolder(tmp_path / "out"), dtype="float32")
    jax.tree.map(np.testing.assert_array_equal, found, trained)


def test_a_source_without_settings_of_generation(source, config, params, tmp_path):
    """What config.json says of special tokens is what transformers took."""
    (source / "generation_config.json").unlink()
    export_model(source, tmp_path / "out", config, params)
    ids = {"bos_token_id": 3, "eos_token_id": [2, 7], "pad_token_id": None}
    assert read(tmp_path / "out" / "generation_config.json") == ids


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("generation_config.json", "[]", "generation_config.json must hold a JSON object"),
        ("config.json", "{", "config.json is not JSON"),
    ],
)
def test_a_source_that_can_not_be_read_is_named(
    source, config, params, tmp_path, name, content, sentence
):
    (source / name).write_text(content)
    with pytest.raises(ValueError, match=sentence):
        export_model(source, tmp_path / "out", config, params)
    assert not (tmp_path / "out").exists()


LLAMA = {
    "llama.context_length": 99,
    "llama.embedding_length": 8,
    "llama.block_count": 1,
    "llama.feed_forward_length": 12,
    "llama.attention.head_count": 1,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
}
LAYER = {
    **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (8, 8)),
    **{"attn_norm": (8,), "ffn_norm": (8,)},
    **{"ffn_gate": (12, 8), "ffn_up": (12, 8), "ffn_down": (8, 12)},
}


def test_a_gguf_file_becomes_a_folder(byte_level_metadata, write_gguf, tmp_path):
    """With the tokens that end a turn, and the tokenizer that lies in the file."""
    metadata = byte_level_metadata | {"eot_token_id": 0} | LLAMA
    shapes = {"token_embd": (len(metadata["tokens"]), 8), "output_norm": (8,)}
    shapes |= {f"blk.0.{name}": shape for name, shape in LAYER.items()}
    rng = np.random.default_rng(0)
    tensors = {f"{n}.weight": rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    path = write_gguf(metadata, tensors)
    config, params = load_pretrained(open_model(path), dtype="float32")
    export_model(path, tmp_path / "out", config, params)
    ids = {"bos_token_id": 0, "eos_token_id": [0, 2], "pad_token_id": None}
    assert read(tmp_path / "out" / "generation_config.json") == ids
    held = read(tmp_path / "out" / "config.json")
    assert (held["eos_token_id"], held["max_position_embeddings"]) == (2, 99)
    ours, theirs = read_tokenizer(path), read_tokenizer(tmp_path / "out")
    assert ours.spec == theirs.spec and ours.config == theirs.config
    assert ours.stop_ids == theirs.stop_ids == (0, 2)
    again, found = load_pretrained(SafetensorsFolder(tmp_path / "out"), dtype="float32")
    assert again == config
    jax.tree.map(np.testing.assert_array_equal, found, params)


def test_a_model_of_our_own(config, params, tmp_path):
    pytest.importorskip("tokenizers", reason="tokenizers of pretrained models need it")
    texts = ["the quick brown fox 12345", "jumps over"] * 4
    tokenizer = Tokenizer(train_tokenizer(texts, vocab_size=300, symbols=["<think>"]))
    export_own(tmp_path / "own", config, params, tokenizer, max_length=64, dtype="float16")
    ids = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
    generation = read(tmp_path / "own" / "generation_config.json")
    assert generation == ids | {"max_length": 64}
    held = read(tmp_path / "own" / "config.json")
    assert held.items() >= (ids | {"max_position_embeddings": 64, "torch_dtype": "float16"}).items()
    again = read_tokenizer(tmp_path / "own")
    assert again.encode(" fox <think>", with_tags=True) == tokenizer.encode(
        " fox <think>", with_tags=True
    )
    _, found = load_pretrained(SafetensorsFolder(tmp_path / "own"), dtype="float32")
    assert found["embedding"].dtype == jnp.float32
