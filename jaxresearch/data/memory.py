"""The size of data, told before memory is taken."""

import os


def of_machine() -> float:
    """Returns the bytes of memory of this machine; infinite where it does not report them.

    Returns:
        Bytes.

    Example:
        >>> of_machine() > 2**20
        True
    """
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def require_room(size: int | float, *, of: str, remedy: str) -> None:
    """Raises an error before data are read that do not fit into memory.

    Args:
        size: Of the arrays, in bytes.
        of: Names the data.
        remedy: What to do instead, a sentence.

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
