"""Checks whether data fits into memory, before it is read."""

import os


def of_machine() -> float:
    """Returns the memory of this machine in bytes.

    Returns:
        Bytes; infinite if unknown.

    Example:
        >>> of_machine() > 2**20
        True
    """
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def require_room(size: int | float, *, of: str, remedy: str) -> None:
    """Raises an error if arrays do not fit into memory.

    Args:
        size: Of the arrays, in bytes.
        of: Name of the data.
        remedy: A sentence on what to do instead.

    Raises:
        ValueError: If the arrays are larger than the memory of the machine.

    Example:
        >>> require_room(1e18, of="big.npz", remedy="Pass --stream.")
        Traceback (most recent call last):
        ...
        ValueError: big.npz must fit into memory (... GB), got arrays of 1,000,000,000.0 GB. Pass --stream.
    """
    if size > (memory := of_machine()):
        raise ValueError(
            f"{of} must fit into memory ({memory / 1e9:,.1f} GB), got arrays of {size / 1e9:,.1f} GB. {remedy}"
        )
