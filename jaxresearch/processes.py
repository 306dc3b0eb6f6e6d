"""Several processes that execute one program: joined by JAX, with decisions that all of them share.

Every process runs the same code in the same order. What one of them alone knows (a signal, a checkpoint, an error) has to be
shared before it changes what they compute next; these functions share it. With one process they return their argument.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree


def join(
    *,
    coordinator: str | None = None,
    n_processes: int | None = None,
    process_id: int | None = None,
    within: int = 60,
) -> None:
    """Joins the other processes of a job: `jax.distributed.initialize`. Call it before JAX is used.

    Args:
        coordinator: Address ``HOST:PORT`` of process 0; by default, as JAX detects it (Slurm, MPI, Kubernetes, TPU pods).
        n_processes: Number of processes; detected by default.
        process_id: Of this process, from 0; detected by default.
        within: Seconds to wait for the others; then JAX ends this process, with SIGABRT.

    Raises:
        ValueError: If an argument is out of range, or missing and cannot be detected.
        ConnectionError: If the coordinator cannot be used.

    Example:
        On each of two machines:

        >>> join(coordinator="10.0.0.1:9000", n_processes=2, process_id=0)  # doctest: +SKIP
    """
    if n_processes is not None and process_id is not None and not 0 <= process_id < n_processes:
        raise ValueError(
            f"process must be between 0 and {n_processes - 1} for {n_processes} processes, got {process_id}. Number them from 0."
        )
    jax.config.update("jax_enable_preemption_service", False)  # it would catch SIGTERM, at which a run is saved
    try:
        jax.distributed.initialize(coordinator, n_processes, process_id, initialization_timeout=within)
    except (ValueError, RuntimeError) as error:  # what is missing, or the status of a connection
        reason = str(error).split("\n")[0].rstrip(".")
        kind = ValueError if isinstance(error, ValueError) else ConnectionError
        raise kind(
            f"processes could not be joined: {reason}. Start them by Slurm, MPI, Kubernetes or on a TPU pod, or pass "
            "--coordinator HOST:PORT --processes N --process I."
        ) from error


def is_main() -> bool:
    """Returns whether this is the process that reads and writes records, and prints.

    Returns:
        True for process 0.

    Example:
        >>> is_main()
        True
    """
    return jax.process_index() == 0


def greatest(value: int) -> int:
    """Returns the greatest value of all processes.

    Args:
        value: Of this process; 0 for no, for example, and 1 for yes.

    Returns:
        The maximum.

    Example:
        >>> greatest(1)
        1
    """
    if jax.process_count() == 1:
        return value
    return int(np.max(multihost_utils.process_allgather(np.int32(value))))


def each(value: Any) -> list[Any]:
    """Returns the values of all processes.

    Args:
        value: Of this process, in JSON's types.

    Returns:
        One value for each process.

    Example:
        >>> each({"seeds": [0, 1]})
        [{'seeds': [0, 1]}]
    """
    if jax.process_count() == 1:
        return [value]
    content = np.frombuffer(json.dumps(value).encode(), np.uint8)
    longest = greatest(len(content))
    padded = np.concatenate([content, np.full(longest - len(content), ord(" "), np.uint8)])
    return [json.loads(row.tobytes()) for row in multihost_utils.process_allgather(padded)]


def from_main(read: Callable[[], tuple[Any, PyTree]], like: PyTree) -> tuple[Any, PyTree]:
    """Returns what the main process reads, on all processes.

    Args:
        read: Called on the main process; returns a value in JSON's types and arrays, or None in place of the arrays.
        like: Arrays, or their shapes and types, in the structure of the arrays.

    Returns:
        The value and the arrays.

    Raises:
        ValueError: On the other processes, if ``read`` raises on the main one.

    Example:
        >>> from_main(lambda: ({"step": 3}, {"a": np.ones(1)}), {"a": np.zeros(1)})
        ({'step': 3}, {'a': array([1.])})
    """
    if jax.process_count() == 1:
        return read()
    error: Exception | None = None
    value, arrays = None, None
    if is_main():
        try:
            value, arrays = read()
        except Exception as raised:
            error = raised
    shared = each({"value": value, "has_arrays": arrays is not None, "error": error and _message(error)})[0]
    if error is not None:
        raise error
    if shared["error"]:
        raise ValueError(shared["error"])
    if not shared["has_arrays"]:
        return shared["value"], None
    own = arrays if is_main() else jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    return shared["value"], jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(own))


def require_same(value: dict[str, Any]) -> None:
    """Raises unless all processes have the same values.

    Args:
        value: Of this process, in JSON's types; entries that cause differences in others come first.

    Raises:
        ValueError: On all processes; names the first entry that differs.

    Example:
        >>> require_same({"jax": "0.10.2"})
    """
    values = each(value)
    for number, other in enumerate(values):
        for name in {**values[0], **other}:
            first, its = values[0].get(name), other.get(name)
            if first != its:
                raise ValueError(
                    f"{name} must be the same in all processes, got {first!r} in process 0 and {its!r} in process {number}. "
                    "Start them with the same command, files and versions."
                )


@contextlib.contextmanager
def agreeing() -> Iterator[None]:
    """Raises at the end of the block, in all processes, if it failed in one; until then, they wait for each other.

    Yields:
        Nothing.

    Raises:
        Exception: The error of this process.
        ValueError: On the others, with the message of the first process that failed.

    Example:
        >>> with agreeing():
        ...     print("read")
        read
    """
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    messages = each(error and _message(error))
    if error is not None:
        raise error
    failed = next((number for number, message in enumerate(messages) if message), None)
    if failed is not None:
        raise ValueError(f"process {failed}: {messages[failed]}")


def _message(error: Exception) -> str:
    """Returns the message of an error on one line; its type if it has none, since the others take an empty one for none."""
    return " ".join(str(error).split()) or type(error).__name__
