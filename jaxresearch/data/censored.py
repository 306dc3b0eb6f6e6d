"""Times to an event that some examples have not had yet: the last visit without one censors the time."""

import dataclasses

import numpy as np

from jaxresearch.data.collected import Collected
from jaxresearch.data.dataset import Column
from jaxresearch.data.files.tables import column_advice


def censored(collected: Collected, event: str) -> Collected:
    """Returns a table whose targets are times and whether each ended in an event: its column of events is no longer an input.

    Args:
        collected: A table whose target is the time, such as days from surgery to the event or to the last visit.
        event: Its column of 1 for an event and 0 for a last visit without one.

    Returns:
        Targets ``(n, 2)``: time and event.

    Raises:
        ValueError: If there is no such column, a time is negative, an event is missing or neither 0 nor 1, or the training
            part has none; the message names the column and the row.

    Example:
        >>> from jaxresearch.data import Column, DataCard
        >>> columns = tuple(Column(name=name, kind="number") for name in ("age", "died"))
        >>> card = DataCard(name="mine", source="memory", columns=columns, target=Column(name="days", kind="number"))
        >>> inputs = {"age": np.array([60.0, 70.0]), "died": np.array([1.0, 0.0])}
        >>> part = {"inputs": inputs, "targets": np.array([[30.0], [90.0]])}
        >>> made = censored(Collected({"train": part}, card), "died")
        >>> made.parts["train"]["targets"].tolist(), list(made.parts["train"]["inputs"])
        ([[30.0, 1.0], [90.0, 0.0]], ['age'])
    """
    parts, card = collected
    column = _column(card.columns, event, card.name)
    time = card.target.name if card.target else "time"
    if card.class_names:
        raise ValueError(f"times in column {time} must be numbers, got classes. Pass --task regression.")
    made = {}
    for name, part in parts.items():
        place = "" if name == "train" else f" of the {name} part"
        happened = _events(part["inputs"][event], column, place)
        _require_times(part["targets"][:, 0], time, place)
        inputs = {other: values for other, values in part["inputs"].items() if other != event}
        made[name] = {**part, "inputs": inputs, "targets": np.stack([part["targets"][:, 0], happened], axis=1)}
    if not made["train"]["targets"][:, 1].any():
        raise ValueError(
            f"column {event} must have an event, 1, in some row, got 0 in all {len(made['train']['targets']):,}. "
            "Follow patients for longer, or name the column in which 1 is an event."
        )
    columns = tuple(one for one in card.columns if one.name != event)
    if not columns:
        raise ValueError(f"{card.name} must hold a column besides {time} and {event}, got none. Add features.")
    names = tuple(one.name for one in columns)
    note = f"of the times in column {time}, column {event} marks those that ended in an event"
    # Models predict this, not a time; so new rows are not scored as if they did.
    target = Column(name=f"log hazard of {event}", kind="number", note=note)
    card = dataclasses.replace(card, columns=columns, feature_names=names, feature_shape=(len(names),), target=target)
    return Collected(made, card)


def _column(columns: tuple[Column, ...], event: str, name: str) -> Column:
    """Returns the column of events."""
    found = next((one for one in columns if one.name == event), None)
    if found is None:
        advice = column_advice(event, [one.name for one in columns])
        raise ValueError(f"event must be a column of {name} besides the time, got {event!r}. {advice}")
    return found


def _events(values: np.ndarray, column: Column, place: str) -> np.ndarray:
    """Returns the events as 0 and 1."""
    if column.kind == "number":
        cells, bad = values, ~np.isin(values, (0, 1))
    else:
        cells = (
            [column.levels[index] if index >= 0 else "" for index in values] if column.kind == "category" else values
        )
        cells = np.array([str(cell) for cell in cells])
        bad = ~np.isin(cells, ("0", "1"))
    if bad.any():
        cell = cells[np.argmax(bad)].item()
        is_missing = cell == "" or cell != cell  # nan differs from itself
        shown = "no value" if is_missing else f"the word {cell!r}" if isinstance(cell, str) else f"{cell:g}"
        raise ValueError(
            f"column {column.name} must be 1 for an event and 0 without one, got {shown} in row {int(np.argmax(bad)) + 1}{place} "
            f"({int(bad.sum()):,} in all). Correct it or drop the row."
        )
    return cells.astype(np.float64)


def _require_times(times: np.ndarray, name: str, place: str) -> None:
    """Raises for a negative time."""
    bad = times < 0
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"column {name} must hold times of at least 0, got {times[row]:g} in row {row + 1}{place} ({int(bad.sum()):,} in "
            "all). Correct it or drop the row."
        )
