"""What an experiment needs of its data, and the columns of a table that it leaves out."""

from collections.abc import Iterable

from jaxresearch.data.dataset import DataCard
from jaxresearch.data.parts import Part

_MOST, _HELD = 8, 10  # column names in a note, and of those that a refusal says the data have


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
        ValueError: data must have the columns age, height; those of mine are age. Rename them in the data, or name yours in ...
    """
    inputs = part["inputs"]
    held = list(inputs) if isinstance(inputs, dict) else []
    if not {*names} <= {*held}:
        have = f"those of {card.name} are {_first_names(held)}" if held else f"{card.name} is not a table"
        it = "it" if len(names) == 1 else "them"
        own = f"Rename {it} in the data, or name yours in the experiment's file."
        advice = own if held else "Use a table."
        raise ValueError(
            f"data must have the column{'s' if len(names) > 1 else ''} {', '.join(names)}; {have}. {advice}"
        )


def require_texts(part: Part, card: DataCard, *names: str) -> None:
    """Raises an error if the data lacks a column of texts that an experiment needs, or has it as another kind.

    Few or repeated texts are read as a category, digits as numbers, unless the user declares them.

    Args:
        part: As collected.
        card: The card of the data.
        *names: Required input columns.

    Raises:
        ValueError: If a column is of another kind, or as `require_columns`.

    Example:
        >>> from jaxresearch.data.dataset import Column
        >>> card = DataCard(name="mine", source="memory", columns=(Column(name="note", kind="category", levels=("yes",)),))
        >>> require_texts({"inputs": {"note": [0, 0]}}, card, "note")
        Traceback (most recent call last):
        ...
        ValueError: column note must be text, got a column of kind category. Pass --types note=text.
    """
    require_columns(part, card, *names)
    kinds = {column.name: column.kind for column in card.columns}
    wrong = [name for name in names if kinds.get(name, "text") not in ("text", "id")]
    if wrong:
        plural = "s" if len(wrong) > 1 else ""
        found = " and ".join(dict.fromkeys(kinds[name] for name in wrong))
        raise ValueError(
            f"column{plural} {', '.join(wrong)} must be text, got {'columns' if plural else 'a column'} of kind {found}. Pass "
            f"--types {','.join(f'{name}=text' for name in wrong)}."
        )


def require_images(part: Part, *, or_rows: bool = False) -> None:
    """Raises an error if the data are no images, which an experiment needs.

    Args:
        part: As collected.
        or_rows: Whether an array with a row of numbers for each example will do, too.

    Raises:
        ValueError: If the inputs are a table, or an array without axes of height and width.

    Example:
        >>> import numpy as np
        >>> require_images({"inputs": np.zeros((2, 28, 28, 1))})
        >>> require_images({"inputs": {"age": np.zeros(2)}})
        Traceback (most recent call last):
        ...
        ValueError: data must be images, got a table with the columns age. Name a folder of images, an .npz file or another ...
    """
    inputs = part["inputs"]
    if isinstance(inputs, dict):
        what = f"a table with the columns {_first_names(list(inputs))}"
    elif inputs.ndim < 3 and not or_rows:
        what = f"arrays of shape {inputs.shape[1:]}"
    else:
        return
    raise ValueError(f"data must be images, got {what}. Name a folder of images, an .npz file or another experiment.")


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


def _first_names(names: list[str]) -> str:
    """Returns the names of columns that the data have, the first of many."""
    return ", ".join([*names[:_HELD], *["..."] * (len(names) > _HELD)])
