"""A picture of the secondary structure of a chain, as text."""

from typing import Any

import numpy as np

from jaxresearch.fields.proteins.residues import letters

_CLASSES = np.array(list("HE-"))


def drawing(residues: Any, true: Any, predicted: Any, *, n_columns: int = 80) -> str:
    """Returns a chain as lines of text: its residues, the true classes H, E and ``-``, the predicted ones, and ``x`` for errors.

    Args:
        residues: Of the chain, 0 to 20.
        true: One of three classes for each, as from `three_states`.
        predicted: The same, as predicted.
        n_columns: Residues per line, 1 or more.

    Returns:
        Four lines for every ``n_columns`` residues, with the number of the first; a blank line between them.

    Raises:
        ValueError: If the lengths differ, or there is no column.

    Example:
        >>> print(drawing(np.array([0, 1, 2, 3]), np.array([0, 0, 2, 1]), np.array([0, 0, 1, 1])))
             1 ARND
        true   HH-E
        found  HHEE
        errors   x
    """
    residues, true, predicted = map(np.asarray, (residues, true, predicted))
    if not len(residues) == len(true) == len(predicted):
        raise ValueError(
            f"residues, true and predicted must have the same length, got {len(residues)}, {len(true)} and {len(predicted)}. "
            "Pass one class for each residue."
        )
    if n_columns < 1:
        raise ValueError(f"n_columns must be 1 or more, got {n_columns}. Pass 80.")
    rows = (letters(residues), *("".join(_CLASSES[of]) for of in (true, predicted)))
    wrong = "".join(np.where(true != predicted, "x", " "))
    blocks = []
    for start in range(0, len(residues), n_columns):
        names = (f"{start + 1:6d}", "true  ", "found ", "errors")
        lines = (line[start : start + n_columns] for line in (*rows, wrong))
        blocks.append("\n".join(f"{name} {line}".rstrip() for name, line in zip(names, lines, strict=True)))
    return "\n\n".join(blocks)
