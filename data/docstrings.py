"""A corpus of real English that every machine has: the standard library's docstrings."""

import ast
import hashlib
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

SOURCE_ROOT = Path(sysconfig.get_path("stdlib"))
MIN_CHARACTERS = 40
SKIPPED_FOLDERS = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test"})
HELD_OUT_ONE_IN = 50


class PythonDocstrings(tfds.core.GeneratorBasedBuilder):
    """Docstrings of the running interpreter's standard library, each text once.

    Splits: `train`, and `held_out` (2%, chosen by the text's hash). Needs no TensorFlow; build it
    with `file_format="array_record"` and read it with `as_data_source`.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(
            name=f"python_{platform.python_version().replace('.', '_')}",
            description="The docstrings of the interpreter that built the data set.",
        )
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {"text": tfds.features.Text(), "module": tfds.features.Text()}
        )
        return tfds.core.DatasetInfo(builder=self, description=self.__doc__, features=features)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager
        examples = {text: module for module, text in library_docstrings(SOURCE_ROOT)}
        if not examples:
            raise ValueError(
                f"found no docstrings below {SOURCE_ROOT}; install an interpreter that brings its"
                " standard library as source files."
            )
        return {
            "train": self._generate_examples(examples, held_out=False),
            "held_out": self._generate_examples(examples, held_out=True),
        }

    def _generate_examples(self, examples: dict[str, str], held_out: bool) -> Iterator:
        for text, module in examples.items():
            identity = hashlib.sha256(text.encode()).hexdigest()
            if (int(identity, 16) % HELD_OUT_ONE_IN == 0) == held_out:
                yield identity, {"text": text, "module": module}


def library_docstrings(root: Path) -> Iterator[tuple[str, str]]:
    """Yields `(module, docstring)` of all modules, classes and functions below a folder.

    Args:
        root: A folder of Python sources; tests and installed packages in it are skipped, as are
            files that this interpreter can't parse.

    Yields:
        The module's dotted name and a docstring of at least `MIN_CHARACTERS`, unindented.
    """
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if SKIPPED_FOLDERS.isdisjoint(relative.parts):
            module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
            for text in _docstrings(path.read_bytes()):
                yield module, text


def _docstrings(source: bytes) -> Iterator[str]:
    """Yields the cleaned docstrings of one source file."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # deliberately broken sources exist in the library
        return
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented):
            text = (ast.get_docstring(node) or "").strip()
            text = text.encode("utf-8", "replace").decode()  # a lone surrogate has no encoding
            if len(text) >= MIN_CHARACTERS:
                yield text
