"""A tiny decoder, and tiny tokenizers of each kind, as Hugging Face folders and as GGUF files."""

import functools
import io
import json
from types import MappingProxyType

import jax
import pytest
import sentencepiece

from data.pretrained.save import save_pretrained
from jaxreason.model import ModelConfig, init

CONFIG = ModelConfig(vocab_size=11, dim=8, num_layers=2, num_heads=2, num_kv_heads=1, hidden_dim=12)

TEXTS = [
    "the quick brown fox jumps over the lazy dog, then the end of the story",
    "def f(x):\n    return x + 12345\n\n\n    # the  two  spaces",
    "Zwölf Boxkämpfer jagen Viktor über den großen Sylter Deich",
    "漢字かな交じり文 and 한국어 \U0001f469\u200d\U0001f469\u200d\U0001f467",
] * 4
CHAT = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SENTENCEPIECE = {
    "model_type": "bpe",
    "vocab_size": 420,
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "minloglevel": 2,
}
LLAMA = SENTENCEPIECE | {"add_dummy_prefix": True}
GEMMA = SENTENCEPIECE | {
    "add_dummy_prefix": False,
    "control_symbols": ["<|im_start|>", "<|im_end|>", "<start_of_turn>"],
    "user_defined_symbols": ["\n", "\n\n", "\u2581\u2581", "<table>", "<think>"],
    **{"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3},
}


def _train_sentencepiece(settings):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, **settings
    )
    return model.getvalue()


def _train_byte_level():
    """A byte-level encoding like SmolLM2's, with a tag that its file doesn't call special."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, letters])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in ("<think>", "\t\t", "</think>")])
    return tokenizer


def _write_folder(folder, files):
    folder.mkdir()
    for name, content in files.items():
        if isinstance(content, dict):
            content = json.dumps(content)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def _write_gguf(path, metadata, tensors=MappingProxyType({})):
    """Writes a GGUF file; what is said of the tokenizer needs no prefix."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    for key, value in metadata.items():
        name = key if key.startswith(("tokenizer.", "llama.")) else f"tokenizer.ggml.{key}"
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, bool):
            writer.add_bool(name, value)
        else:
            kinds = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}
            kinds[type(value)](name, value)
    for name, value in tensors.items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _metadata_of_byte_level(tokenizer, pre="smollm"):
    """What a converter writes of a byte-level encoding."""
    spec = json.loads(tokenizer.to_str())
    ids = dict(spec["model"]["vocab"])
    ids |= {token["content"]: token["id"] for token in spec["added_tokens"]}
    special = {token["id"]: token["special"] for token in spec["added_tokens"]}
    kinds = {True: 3, False: 4, None: 1}
    return {
        "model": "gpt2",
        "pre": pre,
        "tokens": sorted(ids, key=ids.get),
        "token_type": [kinds[special.get(number)] for number in range(len(ids))],
        "merges": [" ".join(merge) for merge in spec["model"]["merges"]],
        "bos_token_id": 0,
        "eos_token_id": 2,
        "add_bos_token": False,
        "tokenizer.chat_template": CHAT,
    }


def _metadata_of_sentencepiece(model, **changes):
    """What a converter writes of a sentencepiece model, which it reads through the package."""
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    numbers = range(pieces.vocab_size())
    texts = [pieces.id_to_piece(number) for number in numbers]
    user_defined = {"\n", "\n\n", "\u2581\u2581", "<table>", "<think>"} if changes else set()
    types = [
        2
        if pieces.is_unknown(number)
        else 3
        if pieces.is_control(number)
        else 6
        if pieces.is_byte(number)
        else 4
        if texts[number] in user_defined
        else 1
        for number in numbers
    ]
    return {
        "model": "llama",
        "pre": "default",
        "tokens": texts,
        "scores": [float(pieces.get_score(number)) for number in numbers],
        "token_type": types,
        "bos_token_id": pieces.bos_id(),
        "eos_token_id": pieces.eos_id(),
        "tokenizer.chat_template": CHAT,
        **changes,
    }


@pytest.fixture(scope="session")
def sentencepiece_models():
    return {"llama": _train_sentencepiece(LLAMA), "gemma": _train_sentencepiece(GEMMA)}


@pytest.fixture(scope="session")
def byte_level():
    pytest.importorskip("tokenizers", reason="tokenizers of pretrained models need it")
    return _train_byte_level()


@pytest.fixture(scope="session")
def byte_level_metadata(byte_level):
    return _metadata_of_byte_level(byte_level)


@pytest.fixture
def write_folder(tmp_path):
    return lambda files: _write_folder(tmp_path / "model", files)


@pytest.fixture
def write_gguf(tmp_path):
    pytest.importorskip("gguf", reason="GGUF files need the package gguf")
    return functools.partial(_write_gguf, tmp_path / "model.gguf")


@pytest.fixture(scope="session")
def source(byte_level, sentencepiece_models, tmp_path_factory):
    """Returns the path of a tokenizer by its kind; those ending in `_gguf` are GGUF files."""
    folder = tmp_path_factory.mktemp("tokenizers")
    llama, gemma = sentencepiece_models["llama"], sentencepiece_models["gemma"]
    settings = {"bos_token": SPECIAL[0], "eos_token": SPECIAL[2], "chat_template": CHAT}
    files = {"tokenizer.json": byte_level.to_str(), "tokenizer_config.json": settings}
    _write_folder(folder / "byte_level", files)
    _write_folder(folder / "llama", {"tokenizer.model": llama})
    _write_folder(folder / "gemma", {"tokenizer.model": gemma, "chat_template.jinja": CHAT})
    metadata = {
        "byte_level_gguf": lambda: _metadata_of_byte_level(byte_level),
        "llama_gguf": lambda: _metadata_of_sentencepiece(llama),
        "gemma_gguf": lambda: _metadata_of_sentencepiece(gemma, add_space_prefix=False),
    }

    def of_kind(kind):
        path = folder / kind
        if kind in metadata and not path.exists():
            pytest.importorskip("gguf", reason="GGUF files need the package gguf")
            _write_gguf(path, metadata[kind]())
        return path

    return of_kind


@pytest.fixture
def config():
    return CONFIG


@pytest.fixture(scope="session")
def params():
    return jax.jit(init, static_argnums=0)(CONFIG, jax.random.key(0))


@pytest.fixture
def folder(params, tmp_path):
    save_pretrained(tmp_path / "model", CONFIG, params)
    return tmp_path / "model"


@pytest.fixture
def sharded(params, tmp_path):
    save_pretrained(tmp_path / "sharded", CONFIG, params, shard_bytes=1000)
    return tmp_path / "sharded"
