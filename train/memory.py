"""How much memory a program will take, told and checked before anything is allocated."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import jax

from jaxreason.model import ModelConfig
from train.errors import RefusedError

MEBIBYTE = 1 << 20


def check_memory(parts: Mapping[str, int]) -> None:
    """Prints what a program needs and refuses it if that is more than there is.

    Args:
        parts: Bytes of each part, by what it holds.

    Raises:
        RefusedError: If the parts do not fit; it holds the arithmetic.
    """
    total = sum(parts.values())
    terms = " + ".join(f"{name} {in_words(size)}" for name, size in parts.items())
    told = f"{terms} = {in_words(total)}" if len(parts) > 1 else terms
    room = available_memory()
    print(
        f"memory: {told}" + (f" of {in_words(room)} free" if room is not None else ""),
        file=sys.stderr,
    )
    if room is not None and total > room:
        raise RefusedError(
            f"this needs {told}, and {in_words(room)} are free: take a smaller batch, a shorter"
            " length, a 16-bit type or a smaller model."
        )


def available_memory() -> int | None:
    """Returns the free bytes of the first device, or of the machine; None if it can't tell."""
    if jax.default_backend() != "cpu":
        stats = jax.local_devices()[0].memory_stats()  # where programs put everything
        if stats and "bytes_limit" in stats:
            return int(stats["bytes_limit"] - stats["bytes_in_use"])
        return None
    table = Path("/proc/meminfo")
    if table.exists():
        for line in table.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return min([int(value.split()[0]) * 1024, *_container_memory()])
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _container_memory(folder: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Returns the bytes that a container's limit leaves, if it has one.

    As Linux's control groups of version 2 tell; files that were read and can be dropped don't count
    as used: https://docs.kernel.org/admin-guide/cgroup-v2.html.
    """
    files = [folder / f"memory.{name}" for name in ("max", "current", "stat")]
    if not all(file.exists() for file in files):
        return []
    most, used, parts = (file.read_text(encoding="ascii") for file in files)
    if most.strip() == "max":
        return []
    droppable = dict(line.split() for line in parts.splitlines()).get("inactive_file", "0")
    return [int(most) - int(used) + int(droppable)]


def least_memory(*models: ModelConfig) -> dict[str, str] | None:
    """Returns compiler options with which rematerialisation saves memory also on a CPU.

    XLA's usual scheduler there computes again early, all layers at once, which saves nothing.

    Args:
        models: The models of a program.
    """
    if jax.default_backend() != "cpu" or all(model.remat == "none" for model in models):
        return None
    return {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


def in_words(size: int) -> str:
    """Returns a number of bytes as people write it.

    Example:
        >>> in_words(3 << 20)
        '3 MiB'
    """
    if size < 1024 * MEBIBYTE:
        return f"{size / MEBIBYTE:,.0f} MiB"
    return f"{size / (1024 * MEBIBYTE):,.1f} GiB"
