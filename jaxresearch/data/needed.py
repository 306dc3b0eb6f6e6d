"""Columns of a table that an experiment needs, and those that it leaves out."""

from collections.abc import Iterable

from jaxresearch.data.dataset import DataCard
from jaxresearch.data.parts import Part

_MOST = 8  # column names in a note


def require_columns(part: Part, card: DataCard, *names: str) -> None:
    """Raises an error if the data lacks a column that an experiment needs.

    Args:
        part: As collected.
        card: The card of the data.
        *names: Required input columns.

    Raises:
        ValueError: If the inputs are not a table, or lack one of the columns.

    Example:
        >>> part = {"inputs": {"age": [30, 41]}, "targets": [0, 1]}
        >>> require_columns(part, DataCard(name="mine", source="memory"), "age", "height")
        Traceback (most recent call last):
        ...
        ValueError: data must have the columns age, height; those of mine are age. Name yours in the experiment's file ...
    """
    inputs = part["inputs"]
    held = list(inputs) if isinstance(inputs, dict) else []
    if not {*names} <= {*held}:
        named = ", ".join(held[:10]) + (", ..." if len(held) > 10 else "")
        have = f"those of {card.name} are {named}" if held else f"{card.name} is not a table"
        it = "it" if len(names) == 1 else "them"
        own = f"Name yours in the experiment's file (COLUMN in the template for texts), or rename {it} in the data."
        advice = own if held else "Use a table."
        raise ValueError(
            f"data must have the column{'s' if len(names) > 1 else ''} {', '.join(names)}; {have}. {advice}"
        )


def unused_notes(card: DataCard, columns: Iterable[str], *, used: Iterable[str]) -> tuple[str, ...]:
    """Returns a note on the columns of a table that an experiment leaves out.

    Args:
        card: Of the data.
        columns: Those that the table holds, apart from the target and the groups.
        used: Those that the experiment reads, one or more.

    Returns:
        A line; none if all are read, or the data are bundled: the experiment is written for them.

    Example:
        >>> unused_notes(DataCard(name="mine", source="mine.csv"), ["smiles", "name", "mass"], used=["smiles"])
        ('columns name, mass are left out: this experiment reads smiles alone',)
    """
    *others, last = used
    left = [name for name in columns if name not in (*others, last)]
    if not left or card.source.startswith("bundled"):
        return ()
    shown = ", ".join([*left[:_MOST], *[f"and {len(left) - _MOST} more"] * (len(left) > _MOST)])
    those = f"columns {shown} are" if len(left) > 1 else f"column {shown} is"
    read = f"{', '.join(others)} and {last}" if others else last
    return (f"{those} left out: this experiment reads {read} alone",)
