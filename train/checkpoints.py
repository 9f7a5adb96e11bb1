"""Checkpoints that survive a kill and tell when they are damaged, behind Orbax's manager.

Orbax writes a step into a temporary folder and renames it. Its checksums do not cover the arrays'
bytes, so a *seal* is added last: a JSON file with the checksum of every file and the name, type
and shape of every array. A step without a seal was never finished; one whose files do not match
its seal is damaged. Saving is synchronous: donated buffers may be overwritten right after it.
"""

import hashlib
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from train.errors import RefusedError
from train.run_folder import read_json, write_json

SEAL = "seal.json"


class Checkpoints:
    """The checkpoints of one stage.

    Args:
        directory: Their folder; made if need be.
        keep: How many of the newest are kept; two or more, so that one may be damaged.
        report: Is told, in one sentence, when a checkpoint is passed over; default: a warning.
    """

    def __init__(
        self,
        directory: Path | str,
        keep: int = 2,
        report: Callable[[str], None] = lambda sentence: warnings.warn(sentence, stacklevel=3),
    ) -> None:
        if keep < 2:
            raise RefusedError(f"At least 2 checkpoints must be kept; got {keep}.")
        self._directory = Path(directory).absolute()
        self._report = report
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def save(self, step: int, state: Any) -> None:
        """Writes a checkpoint; when this returns, a kill can't harm it.

        Args:
            step: Names the checkpoint; one of the same step is replaced.
            state: A pytree of arrays, typed keys and numbers; no array may be empty.
        """
        self._discard([step] if step in self._manager.all_steps() else [])
        self._manager.save(step, args=ocp.args.PyTreeSave(state), force=True)
        if jax.process_index() == 0:
            seal = {"arrays": _describe(state), "files": _checksums(self._folder(step))}
            write_json(self._folder(step) / SEAL, seal)

    def restore(self, target: Any, *, partial: bool = False) -> tuple[int, Any] | None:
        """Reads the newest checkpoint that is whole.

        Args:
            target: A tree like the one saved, of arrays or `jax.ShapeDtypeStruct`s; each array
                comes back with the target's sharding, or on the first device if it has none.
            partial: Lets the target leave parts out, as in `{"params": ...}` of a whole state.

        Returns:
            The step and the state, bit for bit as saved; None if nothing was saved.

        Raises:
            RefusedError: If every checkpoint is damaged, or the target does not fit.
        """
        passed_over = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            problem = self._problem(step)
            if problem is None:
                self._discard(passed_over)
                return step, self._read(step, target, partial)
            self._report(f"The checkpoint {self._folder(step)} {problem}; taking the one before.")
            passed_over.append(step)
        if any((self._folder(step) / SEAL).exists() for step in passed_over):
            raise RefusedError(
                f"Every checkpoint in {self._directory} is damaged; remove the folder to start the "
                "stage anew."
            )
        self._discard(passed_over)
        return None

    def steps(self) -> list[int]:
        """Returns the steps of the checkpoints that were finished, the first one first."""
        steps = sorted(self._manager.all_steps())
        return [step for step in steps if (self._folder(step) / SEAL).exists()]

    def read(self, step: int, target: Any) -> Any:
        """Reads part of one checkpoint, and leaves all as they are: a run may be writing others.

        Args:
            step: One of `steps`.
            target: As `restore` takes it; it may leave parts of the state out.

        Raises:
            RefusedError: If the checkpoint is damaged, or the target does not fit.
        """
        problem = self._problem(step)
        if problem is not None:
            raise RefusedError(f"The checkpoint {self._folder(step)} {problem}; take another.")
        return self._read(step, target, partial=True)

    def close(self) -> None:
        """Frees the manager's threads."""
        self._manager.close()

    def _folder(self, step: int) -> Path:
        return self._directory / str(step)

    def _discard(self, steps: list[int]) -> None:
        for step in steps:
            shutil.rmtree(self._folder(step))
        if steps:
            self._manager.reload()

    def _problem(self, step: int) -> str | None:
        """Says what is wrong with a checkpoint, if anything."""
        folder = self._folder(step)
        if not (folder / SEAL).exists():
            return "was never finished"
        try:
            sealed = read_json(folder / SEAL)["files"]
        except (ValueError, KeyError, TypeError):
            return f"is damaged ({SEAL} can't be read)"
        found = _checksums(folder)
        broken = sorted(name for name in sealed if found.get(name) != sealed[name])
        return f"is damaged ({', '.join(broken)})" if broken else None

    def _read(self, step: int, target: Any, partial: bool) -> Any:
        """Reads a whole checkpoint into the target's structure."""
        saved, wanted = read_json(self._folder(step) / SEAL)["arrays"], _describe(target)
        names = wanted if partial else {**saved, **wanted}
        differing = [name for name in names if saved.get(name) != wanted.get(name)]
        if differing:
            name, more = differing[0], len(differing) - 1
            raise RefusedError(
                f"The checkpoint {self._folder(step)} does not fit this program: {name} is "
                f"{saved.get(name, 'missing')} there and {wanted.get(name, 'missing')} here"
                f"{f' (and {more} more)' if more else ''}; take the config that wrote it."
            )
        places = jax.tree.map(_place, target)
        arguments = ocp.checkpoint_utils.construct_restore_args(places)
        return self._manager.restore(
            step,
            args=ocp.args.PyTreeRestore(places, restore_args=arguments, partial_restore=partial),
        )


def _describe(tree: Any) -> dict[str, str]:
    """Returns the type and shape of every leaf by its path, as in `params.w: float32[3, 4]`."""
    described = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        shaped = hasattr(leaf, "shape")
        kind = f"{leaf.dtype}{list(leaf.shape)}" if shaped else type(leaf).__name__
        described[jax.tree_util.keystr(path, simple=True, separator=".")] = kind
    return described


def _place(leaf: Any) -> Any:
    """Returns a leaf's shape, type and sharding; numbers stay as they are."""
    if not hasattr(leaf, "shape"):
        return leaf
    sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(
        jax.local_devices()[0]
    )
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _checksums(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file below a folder, the seal excepted."""
    checksums = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name != SEAL:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            checksums[str(path.relative_to(folder))] = digest
    return checksums
