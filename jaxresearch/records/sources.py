"""The experiment's files that a run directory keeps, so that a run can be resumed when they have changed or are gone.

A directory may come from elsewhere, and what it brings along is not to be run unseen. So its configuration carries a seal, a
message authentication code of the digests with a key that only this user has.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxresearch import catalogue
from jaxresearch.records.files import digest_of_json, make_folder, write_file
from jaxresearch.records.run_directory import RunDirectory

SOURCE = "source"  # the folder, and the entry of config.json with the digest of each file by its path
_KEY_BYTES = 32


def digests_of(sources: Mapping[str, bytes]) -> dict[str, str]:
    """Returns the SHA-256 of each file by its path.

    Args:
        sources: Contents by path.

    Example:
        >>> digests_of({"my.py": b""})["my.py"][:8]
        'e3b0c442'
    """
    return {name: hashlib.sha256(content).hexdigest() for name, content in sources.items()}


def sealed(sources: Mapping[str, bytes]) -> dict[str, Any]:
    """Returns the entries of ``config.json`` about an experiment's files: their digests and their seal.

    Args:
        sources: Contents by path. Nothing is sealed where the key can be neither read nor kept.
    """
    digests, key = digests_of(sources), _key()
    return {SOURCE: digests, "seal": None if key is None else _seal(key, digests)}


def is_sealed(config: Mapping[str, Any]) -> bool:
    """Returns whether this user's key sealed what a configuration says of its experiment's files.

    Args:
        config: As in ``config.json``.
    """
    key, seal = _key(), config.get("seal")
    return key is not None and isinstance(seal, str) and hmac.compare_digest(seal, _seal(key, config[SOURCE]))


def keep_sources(directory: RunDirectory, sources: Mapping[str, bytes]) -> None:
    """Writes an experiment's files into the folder ``source`` of a run's directory.

    Args:
        directory: Of the run.
        sources: Contents by path.
    """
    for name, content in sources.items():
        file = directory.path / SOURCE / name
        for folder in (*reversed(file.relative_to(directory.path).parents[:-1]),):
            make_folder(directory.path / folder)
        write_file(file, content)


def kept_source(path: Path, config: Mapping[str, Any]) -> Path:
    """Returns the kept copy of an experiment's file, once all files beside it are verified, too.

    Args:
        path: The run's directory.
        config: Its ``config.json``.

    Raises:
        ValueError: If a file is missing or altered.
    """
    folder = path / SOURCE
    for name, digest in config[SOURCE].items():
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{path / 'config.json'} must name files in {folder}, got {name!r}. Restore it.")
        if differs(folder / name, digest):
            raise ValueError(
                f"{folder / name} must be as the run kept it, but is missing or was altered. Restore it, or name the "
                f"experiment's file: jaxresearch resume {path} --experiment FILE"
            )
    return folder / next(iter(config[SOURCE]))


def require_outside(name: str, path: Path) -> None:
    """Raises where an experiment lies in the directory of its run: what a directory brings along is data, and is not run.

    Args:
        name: Of the experiment, as in ``config.json``.
        path: The run's directory.

    Raises:
        ValueError: If it does.
    """
    if catalogue.file_of(name).resolve().is_relative_to(path.resolve()):
        raise ValueError(f"experiment must not lie in the directory itself, got {name}. Move it out.")


def experiment_of(path: Path, config: Mapping[str, Any]) -> tuple[str, str | None]:
    """Returns the name of the file to load a run's experiment from, and a line where it is the copy that the run kept.

    The file that the run was begun with is taken while it and those beside it are as they were.

    Args:
        path: The run's directory.
        config: Its ``config.json``.

    Returns:
        The name, or the path of the copy; and the line, or None.

    Raises:
        ValueError: If the copy was altered, or was not kept by this user; if the experiment lies in the directory.
    """
    name, file = config["experiment"], catalogue.file_of(config["experiment"])
    require_outside(name, path)
    kept = config.get(SOURCE)
    if not kept:
        return name, None  # a record of version 0.1
    changed = [one for one, digest in kept.items() if differs(file.parent / one, digest)]
    if not changed:
        return name, None
    what = f"{file.parent / changed[0]} {'has changed' if (file.parent / changed[0]).is_file() else 'is gone'}"
    copy = kept_source(path, config)
    if not is_sealed(config):
        raise ValueError(
            f"{what}, and the copy in {path} was not kept by this user: it is not run unseen. Read it, then pass "
            f"--experiment {copy}"
        )
    return str(copy), f"{what} since the run began: its copy in {copy.parent} is used"


def differs(file: Path, digest: str) -> bool:
    """Returns whether a file is missing, cannot be read, or has another SHA-256.

    Args:
        file: To be read.
        digest: As of `digests_of`.
    """
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() != digest
    except OSError:
        return True


def _seal(key: bytes, digests: Mapping[str, str]) -> str:
    """Returns the message authentication code of digests: HMAC with SHA-256."""
    return hmac.new(key, digest_of_json(dict(digests)).encode(), "sha256").hexdigest()


def _key() -> bytes | None:
    """Returns the key of this user, made at its first use; None where it can be neither read nor kept."""
    try:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        file = state / "jaxresearch" / "key"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as written:
                written.write(secrets.token_bytes(_KEY_BYTES))
        key = file.read_bytes()
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        return None
    return key if len(key) == _KEY_BYTES else None
