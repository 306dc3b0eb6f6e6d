"""The environment of a run: versions, devices, source, command."""

import importlib.metadata
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_PACKAGES = (
    "jaxresearch",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "scipy",
    "orbax-checkpoint",
    "tensorflow-datasets",
)

_SETTINGS = (
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_enable_x64",
    "jax_threefry_partitionable",
)
_SECRET = re.compile(r"(^|[-_])(api-?key|key|token|password|passwd|secret|credentials?)($|[-_])", re.IGNORECASE)


def environment(*, seeds: Sequence[int] | Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Returns what reproducing a run requires of the machine and the software.

    Args:
        seeds: The seeds of the run; of a sweep or a study, by purpose.

    Returns:
        Versions, devices, the JAX settings that change results, the git commit of the working directory and whether it has
        changes, the command line, the seeds and the time (UTC). Environment variables may hold secrets and are
        not recorded, nor are the values of arguments named key, token, password or secret, and credentials in URLs.

    Example:
        >>> sorted(environment(seeds=[0]))
        ['command', 'devices', 'git', 'jax', 'packages', 'platform', 'python', 'seeds', 'started']
    """
    import jax

    program = Path(sys.argv[0])
    return {
        "command": [program.parent.name if program.name == "__main__.py" else program.name, *_filtered(sys.argv[1:])],
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "git": _git(),
        "jax": jax_settings(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "python": platform.python_version(),
        "seeds": {name: list(own) for name, own in seeds.items()} if isinstance(seeds, Mapping) else list(seeds),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def jax_settings() -> dict[str, Any]:
    """Returns the JAX settings that change results.

    Example:
        >>> jax_settings()["jax_threefry_partitionable"]
        True
    """
    import jax

    return {name: jax.config.values[name] for name in _SETTINGS}


def _filtered(words: list[str]) -> list[str]:
    """Returns the words of a command line without secrets."""
    filtered: list[str] = []
    follows_secret = False
    for word in words:
        name, equals, _ = word.partition("=")
        is_secret = name.startswith("-") and _SECRET.search(name) is not None
        shown = f"{name}=***" if is_secret and equals else "***" if follows_secret else word
        filtered.append(re.sub(r"://[^/@\s]+@", "://***@", shown))
        follows_secret = is_secret and not equals
    return filtered


def _git() -> dict[str, Any] | None:
    """Returns the commit of the working directory and whether it has changes; None outside a repository."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        status = subprocess.run(
            ["git", "status", "--porcelain"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(status.stdout.strip())}
