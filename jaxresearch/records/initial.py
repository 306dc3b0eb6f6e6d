"""The parameters that another run ended with, read without its experiment, and the copy of them that a run keeps."""

import functools
import hashlib
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxresearch.records.checkpoints import ARRAYS, CheckpointError, Checkpoints, opened_array, quiet, verify
from jaxresearch.records.run_directory import read_json
from jaxresearch.reports.wording import resume_command

INITIAL = "initial"  # the folder of a run's directory that holds what it began with, where that was another's
INITIAL_DIGEST = "initial.json"
_BEFORE_ALL = 0  # the step under which they are kept
_NAME = re.compile(r"\['([^']+)'\]")


def read_params(directory: str | Path, *, cipher: Any = None, smoke: bool = True) -> dict[str, Any]:
    """Returns the parameters that a run ended with, in dicts by their names, with a leading axis of seeds.

    Every file of the state is verified before; the directory is another run's, and nothing in it is changed.

    Args:
        directory: Of the run.
        cipher: Opens the arrays, where they are sealed; others are read without it.
        smoke: Whether those of a smoke run will do, which has hardly learnt anything.

    Raises:
        CheckpointError: If there is no state, the run has not ended or is a smoke run, the state does not verify or is
            sealed, or its parameters are not in dicts.

    Example:
        >>> import tempfile
        >>> from jaxresearch.training import TrainState
        >>> directory = Path(tempfile.mkdtemp())
        >>> state = TrainState(np.zeros(1, int), {"layer": {"kernel": np.ones((1, 2))}}, {}, ())
        >>> _ = Checkpoints(directory).write(10, state)
        >>> _ = (directory / "result.json").write_text('{"smoke": false}')  # the run has ended
        >>> read_params(directory)["layer"]["kernel"].tolist()
        [[1.0, 1.0]]
    """
    directory = Path(directory)
    checkpoints = Checkpoints(directory)
    if not checkpoints.steps():
        raise CheckpointError(f"directory must hold the last state of a run; {directory} holds none. Train it first.")
    _require_ended(directory, smoke=smoke)
    folder = checkpoints.folder / str(checkpoints.steps()[-1])
    manifest = verify(folder)
    return _params_in(folder, manifest, cipher if manifest["sealed"] else None)


def digest_of(params: dict[str, Any]) -> str:
    """Returns the SHA-256 of parameters: of the name, type, shape and content of each array.

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
    """Writes the parameters that a run begins with into a folder of its own, so that it needs the other no more.

    Args:
        directory: The folder, which is there.
        params: Dicts of arrays.
        cipher: Seals the arrays, if given.

    Raises:
        CheckpointError: If they cannot be written; nothing is left half-written.

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
        raise CheckpointError(f"parameters to begin with could not be kept in {directory}: {error}") from error


def kept_params(directory: str | Path, *, cipher: Any = None) -> dict[str, Any] | None:
    """Returns what `keep_params` wrote, verified; None where there is nothing.

    What does not verify is moved to ``quarantine`` in the folder, with a warning, and counts as nothing.

    Args:
        directory: The folder.
        cipher: Opens the arrays, where they are sealed.

    Raises:
        CheckpointError: If what is there is sealed by another key, or with none where one is passed, or the reverse.

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
    """Returns the folder of the state that `keep_params` writes, whether it is there or not.

    Args:
        directory: The folder that `keep_params` was given.

    Example:
        >>> kept_state("initial").parts[-3:]
        ('initial', 'checkpoints', '0')
    """
    return Checkpoints(directory).folder / str(_BEFORE_ALL)


class _Params(NamedTuple):
    """The part of a state that is kept, under its name there."""

    params: dict[str, Any]


def vocabulary_of(directory: Path) -> tuple[str, ...]:
    """Returns the tokens that a run was trained on, by their names; none where its inputs were no tokens.

    Args:
        directory: Of the run.

    Raises:
        ValueError: If there is no ``config.json``, or it is not whole.

    Example:
        >>> vocabulary_of(Path("nowhere"))
        Traceback (most recent call last):
        ...
        ValueError: directory must be that of a run to begin with its parameters; nowhere holds no config.json.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise ValueError(
            f"directory must be that of a run to begin with its parameters; {directory} holds no config.json."
        )
    card = read_json(path).get("data_card")
    vocabulary = card.get("vocabulary", []) if isinstance(card, dict) else None
    if not isinstance(vocabulary, list):
        raise ValueError(f"{path} must be the configuration of a run; it holds no data card that is whole. Restore it.")
    return tuple(vocabulary)


def _params_in(folder: Path, manifest: dict[str, Any], cipher: Any) -> dict[str, Any]:
    """Returns the parameters of one state, whose files have been held against its manifest."""
    step = manifest["step"]
    if manifest["sealed"] != (cipher is not None):
        how = "sealed: pass its key" if manifest["sealed"] else "not sealed: leave the key out"
        raise CheckpointError(f"step {step} of {folder.parent.parent} is {how} (--encrypt-with)")
    numbered = {n: entry for n, entry in enumerate(manifest["arrays"]) if entry["path"].startswith(".params")}
    if cipher is not None:
        return _nested(
            {n: opened_array(cipher, folder / ARRAYS, step, n, entry) for n, entry in numbered.items()}, numbered
        )
    like = _nested({n: np.empty(entry["shape"], entry["dtype"]) for n, entry in numbered.items()}, numbered)
    with quiet(), ocp.PyTreeCheckpointer() as checkpointer:
        asked = ocp.args.PyTreeRestore({"params": like}, partial_restore=True)
        return checkpointer.restore(folder / ARRAYS, args=asked)["params"]


def _require_ended(directory: Path, *, smoke: bool) -> None:
    """Raises where a run is still under way, or a smoke run that is not wanted."""
    path = directory / "result.json"
    if not path.is_file():
        raise CheckpointError(
            f"directory must be that of a run that has ended; {directory} holds no result.json. "
            f"Go on with: {resume_command(directory)}"
        )
    if read_json(path).get("smoke") and not smoke:
        raise CheckpointError(
            f"parameters to begin with must be those of a whole run; {directory} is of a smoke run. Run it without --smoke."
        )


def _nested(arrays: dict[int, np.ndarray], numbered: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Returns arrays in dicts, by the names of their paths."""
    tree: dict[str, Any] = {}
    for number, array in arrays.items():
        path = numbered[number]["path"].removeprefix(".params")
        *outer, name = _NAME.findall(path) or [""]
        if not name or "".join(f"['{part}']" for part in (*outer, name)) != path:
            raise CheckpointError(f"parameters to begin with must be in dicts by name; {path or 'one array'} is not.")
        functools.reduce(lambda place, part: place.setdefault(part, {}), outer, tree)[name] = array
    return tree
