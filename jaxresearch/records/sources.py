"""The experiment's files that a run directory keeps, so that a run can be used when they have changed or are gone.

A directory may come from elsewhere, and what it names or contains must not run unseen. So its configuration carries a seal: a
message authentication code, with a key that only this user has, of the experiment's name, the folder and the digests.
"""

import atexit
import hashlib
import hmac
import os
import secrets
import shutil
import tempfile
import warnings
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


def sealed(name: str, sources: Mapping[str, bytes]) -> dict[str, Any]:
    """Returns the entries of ``config.json`` about an experiment's files: the folder, their digests and the seal.

    Args:
        name: The experiment's name or path, absolute.
        sources: Contents by path, the experiment's own file first. Without a key that can be kept there is no seal.
    """
    entries, key = {"folder": str(Path.cwd()), SOURCE: digests_of(sources)}, _key()
    if key is None:
        warnings.warn(
            f"no key can be kept in {_key_file()}: resume and predict will need --experiment {name}", stacklevel=2
        )
    return {**entries, "seal": None if key is None else _seal(key, {"experiment": name, **entries})}


def is_sealed(config: Mapping[str, Any]) -> bool:
    """Returns whether this user's key sealed what a configuration says of its experiment.

    Args:
        config: As in ``config.json``.
    """
    key, seal, kept = _key(), config.get("seal"), config.get(SOURCE)
    if key is None or not isinstance(seal, str) or not isinstance(kept, dict):
        return False
    return hmac.compare_digest(seal.encode(), _seal(key, config).encode())


def folder_of(config: Mapping[str, Any]) -> Path:
    """Returns the folder in which a run was started, or the current one if it is gone or this user did not seal it.

    Args:
        config: As in ``config.json``.
    """
    folder = config.get("folder")
    return Path(folder) if is_sealed(config) and isinstance(folder, str) and Path(folder).is_dir() else Path.cwd()


def keep_sources(directory: RunDirectory, sources: Mapping[str, bytes]) -> None:
    """Writes an experiment's files into the folder ``source`` of a run's directory, in place of what it held.

    Args:
        directory: Of the run.
        sources: Contents by path.
    """
    directory.remove(SOURCE)
    for name, content in sources.items():
        file = directory.path / SOURCE / name
        for folder in (*reversed(file.relative_to(directory.path).parents[:-1]),):
            make_folder(directory.path / folder)
        write_file(file, content)


def require_outside(name: str, path: Path) -> None:
    """Raises where an experiment lies in the directory of its run: what a directory contains is data, and does not run.

    Args:
        name: Of the experiment, as in ``config.json``.
        path: The run's directory.

    Raises:
        ValueError: If it does.
    """
    if catalogue.file_of(name).resolve().is_relative_to(path.resolve()):
        raise ValueError(f"experiment must not be inside the run directory, got {name}. Move it out.")


def experiment_of(path: Path, config: Mapping[str, Any], *, named: str | None = None) -> tuple[str, str | None]:
    """Returns the file to load a run's experiment from, and a line to print if it is the copy that the run kept.

    The file that the run was started with is taken while it and the modules beside it are unchanged.

    Args:
        path: The run's directory.
        config: Its ``config.json``.
        named: The file that the user names instead, which is taken as it is.

    Returns:
        The name, or the absolute path of the named file or of the copy; and the line, or None.

    Raises:
        ValueError: If the copy was altered, or this user did not record the run; if the experiment lies in the directory.
    """
    if named is not None:
        return os.path.abspath(named), None
    name = config["experiment"]
    require_outside(name, path)
    if not is_sealed(config):
        own = catalogue.shipped() / f"{name}.py"
        if own.is_file():  # trusted wherever the directory comes from
            return str(own), None
        raise ValueError(
            f"{path} was not recorded by this user, so the experiment that it names, {name}, does not run unseen. Read it, "
            "then pass --experiment FILE."
        )
    file, kept = catalogue.file_of(name), config[SOURCE]
    own, *beside = kept
    pairs = [(file, kept[own]), *((file.parent / one, kept[one]) for one in beside)]
    changed = next((one for one, digest in pairs if _differs(one, digest)), None)
    if changed is None:
        return name, None
    what = f"{changed} {'has changed' if changed.is_file() else 'is gone'}"
    return str(_copied(path, kept)), f"{what} since the run started: using its copy in {path / SOURCE}"


def _copied(path: Path, kept: Mapping[str, str]) -> Path:
    """Returns a verified copy of the kept files, in a folder of its own: nothing else of the directory can be imported."""
    folder = Path(tempfile.mkdtemp(prefix="jaxresearch-source-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, digest in kept.items():
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{path / 'config.json'} must name files in {path / SOURCE}, got {name!r}. Restore it.")
        file = path / SOURCE / name
        content = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError(
                f"{file} is missing or was altered. Restore it, or name the experiment's file: --experiment FILE"
            )
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / next(iter(kept))


def _differs(file: Path, digest: str) -> bool:
    """Returns whether a file is missing, cannot be read, or has another SHA-256."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() != digest
    except OSError:
        return True


def _seal(key: bytes, config: Mapping[str, Any]) -> str:
    """Returns the message authentication code of a configuration's experiment: HMAC with SHA-256."""
    about = {"experiment": config.get("experiment"), "folder": config.get("folder"), SOURCE: [*config[SOURCE].items()]}
    return hmac.new(key, digest_of_json(about).encode(), "sha256").hexdigest()


def _key_file() -> Path:
    """Returns where the key of this user is kept."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser())
    return state / "jaxresearch" / "key"


def _key() -> bytes | None:
    """Returns the key of this user, created at its first use; None if it can be neither read nor kept."""
    try:
        file = _key_file()
        if not file.is_file() or file.stat().st_size != _KEY_BYTES:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=file.parent)  # readable by this user alone
            with os.fdopen(descriptor, "wb") as written:
                written.write(secrets.token_bytes(_KEY_BYTES))
            _put(Path(name), file)
        return file.read_bytes()
    except (OSError, RuntimeError):  # no home, or a read-only one
        return None


def _put(made: Path, file: Path) -> None:
    """Moves a key into place; one that another process put there first stays."""
    try:
        if file.is_file() and file.stat().st_size != _KEY_BYTES:
            file.unlink()
        os.link(made, file)
    except FileExistsError:
        pass
    finally:
        made.unlink()
