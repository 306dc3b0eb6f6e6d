"""How many runs fit into the memory of a device at a time, by the analysis of their compiled program."""

from typing import Any

import jax

from jaxresearch import processes

_USABLE = 0.9  # of the memory; the rest is for other arrays, such as the next batches


def limit() -> int | None:
    """Returns the bytes that a program may use on a device, the same in all processes.

    Returns:
        Bytes of the smallest device; None if unknown, as on a CPU.

    Example:
        >>> limit() is None or limit() > 2**20
        True
    """
    found = jax.local_devices()[0].memory_stats() or {}
    return min(processes.each(int(_USABLE * found["bytes_limit"]))) if "bytes_limit" in found else None


def bytes_of(program: Any) -> tuple[int, int]:
    """Returns the bytes that a compiled program uses on a device, and those of them for intermediate values.

    Args:
        program: From ``lower(...).compile()``.

    Returns:
        Bytes of arguments, outputs and intermediate values, without outputs that reuse the memory of arguments; 0 if the backend
        does not report them.

    Example:
        >>> bytes_of(jax.jit(lambda x: x + 1).lower(jax.numpy.ones(10)).compile())
        (80, 0)
    """
    found = program.memory_analysis()
    if found is None:
        return 0, 0
    kept = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return kept + found.temp_size_in_bytes, found.temp_size_in_bytes


def fewer(n_runs: int, at_once: int, *, needed: int, temporary: int, available: int) -> int:
    """Returns how many runs to try next if a program with more of them at a time does not fit.

    Intermediate values grow with the runs at a time; arguments and outputs do not.

    Args:
        n_runs: On a device.
        at_once: Runs at a time in the program that does not fit, 2 or more.
        needed: Bytes of that program.
        temporary: Those for intermediate values.
        available: Bytes on a device.

    Returns:
        A divisor of ``n_runs`` below ``at_once``: the greatest that is expected to fit, or 1.

    Example:
        >>> fewer(12, 12, needed=1600, temporary=1200, available=1000), fewer(12, 6, needed=9, temporary=6, available=1)
        (6, 1)
    """
    smaller = [n for n in range(1, at_once) if n_runs % n == 0]
    return max((n for n in smaller if needed - temporary + temporary * n / at_once <= available), default=1)
