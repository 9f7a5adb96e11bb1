"""Where tokenizers of pretrained models come from, and an export that transformers loads."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data.pretrained.gguf_file import GGUFFile
from data.pretrained.sentencepiece_model import read_sentencepiece
from data.pretrained.tokenizer import SPECIAL, PretrainedTokenizer
from data.pretrained.vocabularies import (
    LLAMA3_NAMES,
    PRE_TOKENIZERS,
    byte_level_spec,
    sentencepiece_spec,
    with_start,
)
from data.tokenizer import Tokenizer

SPEC, CONFIG, MODEL = "tokenizer.json", "tokenizer_config.json", "tokenizer.model"
TEMPLATE, GENERATION = "chat_template.jinja", "generation_config.json"
_IDS = {"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id"}
_STOPS = ("eot_token_id", "eom_token_id")  # of a turn, of a message


def read_tokenizer(path: str | Path) -> PretrainedTokenizer:
    """Reads the tokenizer of a pretrained model.

    Args:
        path: A folder of Hugging Face's with `tokenizer.json` or `tokenizer.model`, or a GGUF file.

    Raises:
        ValueError: If there is none, or it can't be read.
    """
    path = Path(path)
    read = _from_folder if path.is_dir() else _from_gguf
    try:
        return read(path)
    except ValueError as error:
        message = str(error)
        raise ValueError(
            message if str(path) in message else f"the tokenizer of {path}: {message}"
        ) from error


def tokenizer_files(tokenizer: PretrainedTokenizer | Tokenizer) -> dict[str, bytes]:
    """Returns a tokenizer's files, which `AutoTokenizer` of transformers loads without other code.

    It takes text as `encode(text, with_tags=True)` does, but for the character U+2581, which
    encodings of sentencepiece's kind read as a space.

    Args:
        tokenizer: A pretrained model's, or one of ours.
    """
    if isinstance(tokenizer, Tokenizer):
        tokenizer = _of_spec(*read_sentencepiece(tokenizer.model), starts=False)
    text = json.dumps(dict(tokenizer.config), ensure_ascii=False, indent=2)
    return {SPEC: tokenizer.spec.encode(), CONFIG: text.encode()}


def write_tokenizer(tokenizer: PretrainedTokenizer | Tokenizer, folder: Path) -> None:
    """Writes a tokenizer's files into an export's folder, which is there."""
    for name, content in tokenizer_files(tokenizer).items():
        (folder / name).write_bytes(content)


def _from_folder(folder: Path) -> PretrainedTokenizer:
    config = _json(folder / CONFIG)
    if (folder / TEMPLATE).is_file():
        config["chat_template"] = _text(folder / TEMPLATE)
    elif isinstance(config.get("chat_template"), list):
        config["chat_template"] = _default_template(config["chat_template"])
    stops = _json(folder / GENERATION).get("eos_token_id")
    stops = [stops] if isinstance(stops, int) else stops or []
    if (folder / SPEC).is_file():
        return PretrainedTokenizer(_text(folder / SPEC), config, stops)
    if not (folder / MODEL).is_file():
        raise ValueError(f"the folder {folder} holds neither {SPEC} nor {MODEL}.")
    spec, ids = read_sentencepiece((folder / MODEL).read_bytes())
    return _of_spec(spec, ids, config.get("add_bos_token", True), stops, config)


def _default_template(templates: list[Any]) -> str | None:
    """Returns the template that is called default."""
    named = {t["name"]: t["template"] for t in templates if {"name", "template"} <= set(t)}
    return named.get("default")


def _from_gguf(path: Path) -> PretrainedTokenizer:
    file = GGUFFile(path)
    model = file.need("tokenizer.ggml.model")
    tokens, types = file.need("tokenizer.ggml.tokens"), file.need("tokenizer.ggml.token_type")
    pre = file.get("tokenizer.ggml.pre")
    if model == "gpt2":
        if pre not in PRE_TOKENIZERS:
            known = ", ".join(PRE_TOKENIZERS)
            raise ValueError(f"its tokenizer.ggml.pre is {pre}; known ones are {known}.")
        spec = byte_level_spec(tokens, types, file.need("tokenizer.ggml.merges"), pre)
    elif model == "llama":
        space_before = file.get("tokenizer.ggml.add_space_prefix", True)
        scores = file.need("tokenizer.ggml.scores")
        spec = sentencepiece_spec(tokens, types, scores, space_before=space_before)
    else:
        raise ValueError(f"its tokenizer.ggml.model is {model}; known ones are gpt2 and llama.")
    ids = {name: file.get(f"tokenizer.ggml.{key}") for name, key in _IDS.items()}
    stops = [file.get(f"tokenizer.ggml.{key}") for key in _STOPS]
    starts = file.get("tokenizer.ggml.add_bos_token", model == "llama" or pre in LLAMA3_NAMES)
    return _of_spec(
        spec,
        {name: number for name, number in ids.items() if number is not None},
        starts,
        [number for number in stops if number is not None],
        {"chat_template": file.get("tokenizer.chat_template")},
    )


def _of_spec(
    spec: dict[str, Any],
    ids: Mapping[str, int],
    starts: bool,
    stops: Sequence[int] = (),
    config: Mapping[str, Any] = MappingProxyType({}),
) -> PretrainedTokenizer:
    """Returns a tokenizer of an encoding that was not Hugging Face's, with settings for it."""
    texts = {number: text for text, number in spec["model"]["vocab"].items()}
    unknown = [number for number in ids.values() if number not in texts]
    if unknown:
        raise ValueError(f"its special token {unknown[0]} is not in the vocabulary.")
    named = {f"{name}_token": texts[number] for name, number in ids.items()}
    if starts and "bos" in ids:
        spec = with_start(spec, texts[ids["bos"]], ids["bos"])
    given = {name: config[name] for name in (*SPECIAL, "chat_template") if config.get(name)}
    # This class of transformers takes tokenizer.json as it is, and cleans nothing up.
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
    }
    text = json.dumps(spec, ensure_ascii=False)
    return PretrainedTokenizer(text, settings | named | given, stops)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} can't be read as text.") from error


def _json(path: Path) -> dict[str, Any]:
    """Returns the object of a JSON file, empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        values = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object.")
    return values
