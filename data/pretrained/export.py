"""Models that leave: weights together with the tokenizer and the settings that they need."""

from pathlib import Path
from typing import Any

from data.pretrained.models import open_model, open_tokenizer
from data.pretrained.save import save_pretrained
from data.pretrained.sources import read_object
from data.pretrained.tokenizer_files import (
    CONFIG,
    GENERATION,
    MODEL,
    SPEC,
    TEMPLATE,
    tokenizer_files,
)
from data.tokenizer import Tokenizer
from jaxreason.model import ModelConfig, Params

TOKENIZER_FILES = (
    *(SPEC, CONFIG, MODEL, TEMPLATE, "chat_template.json", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "merges.txt"),
)
"""What transformers looks for beside the weights."""
_WRITTEN_BY = ("_from_model_config", "transformers_version")  # of generation_config.json


def export_model(
    source: str | Path,
    target: str | Path,
    config: ModelConfig,
    params: Params,
    *,
    dtype: str = "float32",
) -> None:
    """Writes a model that came from a pretrained one, and all that belongs to that one.

    The tokenizer with its chat template, the ids of special tokens, the settings of generation and
    the longest context are those of the source.

    Args:
        source: Where the pretrained model lies: a folder of Hugging Face's, or a GGUF file.
        target: The folder to write, which must not be there yet.
        config: The decoder's shape.
        params: Its parameters, with adapters merged.
        dtype: Type of the weights in the folder: float32, bfloat16 or float16.

    Raises:
        ValueError: If the source can't be read, or the target not be written, see
            `save_pretrained`.
    """
    source = Path(source).expanduser()
    base = open_model(source).config
    generation, files = (_of_gguf if source.is_file() else _of_folder)(source)
    save_pretrained(
        target, config, params, dtype=dtype, base=base, generation=generation, files=files
    )


def export_own(
    target: str | Path,
    config: ModelConfig,
    params: Params,
    tokenizer: Tokenizer,
    *,
    max_length: int,
    dtype: str = "float32",
) -> None:
    """Writes a model that was trained here from nothing, with its tokenizer.

    Args:
        target: The folder to write, which must not be there yet.
        config: The decoder's shape.
        params: Its parameters.
        tokenizer: The tokenizer that it was trained with.
        max_length: The longest sequence that it has seen, at which generation ends.
        dtype: Type of the weights in the folder: float32, bfloat16 or float16.

    Raises:
        ValueError: If the target can't be written, see `save_pretrained`.
    """
    base = {
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
        "max_position_embeddings": max_length,
    }
    save_pretrained(
        target,
        config,
        params,
        dtype=dtype,
        base=base,
        generation={"max_length": max_length},
        files=tokenizer_files(tokenizer),
    )


def _of_folder(source: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Returns the settings of generation, and the files of the tokenizer byte for byte."""
    file = source / GENERATION
    given = read_object(file) if file.is_file() else {}
    there = [name for name in TOKENIZER_FILES if (source / name).is_file()]
    return (
        {name: value for name, value in given.items() if name not in _WRITTEN_BY},
        {name: (source / name).read_bytes() for name in there},
    )


def _of_gguf(source: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Returns the tokens that end an answer, and the files of the tokenizer in the file."""
    tokenizer = open_tokenizer(source)
    first, *others = tokenizer.stop_ids
    return {"eos_token_id": [first, *others] if others else first}, tokenizer_files(tokenizer)
