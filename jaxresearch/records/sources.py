"""Copies of the experiment's files in a run directory, so that a run can be resumed after they change or disappear.

A directory may come from elsewhere, and its code must not run without review. So its configuration carries a seal: a message
authentication code of the digests with a key that only this user has.
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

SOURCE = "source"  # the folder, and the entry of config.json with the digest of each file
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
    """Returns the entries of ``config.json`` for an experiment's files: their digests and their seal.

    Args:
        sources: Contents by path. There is no seal if the key can be neither read nor written.
    """
    digests, key = digests_of(sources), _key()
    return {SOURCE: digests, "seal": None if key is None else _seal(key, digests)}


def is_sealed(config: Mapping[str, Any]) -> bool:
    """Returns whether this user's key sealed the digests in a configuration.

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
    """Returns the kept copy of an experiment's file after verifying it and all files beside it.

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
                f"{folder / name} is missing or was altered. Restore it, or name the "
                f"experiment's file: jaxresearch resume {path} --experiment FILE"
            )
    return folder / next(iter(config[SOURCE]))


def experiment_of(path: Path, config: Mapping[str, Any]) -> tuple[str, str | None]:
    """Returns the file from which to load a run's experiment, and a line for the user if it is the run's copy.

    The original file is used as long as it and the files beside it are unchanged.

    Args:
        path: The run's directory.
        config: Its ``config.json``.

    Returns:
        The name, or the path of the copy; and the line, or None.

    Raises:
        ValueError: If the copy was altered or not kept by this user; if the experiment is inside the directory.
    """
    name, file = config["experiment"], catalogue.file_of(config["experiment"])
    if file.resolve().is_relative_to(path.resolve()):  # files of a directory are data, not code to run
        raise ValueError(f"experiment must not be inside the run directory, got {name}. Move it out.")
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
            f"{what}, and the copy in {path} was not kept by this user, so it is not run. Review it, then pass "
            f"--experiment {copy}"
        )
    return str(copy), f"{what} since the run started: using its copy in {copy.parent}"


def differs(file: Path, digest: str) -> bool:
    """Returns whether a file is missing, cannot be read, or has another SHA-256.

    Args:
        file: Any.
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
    """Returns this user's key, created at the first use; None if it can be neither read nor written."""
    try:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        file = state / "jaxresearch" / "key"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as written:
                written.write(secrets.token_bytes(_KEY_BYTES))
        key = file.read_bytes()
    except (OSError, RuntimeError):  # no home folder, or it is not writable
        return None
    return key if len(key) == _KEY_BYTES else None
