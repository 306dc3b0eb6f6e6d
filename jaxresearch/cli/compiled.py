"""The cache of compiled programs on disk, bounded: the least recently used are removed first."""

import contextlib
import os
from pathlib import Path

import jax

_MOST_BYTES = 2**28  # about ten thousand programs for a CPU


def keep() -> None:
    """Sets up JAX's cache on disk, in the user's cache folder unless JAX has another, which is not pruned."""
    if not jax.config.values["jax_compilation_cache_dir"]:
        with contextlib.suppress(RuntimeError, OSError):  # no home folder: no cache
            folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxresearch" / "xla"
            jax.config.update("jax_compilation_cache_dir", str(folder))
            prune(folder, most=_MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # JAX leaves out small programs by default
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def prune(folder: Path, *, most: int) -> None:
    """Removes the least recently used files of a folder once they exceed a number of bytes, down to half of it.

    JAX's own bound (``jax_compilation_cache_max_size``) takes a lock at each access, and in 0.10.2 it fails permanently once
    a killed process has left an entry without its access time.
    """
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        found = [(entry.path, entry.stat()) for entry in entries if entry.is_file()]
    n_bytes = sum(stat.st_size for _, stat in found)
    if n_bytes <= most:
        return
    for path, stat in sorted(found, key=lambda one: max(one[1].st_atime, one[1].st_mtime)):
        if n_bytes <= most // 2:
            return
        Path(path).unlink(missing_ok=True)  # another process may prune as well
        n_bytes -= stat.st_size
