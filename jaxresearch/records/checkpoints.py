"""Checkpoints that are verified before use: arrays by Orbax, and a manifest of SHA-256 digests, written last.

A step is a folder ``checkpoints/STEP`` with ``arrays/`` (Orbax) and ``manifest.json``: the digest of every file, the path, shape
and type of every array, and what the state belongs to. It is written under another name, synced with its folders, and renamed,
so it exists complete or not at all. A step that does not verify moves to ``quarantine/`` with the reason, and the previous one is
used. An old step is renamed before it is deleted, so a partial one is never listed. The last two steps are kept.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxresearch.records.arrays import checkpointer, quiet
from jaxresearch.records.commands import resume_command
from jaxresearch.records.files import make_folder, sync

_MANIFEST = "manifest.json"
ARRAYS = "arrays"
_NEW, _TRASH = ".new-", ".trash-"
_PART = 2**30  # bytes encrypted at once; AES-GCM allows at most 2**31 - 1
_KEPT = 2  # steps
_MOST_DIFFERENCES = 3  # arrays in one message


class CheckpointError(ValueError):
    """A checkpoint does not verify, or none does; the message is one line."""


class MismatchError(CheckpointError):
    """A valid checkpoint holds the state of another program or needs another key."""


class Restored(NamedTuple):
    """A verified state: its step, its arrays on the host, and the other entries of its manifest."""

    step: int
    state: PyTree
    about: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: The run's directory, which contains ``checkpoints`` and ``quarantine``.
        cipher: Encrypts the arrays, by `jaxresearch.records.encryption`; the manifest stays readable. Orbax does
            not write encrypted arrays, so they never touch the disk unencrypted.

    Example:
        >>> import tempfile
        >>> checkpoints = Checkpoints(Path(tempfile.mkdtemp()))
        >>> checkpoints.write(10, {"weights": np.ones(3)}).name
        '10'
        >>> restored = checkpoints.restore({"weights": np.zeros(3)})
        >>> restored.step, restored.state["weights"].tolist()
        (10, [1.0, 1.0, 1.0])
    """

    def __init__(self, directory: str | Path, *, cipher: Any = None):
        directory = Path(directory).absolute()
        self.folder = directory / "checkpoints"
        self.quarantine = directory / "quarantine"
        self.cipher = cipher
        self._writer: ThreadPoolExecutor | None = None
        self._pending: Future[Path] | None = None

    def steps(self) -> list[int]:
        """Returns the listed steps, oldest first, without verifying them."""
        names = [entry.name for entry in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdigit())

    def write(self, step: int, state: PyTree, *, about: dict[str, Any] | None = None) -> Path:
        """Writes and syncs a complete state and returns its folder; deletes old steps.

        Args:
            step: Its step.
            state: Arrays; typed random keys are saved as key data.
            about: Further entries of the manifest, in JSON's types.
        """
        return self._put(step, _on_host(state), about or {})

    def _put(self, step: int, host: PyTree, about: dict[str, Any]) -> Path:
        """Writes a state that is already on the host, as `write` does; of several processes, only the first one writes."""
        if jax.process_index():
            return self.folder / str(step)
        new = self.folder / f"{_NEW}{step}"
        try:
            make_folder(self.folder)  # not its parents: a removed directory stays removed
            _require_room(self.folder / f"{_NEW}room", host)
            self._write(new, step, host, about)
            if (self.folder / str(step)).exists():
                self._delete(step)
            os.replace(new, self.folder / str(step))
            sync(self.folder)
            for old in self.steps()[:-_KEPT]:
                self._delete(old)
        except (OSError, ValueError, RuntimeError, SystemError) as error:  # Orbax passes on the errors of its store
            _remove(new)
            raise CheckpointError(f"step {step} could not be saved: {_reason(error)}") from error
        return self.folder / str(step)

    def write_in_background(self, step: int, state: PyTree, *, about: Callable[[], dict[str, Any]]) -> None:
        """Copies the state to the host and writes it while the device continues; an error is raised by the next call or `wait`.

        Args:
            step: As for `write`.
            state: As for `write`.
            about: Returns the ``about`` of `write`; called in the background.
        """
        self.wait()
        host = _on_host(state)
        self._writer = self._writer or ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._pending = self._writer.submit(lambda: self._put(step, host, about()))

    @property
    def is_saving(self) -> bool:
        """Whether a state is being written."""
        return self._pending is not None and not self._pending.done()

    def wait(self) -> None:
        """Waits for the state being written, and raises its error, if any."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Waits for the state being written, even through an interruption, and ignores its error."""
        if self._writer is not None:
            try:
                self._writer.shutdown()
            finally:  # the directory may be removed next
                self._writer.shutdown()

    def restore(self, like: PyTree) -> Restored | None:
        """Returns the newest state that verifies, or None if none was saved.

        Args:
            like: Arrays (or their shapes and types) in the structure of the state.

        Raises:
            CheckpointError: If steps are listed and none verifies; all of them move to quarantine.
            MismatchError: If the newest that verifies has another structure; it stays in place.
        """
        self.tidy()
        found, messages = self._first(reversed(self.steps()), like, self.set_aside)
        if found is None and messages:
            raise CheckpointError(
                f"no checkpoint of {self.folder.parent} verifies: {messages[0]}; {len(messages)} moved to "
                f"{self.quarantine}. Restore them from a copy, or start again in another directory."
            )
        return found

    def read(self, like: PyTree, *, only_newest: bool = False) -> Restored | None:
        """Returns the newest state that verifies and moves nothing, since another process may be writing.

        Args:
            like: As for `restore`.
            only_newest: Whether only the newest step will do, such as the final one of a run.

        Raises:
            CheckpointError: If steps are listed and none verifies, or with ``only_newest`` the newest does not.
            MismatchError: As `restore`.
        """
        steps = self.steps()[-1:] if only_newest else reversed(self.steps())
        found, messages = self._first(steps, like, lambda step, message: None)
        if found is None and messages:
            raise CheckpointError(
                f"no checkpoint of {self.folder.parent} can be used: {messages[0]}. Restore it from a copy."
            )
        return found

    def read_each(self, like: PyTree) -> list[Restored]:
        """Returns every state that verifies, the newest first, and moves nothing."""
        found = (self._first([step], like, lambda step, message: None)[0] for step in reversed(self.steps()))
        return [one for one in found if one is not None]

    def _first(
        self, steps: Iterable[int], like: PyTree, failed: Callable[[int, str], None]
    ) -> tuple[Restored | None, list[str]]:
        """Returns the state of the first step that verifies, and the messages of those before, which are passed to ``failed``."""
        messages = []
        for step in steps:
            try:
                manifest = verify(self.folder / str(step))
                return Restored(step, self._load(step, manifest, like), manifest["about"]), messages
            except MismatchError:
                raise
            except CheckpointError as error:
                messages.append(str(error))
                failed(step, str(error))
        return None, messages

    def set_aside(self, step: int, message: str) -> None:
        """Moves a step that does not verify to quarantine, with a file that has the reason."""
        self.quarantine.mkdir(exist_ok=True)
        place, n = self.quarantine / str(step), 1
        while place.exists():
            place, n = self.quarantine / f"{step}-{n}", n + 1
        os.replace(self.folder / str(step), place)
        (self.quarantine / f"{place.name}.txt").write_text(message + "\n")
        sync(self.folder)

    def tidy(self) -> None:
        """Removes partial steps left by a killed process."""
        for entry in list(self.folder.iterdir()) if self.folder.is_dir() else []:
            if entry.name.startswith((_NEW, _TRASH)):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def _write(self, folder: Path, step: int, host: PyTree, about: dict[str, Any]) -> None:
        """Writes the arrays, then the manifest, and syncs everything."""
        if folder.exists():
            shutil.rmtree(folder)
        if self.cipher is not None:
            _encrypt(self.cipher, folder / ARRAYS, step, host)
        else:
            with quiet(), checkpointer() as orbax:
                orbax.save(folder / ARRAYS, jax.tree.map(_storable, host))
        manifest = {"step": step, "about": about, "arrays": _described(host), "files": _digests(folder)}
        manifest["sealed"] = self.cipher is not None  # its name on disk since the first version
        (folder / _MANIFEST).write_text(_checksummed(manifest))
        for path in [*folder.rglob("*"), folder]:
            sync(path)

    def _load(self, step: int, manifest: dict[str, Any], like: PyTree) -> PyTree:
        """Returns the arrays of a verified step; raises if their structure differs from ``like``."""
        blank = jax.tree.map(_blank, like)
        if (now := _described(blank)) != manifest["arrays"]:
            raise MismatchError(
                f"the state of the experiment has changed since step {step} of {self.folder.parent}: "
                f"{_differing(manifest['arrays'], now)}. Restore the experiment's file, rerun with another "
                f"--directory, or continue with the recorded copy: {resume_command(self.folder.parent)}"
            )
        require_key(f"step {step}", manifest, self.cipher)
        if self.cipher is not None:
            decrypted = [
                decrypted_array(self.cipher, self.folder / str(step) / ARRAYS, step, number, entry)
                for number, entry in enumerate(now)
            ]
            return jax.tree.map(_as_key, jax.tree.unflatten(jax.tree.structure(blank), decrypted), like)
        with quiet(), checkpointer() as orbax:
            host = orbax.restore(self.folder / str(step) / ARRAYS, jax.tree.map(_storable, blank))
        host = jax.tree.map(lambda array, of: array if of.size else of, host, blank)
        return jax.tree.map(_as_key, host, like)

    def _delete(self, step: int) -> None:
        """Renames and deletes a step, so that an interruption leaves no partial step listed."""
        trash = self.folder / f"{_TRASH}{step}"
        if trash.exists():
            shutil.rmtree(trash)
        os.replace(self.folder / str(step), trash)
        sync(self.folder)
        shutil.rmtree(trash)


def verify(folder: Path) -> dict[str, Any]:
    """Returns the manifest of a step after checking every file against its digest.

    Args:
        folder: The folder of a step.

    Returns:
        ``step``, ``about``, ``arrays`` (path, shape and type of each) and ``files`` (their SHA-256).

    Raises:
        CheckpointError: If the manifest is missing or altered, or a file is missing, altered or unexpected.

    Example:
        >>> import tempfile
        >>> folder = Checkpoints(Path(tempfile.mkdtemp())).write(10, {"weights": np.ones(3)})
        >>> verify(folder)["step"]
        10
    """
    manifest = _read_manifest(folder / _MANIFEST)
    if str(manifest["step"]) != folder.name:
        raise CheckpointError(f"{folder} must hold step {folder.name}, got step {manifest['step']} in its manifest")
    try:
        found = _digests(folder)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read ({error.strerror})") from error
    if found != manifest["files"]:
        names = sorted(
            name for name in found.keys() | manifest["files"] if found.get(name) != manifest["files"].get(name)
        )
        what = "missing" if names[0] not in found else "altered" if names[0] in manifest["files"] else "unexpected"
        raise CheckpointError(f"{names[0]} of {folder} is {what}")
    return manifest


def require_key(what: str, manifest: dict[str, Any], cipher: Any) -> None:
    """Raises if a state is encrypted and no cipher is given, or vice versa."""
    if manifest["sealed"] and cipher is None:
        raise MismatchError(f"{what} is encrypted. Pass its key: --encrypt-with KEYFILE")
    if cipher is not None and not manifest["sealed"]:
        raise MismatchError(f"{what} is not encrypted. Leave --encrypt-with out.")


def _encrypt(cipher: Any, folder: Path, step: int, host: PyTree) -> None:
    """Writes every array encrypted, in parts small enough for one call; each is bound to its step, path and position."""
    folder.mkdir(parents=True)
    for number, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(host)):
        content = leaf.tobytes()
        for part, start in enumerate(range(0, max(len(content), 1), _PART)):
            name = f"{step}/{jax.tree_util.keystr(path)}/{part}"
            encrypted = cipher.encrypt(content[start : start + _PART], name=name)
            (folder / f"{number}-{part}.sealed").write_bytes(encrypted)


def decrypted_array(cipher: Any, folder: Path, step: int, number: int, entry: dict[str, Any]) -> np.ndarray:
    """Returns one array of `_encrypt`, by its number and its entry in the manifest."""
    blank = np.empty(entry["shape"], entry["dtype"])
    parts = range(max(-(-blank.nbytes // _PART), 1))
    names = [f"{step}/{entry['path']}/{part}" for part in parts]
    try:
        encrypted = [(folder / f"{number}-{part}.sealed").read_bytes() for part in parts]
        content = b"".join(cipher.decrypt(part, name=name) for part, name in zip(encrypted, names, strict=True))
    except ValueError as error:  # the files verified, so the key is wrong
        raise MismatchError(f"step {step} was encrypted with another key. Pass the key it was saved with.") from error
    return np.frombuffer(content, blank.dtype).reshape(blank.shape).copy()


def _require_room(probe: Path, host: PyTree) -> None:
    """Raises a plain message if the disk has no room for the arrays, before Orbax starts to write."""
    n_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(host))
    if not n_bytes or not hasattr(os, "posix_fallocate"):
        return
    try:
        with open(probe, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, n_bytes)
    finally:
        probe.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    """Removes a partial step, while threads of the failed write may still add files to it."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


def _reason(error: Exception) -> str:
    """Returns why saving failed, by the system's message if the store passes on the error code."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    code = re.search(r"os_error_code='(\d+)'", text)
    return os.strerror(int(code[1])) if code else text[:300]


def _on_host(state: PyTree) -> PyTree:
    """Returns a copy on the host, which the next step cannot change; typed keys as key data."""

    def copied(leaf: Any) -> np.ndarray:
        is_key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
        return np.array(jax.random.key_data(leaf) if is_key else leaf)

    return jax.tree.map(copied, state)


def _blank(leaf: Any) -> np.ndarray:
    """Returns an array with the leaf's shape and type on disk."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return np.empty(leaf.shape, leaf.dtype)


def _storable(array: Any) -> np.ndarray:
    """Returns the array; an empty one, which Orbax does not accept, becomes a zero."""
    return array if array.size else np.zeros(1, array.dtype)


def _as_key(numbers: Any, like: Any) -> Any:
    """Returns a typed key if the leaf is one, else the array."""
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(numbers), impl=jax.random.key_impl(jnp.empty((), like.dtype)))
    return np.asarray(numbers)


def _described(tree: PyTree) -> list[dict[str, Any]]:
    """Returns path, shape and type of each array."""
    return [
        {"path": jax.tree_util.keystr(path), "shape": list(leaf.shape), "dtype": str(leaf.dtype)}
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _differing(recorded: list[dict[str, Any]], now: list[dict[str, Any]]) -> str:
    """Returns the arrays of two states that differ in shape or type, or are missing from one."""
    before, after = ({entry["path"]: _kind(entry) for entry in entries} for entries in (recorded, now))
    paths = [path for path in dict.fromkeys([*before, *after]) if before.get(path) != after.get(path)]
    shown = [
        f"{path.lstrip('.') or 'state'} ({before.get(path, 'nothing')} on record, {after.get(path, 'nothing')} now)"
        for path in paths[:_MOST_DIFFERENCES]
    ]
    return ", ".join(shown) + (f" and {len(paths) - len(shown)} more" if len(paths) > len(shown) else "")


def _kind(entry: dict[str, Any]) -> str:
    """Returns the type and shape of an array in one word."""
    return f"{entry['dtype']}{entry['shape']}"


def _digests(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file in a folder except the manifest, by path."""
    files = sorted(path for path in folder.rglob("*") if not path.is_dir() and path != folder / _MANIFEST)
    digests = {}
    for path in files:
        with open(path, "rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _checksummed(manifest: dict[str, Any]) -> str:
    """Returns the manifest as text with its own digest, the only form that `_read_manifest` accepts."""
    text = json.dumps(manifest, sort_keys=True)
    return json.dumps({"manifest": manifest, "sha256": hashlib.sha256(text.encode()).hexdigest()}, sort_keys=True)


def _read_manifest(path: Path) -> dict[str, Any]:
    """Returns the manifest in a file; raises if a single bit was altered."""
    try:
        text = path.read_text()
        manifest = json.loads(text)["manifest"]
        if _checksummed(manifest) == text:
            return manifest
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise CheckpointError(f"{path} is altered")
