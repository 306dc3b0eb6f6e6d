"""Quasi-identifiers as ordered codes: where a class may be cut, what it loses, and how it is written."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxresearch.data.files.cells import Cells, cells_of, decimal_mark, is_missing, numbers_of
from jaxresearch.data.files.columns import read_columns
from jaxresearch.data.files.words import Rows

ANY = "*"
Numbers = Literal["range", "mean"]
Hierarchy = Mapping[str, Sequence[str]]


class Attribute(NamedTuple):
    """A quasi-identifier.

    Attributes:
        codes: The position of each row on an ordered scale, from 0.
        kind: number, date, category or hierarchy.
        loss: Codes of a class -> how much of the column it hides: 0 if its values are equal, 1 if it could be any value.
        groupings: Codes of a class -> labels by which it may be cut, in ascending order of the codes; the preferred first.
        texts: Codes of all classes -> the text that replaces the values of each.
    """

    codes: np.ndarray
    kind: str
    loss: Callable[[np.ndarray], float]
    groupings: Callable[[np.ndarray], Sequence[np.ndarray]]
    texts: Callable[[Sequence[np.ndarray]], list[str]]


def words_of(values: Sequence[Any] | np.ndarray | Cells) -> list[str]:
    """Returns the cells of a column as text, without spaces around them; "" where one is missing.

    Args:
        values: Text, numbers or dates.

    Returns:
        One word per row.

    Example:
        >>> words_of([" red", 3, 2.5, float("nan"), None])
        ['red', '3', '2.5', '', '']
    """
    if isinstance(values, Cells):
        return [values.words[code] for code in values.codes]
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        days, is_missing_date = values.astype("datetime64[D]"), np.isnat(values)
        are_days = bool(((days == values) | is_missing_date).all())
        texts = np.datetime_as_string(days if are_days else values.astype("datetime64[s]"))
        return ["" if missing else str(text) for text, missing in zip(texts, is_missing_date, strict=True)]
    return [_word(value) for value in values]


def _word(value: Any) -> str:
    """Returns a cell as text."""
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else np.format_float_positional(value, trim="-")
    return "" if value is None else str(value).strip()


def attributes_of(
    columns: Mapping[str, Sequence[str]],
    *,
    types: Mapping[str, str] | None = None,
    hierarchies: Mapping[str, Hierarchy] | None = None,
    numbers: Numbers = "range",
    separator: str = ",",
) -> dict[str, Attribute]:
    """Returns quasi-identifiers by name.

    Args:
        columns: Their cells.
        types: Kinds declared by the user, as for `jaxresearch.data.load`.
        hierarchies: By column, the ancestors of each value, the nearest first.
        numbers: How the numbers of a class are written.
        separator: Of the cells of the file, as for `jaxresearch.data.files.columns.read_columns`.

    Returns:
        Attributes; columns that are neither numbers nor dates are categories.

    Raises:
        ValueError: If a column is ambiguous, or a hierarchy lacks a value or is no tree.

    Example:
        >>> attributes = attributes_of({"age": ["30", "41"], "sex": ["f", "m"]})
        >>> [one.kind for one in attributes.values()], attributes["age"].texts([np.array([0, 1])])
        (['number', 'category'], ['30 to 41'])
    """
    hierarchies = hierarchies or {}
    cells = {name: cells_of(words) for name, words in columns.items()}
    flat = {name: one for name, one in cells.items() if name not in hierarchies}
    read = read_columns(flat, types, Rows(len(next(iter(columns.values()), ()))), separator=separator)
    marked = {name: numbers_of(one) for name, one in flat.items() if (types or {}).get(name, "number") == "number"}
    mark, _, _ = decimal_mark(marked)
    made = {}
    for name, one in cells.items():
        column = read[name].column if name in read else None
        if name in hierarchies:
            made[name] = _hierarchical(name, one, hierarchies[name])
        elif column is not None and column.kind in ("number", "date"):
            made[name] = _numeric(one, read[name].values, column.kind, mark=mark, numbers=numbers)
        else:
            made[name] = _categorical(one)
    return made


def _numeric(cells: Cells, values: np.ndarray, kind: str, *, mark: str, numbers: Numbers) -> Attribute:
    """Returns numbers or dates; missing cells are a category below all of them."""
    scale, codes = np.unique(values, return_inverse=True)  # nan is last
    has_missing = bool(np.isnan(values).any())
    scale, codes = (np.roll(scale, 1), (codes + 1) % len(scale)) if has_missing else (scale, codes)
    names = _shortest(cells, codes, len(scale))
    if has_missing and len({word for word in cells.words if is_missing(word)}) > 1:
        names[0] = ""
    extent = float(np.ptp(scale[int(has_missing) :])) if len(scale) > has_missing else 0.0

    def is_mixed(codes: np.ndarray) -> bool:
        return has_missing and bool(codes.min() == 0 < codes.max())

    def loss(codes: np.ndarray) -> float:
        spread = float(scale[codes.max()] - scale[codes.min()]) if codes.min() < codes.max() else 0.0
        return 1.0 if is_mixed(codes) else spread / extent if extent else 0.0

    def groupings(codes: np.ndarray) -> Sequence[np.ndarray]:
        return ((codes > 0).astype(int), codes) if is_mixed(codes) else (codes,)

    def ranges(classes: Sequence[np.ndarray]) -> list[str]:
        ends = [(int(codes.min()), int(codes.max())) for codes in classes]
        if all(low == high for low, high in ends):
            return [names[low] for low, _ in ends]
        return [
            names[0]
            if has_missing and high == 0
            else ANY
            if has_missing and low == 0
            else f"{names[low]} to {names[high]}"
            for low, high in ends
        ]

    def means(classes: Sequence[np.ndarray]) -> list[str]:
        if all(codes.min() == codes.max() for codes in classes):
            return [names[codes[0]] for codes in classes]
        return ["" if has_missing and codes.min() == 0 else _mean(scale[codes], kind, mark) for codes in classes]

    return Attribute(codes, kind, loss, groupings, means if numbers == "mean" else ranges)


def _mean(values: np.ndarray, kind: str, mark: str) -> str:
    """Returns the mean of a class: as a day, or with six significant digits; a value that all share has all of its digits."""
    mean = float(np.mean(np.sort(values)))  # sorted, so that rounding does not depend on the order of the rows
    if kind == "date":
        return (date(1970, 1, 1) + timedelta(days=round(mean))).isoformat()
    if values.min() == values.max():
        return np.format_float_positional(mean, trim="-").replace(".", mark)
    return (f"{mean:.0f}" if abs(mean) >= 1e6 else f"{mean:.6g}").replace(".", mark)


def _shortest(cells: Cells, codes: np.ndarray, n: int) -> list[str]:
    """Returns the shortest word of each code, so that equal numbers are written alike."""
    names = [""] * n
    pairs = {(int(code), cells.words[word]) for code, word in zip(codes, cells.codes, strict=True)}
    for code, word in sorted(pairs, key=lambda pair: (len(pair[1]), pair[1]), reverse=True):
        names[code] = word
    return names


def _categorical(cells: Cells) -> Attribute:
    """Returns categories in alphabetical order, written as sets; an empty cell is a category."""
    levels = sorted(cells.words)
    places = {level: place for place, level in enumerate(levels)}
    codes = np.array([places[word] for word in cells.words], np.int64)[cells.codes]
    like_numbers = {word for word, styles in zip(cells.words, numbers_of(cells).styles, strict=True) if styles}

    def loss(codes: np.ndarray) -> float:
        n = len(np.unique(codes))
        return n / len(levels) if n > 1 else 0.0

    def text(codes: np.ndarray) -> str:
        members = [levels[code] for code in np.unique(codes)]
        if len(members) == 1 and members[0] not in like_numbers:
            return members[0]
        return ANY if len(members) == len(levels) else "{" + ", ".join(map(_quoted, members)) + "}"

    def texts(classes: Sequence[np.ndarray]) -> list[str]:
        is_kept = all(codes.min() == codes.max() for codes in classes)
        return [levels[codes[0]] for codes in classes] if is_kept else [*map(text, classes)]

    return Attribute(codes, "category", loss, lambda codes: (codes,), texts)


def _quoted(word: str) -> str:
    """Returns a member of a set, in quotes if it is empty or has the signs of a set in it."""
    return json.dumps(word, ensure_ascii=False) if not word or set(word) & set(',{}"\\') else word


def _hierarchical(name: str, cells: Cells, hierarchy: Hierarchy) -> Attribute:
    """Returns categories written as their lowest common ancestor; classes are cut between its children."""
    paths: dict[str, tuple[str, ...]] = {value: (value, *ancestors) for value, ancestors in hierarchy.items()}
    depth = max(map(len, paths.values()), default=1)
    if "" in cells.words:
        paths.setdefault("", ("",) * depth)
    _require_tree(name, cells, paths, depth)
    distinct = sorted(cells.words, key=lambda word: paths[word][::-1])
    places = {word: place for place, word in enumerate(distinct)}
    levels = [[paths[word][level] for word in distinct] for level in range(depth)]
    labels = np.array([np.cumsum([0, *(a != b for a, b in zip(one, one[1:], strict=False))]) for one in levels])
    leaves = [Counter(path[level] for path in paths.values()) for level in range(depth)]
    codes = np.array([places[word] for word in cells.words], np.int64)[cells.codes]

    def height(codes: np.ndarray) -> int:
        low, high = int(codes.min()), int(codes.max())
        return next((level for level in range(depth) if labels[level, low] == labels[level, high]), depth)

    def loss(codes: np.ndarray) -> float:
        level = height(codes)
        return 1.0 if level == depth else leaves[level][levels[level][codes[0]]] / len(paths) if level else 0.0

    def groupings(codes: np.ndarray) -> Sequence[np.ndarray]:
        return (labels[max(height(codes) - 1, 0)][codes],)

    def text(codes: np.ndarray) -> str:
        level = height(codes)
        return ANY if level == depth else levels[level][codes[0]]

    return Attribute(codes, "hierarchy", loss, groupings, lambda classes: [*map(text, classes)])


def _require_tree(name: str, cells: Cells, paths: Mapping[str, Sequence[str]], depth: int) -> None:
    """Raises if a hierarchy lacks a value, has levels missing, or two parents for one label."""
    unknown = next((word for word in sorted(cells.words) if word not in paths), None)
    if unknown is not None:
        raise ValueError(
            f"hierarchy of {name} must have every value of the column, got none for {unknown!r}. Add a row."
        )
    short = next((path for path in paths.values() if len(path) != depth), None)
    if short:
        raise ValueError(
            f"hierarchy of {name} must have {depth - 1} ancestors for every value, got {len(short) - 1} for {short[0]!r}. "
            "Repeat one."
        )
    parents: dict[tuple[int, str], str] = {}
    for path in paths.values():
        for level, (label, parent) in enumerate(zip(path, path[1:], strict=False)):
            other = parents.setdefault((level, label), parent)
            if other != parent:
                raise ValueError(
                    f"hierarchy of {name} must have one parent for each label, got {other!r} and {parent!r} for {label!r}. "
                    "Correct one."
                )
