"""Parameters of another run, read without its experiment, and the copy that a run keeps."""

import functools
import hashlib
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxresearch.records.arrays import quiet
from jaxresearch.records.checkpoints import (
    ARRAYS,
    CheckpointError,
    Checkpoints,
    decrypted_array,
    require_key,
    verify,
)
from jaxresearch.records.commands import resume_command
from jaxresearch.records.files import read_json, require_exists

INITIAL = "initial"  # folder in a run's directory for initial parameters from another run
INITIAL_DIGEST = "initial.json"
_BEFORE_ALL = 0  # their step
_NAME = re.compile(r"\['([^']+)'\]")
_PARAMS = re.compile(
    r"((?:\.inner)*\.params)(?=$|[.\[])(.*)"
)  # algorithms.averaged and stopped keep the outcome in .inner


def read_params(directory: str | Path, *, cipher: Any = None, smoke: bool = True) -> dict[str, Any]:
    """Returns the final parameters of a run, in dicts by name, with a leading axis of seeds.

    Every file of the state is verified first, and nothing in the directory is changed.

    Args:
        directory: Of the run.
        cipher: Decrypts the arrays of an encrypted run; others are read without it.
        smoke: Whether to accept a smoke run, which has hardly learned anything.

    Raises:
        CheckpointError: If there is no state, the run has not ended or is a smoke run, the state does not verify or is
            encrypted, or its parameters are not in dicts.

    Example:
        >>> import tempfile
        >>> from jaxresearch.training import TrainState
        >>> directory = Path(tempfile.mkdtemp())
        >>> state = TrainState({"layer": {"kernel": np.ones((1, 2))}}, {}, ())
        >>> _ = Checkpoints(directory).write(10, state)
        >>> _ = (directory / "result.json").write_text('{"smoke": false}')  # the run has ended
        >>> read_params(directory)["layer"]["kernel"].tolist()
        [[1.0, 1.0]]
    """
    directory = Path(directory)
    checkpoints = Checkpoints(directory)
    if not checkpoints.steps():
        raise CheckpointError(
            f"directory must hold the final state of a run, got {directory} without one. Train it first."
        )
    _require_ended(directory, smoke=smoke)
    folder = checkpoints.folder / str(checkpoints.steps()[-1])
    manifest = verify(folder)
    return _params_in(folder, manifest, cipher if manifest["sealed"] else None)


def digest_of(params: dict[str, Any]) -> str:
    """Returns the SHA-256 of the name, type, shape and content of each array.

    Args:
        params: Dicts of arrays.

    Example:
        >>> digest_of({"bias": np.zeros(2, np.float32)})[:12]
        '00365f907716'
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def keep_params(directory: str | Path, params: dict[str, Any], *, cipher: Any = None) -> None:
    """Writes the initial parameters of a run into a folder, so that it no longer needs the other run.

    Args:
        directory: The folder, which must exist.
        params: Dicts of arrays.
        cipher: Encrypts the arrays, if given.

    Raises:
        CheckpointError: If they cannot be written; no partial file is left.

    Example:
        >>> import tempfile
        >>> directory = Path(tempfile.mkdtemp())
        >>> keep_params(directory, {"layer": {"kernel": np.ones(2)}})
        >>> kept_params(directory)["layer"]["kernel"].tolist()
        [1.0, 1.0]
    """
    try:
        Checkpoints(directory, cipher=cipher).write(_BEFORE_ALL, _Params(params))
    except CheckpointError as error:
        raise CheckpointError(f"initial parameters could not be written to {directory}: {error}") from error


def kept_params(directory: str | Path, *, cipher: Any = None) -> dict[str, Any] | None:
    """Returns the parameters that `keep_params` wrote, verified; None if there are none.

    Files that do not verify are moved to ``quarantine`` in the folder with a warning, and treated as missing.

    Args:
        directory: The folder.
        cipher: Decrypts the arrays, if they are encrypted.

    Raises:
        CheckpointError: If they are encrypted and the key is wrong or missing, or not encrypted and a key is passed.

    Example:
        >>> kept_params("nowhere") is None
        True
    """
    checkpoints = Checkpoints(directory)
    if not checkpoints.steps():
        return None
    folder = kept_state(directory)
    try:
        manifest = verify(folder)
    except CheckpointError as error:
        checkpoints.set_aside(_BEFORE_ALL, str(error))
        warnings.warn(f"{error}; moved to {checkpoints.quarantine}", stacklevel=2)
        return None
    return _params_in(folder, manifest, cipher)


def kept_state(directory: str | Path) -> Path:
    """Returns the folder of the state that `keep_params` writes, whether or not it exists.

    Args:
        directory: As for `keep_params`.

    Example:
        >>> kept_state("initial").parts[-3:]
        ('initial', 'checkpoints', '0')
    """
    return Checkpoints(directory).folder / str(_BEFORE_ALL)


class _Params(NamedTuple):
    """The part of a state that is kept, under its name in the state."""

    params: dict[str, Any]


def vocabulary_of(directory: Path) -> tuple[str, ...]:
    """Returns the vocabulary of a run; empty if its inputs were not tokens.

    Args:
        directory: Of the run.

    Raises:
        ValueError: If ``config.json`` is missing or incomplete.

    Example:
        >>> vocabulary_of(Path("nowhere"))
        Traceback (most recent call last):
        ...
        ValueError: nowhere does not exist. Correct the path.
    """
    require_exists(directory)
    path = directory / "config.json"
    if not path.is_file():
        raise ValueError(f"directory must hold a run, got {directory} without config.json. Correct the path.")
    card = read_json(path).get("data_card")
    vocabulary = card.get("vocabulary", []) if isinstance(card, dict) else None
    if not isinstance(vocabulary, list):
        raise ValueError(
            f"{path} must be the configuration of a run, got one without a complete data card. Restore it."
        )
    return tuple(vocabulary)


def _params_in(folder: Path, manifest: dict[str, Any], cipher: Any) -> dict[str, Any]:
    """Returns the parameters of one state, whose files have been verified."""
    step = manifest["step"]
    require_key(f"step {step} of {folder.parent.parent}", manifest, cipher)
    found = {n: _PARAMS.fullmatch(entry["path"]) for n, entry in enumerate(manifest["arrays"])}
    prefix = next((match[1] for match in found.values() if match), None)
    if prefix is None:
        raise CheckpointError(
            f"a run must have params to start from, got step {step} of {folder.parent.parent} without. Name another."
        )
    numbered = {n: manifest["arrays"][n] for n, match in found.items() if match and match[1] == prefix}
    names = {n: _names(numbered[n]["path"].removeprefix(prefix)) for n in numbered}
    if cipher is not None:
        arrays = {n: decrypted_array(cipher, folder / ARRAYS, step, n, entry) for n, entry in numbered.items()}
        return _nested(arrays, names)
    like = _nested({n: np.empty(entry["shape"], entry["dtype"]) for n, entry in numbered.items()}, names)
    for part in reversed(prefix.split(".")[1:]):
        like = {part: like}
    with quiet(), ocp.PyTreeCheckpointer() as checkpointer:
        restored = checkpointer.restore(folder / ARRAYS, args=ocp.args.PyTreeRestore(like, partial_restore=True))
    return functools.reduce(lambda tree, part: tree[part], prefix.split(".")[1:], restored)


def _require_ended(directory: Path, *, smoke: bool) -> None:
    """Raises if a run has not ended, or is a smoke run and these are not accepted."""
    path = directory / "result.json"
    if not path.is_file():
        raise CheckpointError(
            f"directory must hold a finished run, got {directory} without result.json. "
            f"Resume it: {resume_command(directory)}"
        )
    if read_json(path).get("smoke") and not smoke:
        raise CheckpointError(
            f"initial parameters must come from a full run, got the smoke run {directory}. Run it without --smoke."
        )


def _names(path: str) -> tuple[str, ...]:
    """Returns the keys of the nested dicts on a path."""
    names = tuple(_NAME.findall(path))
    if not names or "".join(f"['{name}']" for name in names) != path:
        raise CheckpointError(
            f"initial parameters must be in dicts by name, got {path or 'a single array'}. Name another run."
        )
    return names


def _nested(arrays: dict[int, np.ndarray], names: dict[int, tuple[str, ...]]) -> dict[str, Any]:
    """Returns arrays in dicts, by the names of their paths."""
    tree: dict[str, Any] = {}
    for number, array in arrays.items():
        *outer, name = names[number]
        functools.reduce(lambda place, part: place.setdefault(part, {}), outer, tree)[name] = array
    return tree
