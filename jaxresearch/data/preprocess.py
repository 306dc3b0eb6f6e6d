"""Preprocessing as pure functions: fitted on training examples only, applied to any part, inverted for model outputs.

Everything estimated from data (means, occurring categories, a vocabulary) is estimated by ``fit``, which only sees training
examples. Column types, levels and class names are the schema, on the card.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxresearch.data import memory
from jaxresearch.data.dataset import Column, DataCard, Dataset, Fitted
from jaxresearch.data.parts import Part, arrays_by_path, map_arrays
from jaxresearch.data.rows import Rows, pieces

_EMPTY = ""  # marks the path of an empty dict
_FLOAT32_DIGITS = 4096  # mean over standard deviation beyond which float32 resolves differences too poorly


def _nothing(train: Part, card: DataCard) -> Fitted:
    """Returns an empty dict: there is nothing to estimate."""
    del train, card
    return {}


def _unchanged(fitted: Fitted, part: Part, *, training: bool) -> Part:
    """Returns the part unchanged."""
    del fitted, training
    return part


def _outputs(fitted: Fitted, outputs: Any) -> Any:
    """Returns the outputs unchanged."""
    del fitted
    return outputs


def _card(fitted: Fitted, card: DataCard) -> DataCard:
    """Returns the card unchanged."""
    del fitted
    return card


class Preprocessor(NamedTuple):
    """The steps from collected data to arrays for a model.

    ============  ============================================  ==========================================================
    function      signature                                     contract
    ============  ============================================  ==========================================================
    ``fit``       ``(train, card) -> fitted``                   sees training examples only; returns nested dicts of NumPy
                                                                arrays of numbers or words, which can be saved
    ``apply``     ``(fitted, part, *, training) -> part``       row by row; also for parts without targets
    ``invert``    ``(fitted, outputs) -> outputs``              to the target's own units; takes NumPy arrays, and traced
                                                                arrays in a compiled evaluation
    ``describe``  ``(fitted, card) -> card``                    adds names of features or tokens; shapes are filled in
    ============  ============================================  ==========================================================

    A field that is left out changes nothing.

    Example:
        >>> def fit(train, card):
        ...     return {"largest": np.abs(train["inputs"]).max()}
        >>> def apply(fitted, part, *, training):
        ...     return {**part, "inputs": part["inputs"] / fitted["largest"]}
        >>> train, test = ({"inputs": np.array([[2.0], [size]]), "targets": np.array([0, 1])} for size in (4.0, 8.0))
        >>> prepared = prepare(Preprocessor(fit, apply), Dataset(train, test, None, DataCard(name="mine", source="memory")))
        >>> prepared.train["inputs"].tolist(), prepared.test["inputs"].tolist()
        ([[0.5], [1.0]], [[0.5], [2.0]])
    """

    fit: Callable[[Part, DataCard], Fitted] = _nothing
    apply: Callable[..., Part] = _unchanged
    invert: Callable[[Fitted, Any], Any] = _outputs
    describe: Callable[[Fitted, DataCard], DataCard] = _card

    @property
    def has_units(self) -> bool:
        """Whether outputs differ from the target's own units until inverted."""
        return self.invert is not _outputs


def prepare(preprocessor: Preprocessor, dataset: Dataset) -> Dataset:
    """Returns preprocessed data: fitted on the training part only, applied to every part.

    Args:
        preprocessor: Of the experiment.
        dataset: As collected and split; returned unchanged if it has no data.

    Returns:
        The parts, ``fitted``, and a card with the shape of an example and a note on classes without training examples.

    Raises:
        ValueError: Raised by the preprocessor.

    Example:
        >>> columns = {"age": np.array([1.0, 3.0]), "colour": np.array([0, 1], np.int32)}
        >>> schema = (Column(name="age", kind="number"), Column(name="colour", kind="category", levels=("blue", "red")))
        >>> part = {"inputs": columns, "targets": np.array([0, 1], np.int32)}
        >>> card = DataCard(name="mine", source="memory", columns=schema, class_names=("a", "b"))
        >>> prepared = prepare(standard, Dataset(part, part, None, card))
        >>> prepared.card.feature_names, prepared.train["inputs"].tolist()
        (('age', 'colour=blue', 'colour=red'), [[-1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    """
    if not dataset.train:
        return dataset
    fitted = preprocessor.fit(dataset.train, dataset.card)
    parts = {name: preprocessor.apply(fitted, part, training=name == "train") for name, part in dataset.parts().items()}
    card = dataclasses.replace(dataset.card, notes=(*dataset.card.notes, *_unseen_classes(dataset)))
    card, inputs = preprocessor.describe(fitted, card), parts["train"].get("inputs")
    if isinstance(inputs, dict):
        arrays = arrays_by_path(inputs)
        card = dataclasses.replace(
            card, feature_arrays=tuple((path, tuple(array.shape[1:]), str(array.dtype)) for path, array in arrays)
        )
    elif inputs is not None:
        card = dataclasses.replace(card, feature_shape=tuple(inputs.shape[1:]), feature_dtype=str(inputs.dtype))
    return dataset._replace(**parts, card=card, fitted=fitted)


def _unseen_classes(dataset: Dataset) -> tuple[str, ...]:
    """Returns a note on classes that no training example has."""
    targets = {name: part["targets"] for name, part in dataset.parts().items() if "targets" in part}
    if not dataset.card.class_names or "train" not in targets:
        return ()
    unseen = np.setdiff1d(np.concatenate([np.unique(of_part) for of_part in targets.values()]), targets["train"])
    named = ", ".join(repr(dataset.card.class_names[label]) for label in unseen[:5]) + ", ..." * (len(unseen) > 5)
    return (f"no training example is of class {named}",) if len(unseen) else ()


def numbers(fitted: Fitted) -> Fitted:
    """Returns the fitted arrays without text, as arguments for a compiled run.

    Args:
        fitted: From `Preprocessor.fit`.

    Returns:
        The nested dicts with numeric arrays only.

    Example:
        >>> numbers({"mean": np.array(2.0), "names": np.array(["a"]), "of": {"names": np.array(["b"])}})
        {'mean': array(2.), 'of': {}}
    """
    kept = {name: numbers(entry) if isinstance(entry, dict) else np.asarray(entry) for name, entry in fitted.items()}
    return {name: entry for name, entry in kept.items() if isinstance(entry, dict) or entry.dtype.kind in "biuf"}


def flat(fitted: Fitted) -> dict[str, np.ndarray]:
    """Returns the fitted arrays by name, ready to be saved; `nested` is the inverse.

    Args:
        fitted: From `Preprocessor.fit`.

    Returns:
        Arrays by path, a JSON list.

    Raises:
        ValueError: If an array holds neither numbers nor words.

    Example:
        >>> flat({"inputs": {"age": np.array(2.0)}})
        {'["inputs", "age"]': array(2.)}
    """
    arrays: dict[str, np.ndarray] = {}

    def add(path: list[str], entry: Any) -> None:
        if isinstance(entry, dict):
            for name, inner in entry.items():
                add([*path, name], inner)
            if not entry and path:
                arrays[json.dumps([*path, _EMPTY])] = np.zeros(0)
            return
        array = np.asarray(entry)
        arrays[json.dumps(path)] = array = np.array(array.tolist()) if array.dtype.kind == "T" else array
        if array.dtype.kind not in "biufU":
            raise ValueError(
                f"fit must return arrays of numbers or words, got {array.dtype} at {'.'.join(path)}. Convert it."
            )

    add([], fitted)
    return arrays


def nested(arrays: Mapping[str, Any]) -> Fitted:
    """Returns the fitted nested dicts from arrays by name.

    Args:
        arrays: From `flat`.

    Returns:
        Nested dicts.

    Example:
        >>> nested(flat({"inputs": {"age": np.array(2.0)}}))
        {'inputs': {'age': array(2.)}}
    """
    fitted: Fitted = {}
    for name, array in arrays.items():
        *path, last = json.loads(name)
        inner = fitted
        for part in path:
            inner = inner.setdefault(part, {})
        if last != _EMPTY:
            inner[last] = array
    return fitted


def padded(fitted: Sequence[Fitted]) -> list[Fitted]:
    """Returns the fitted arrays of several folds, padded with zeros to common shapes.

    Args:
        fitted: `numbers` of each fold, with the same names.

    Returns:
        The padded arrays of each fold.

    Example:
        >>> [entry["counts"].tolist() for entry in padded([{"counts": np.array([1, 2])}, {"counts": np.array([3])}])]
        [[1, 2], [3, 0]]
    """

    def widest(*arrays: Any) -> tuple[int, ...]:
        return tuple(max(sizes) for sizes in zip(*(np.shape(array) for array in arrays), strict=True))

    def pad(array: Any, shape: tuple[int, ...]) -> np.ndarray:
        array = np.asarray(array)
        return (
            np.pad(array, [(0, size - own) for size, own in zip(shape, array.shape, strict=True)]) if shape else array
        )

    shapes = map_arrays(widest, *fitted)
    return [map_arrays(pad, one, shapes) for one in fitted]


def _fit_standard(train: Part, card: DataCard) -> Fitted:
    """Returns the estimates for features and targets."""
    inputs, targets = train["inputs"], train.get("targets")
    of_inputs = _fit_table(inputs, card.columns) if isinstance(inputs, dict) else _fit_array(inputs)
    if targets is None or np.asarray(targets).dtype.kind != "f":
        return {"inputs": of_inputs}
    return {"inputs": of_inputs, "targets": _scale(np.asarray(targets, np.float64))}


def _apply_standard(fitted: Fitted, part: Part, *, training: bool) -> Part:
    """Returns float32 features, and standardised regression targets."""
    del training
    inputs = part["inputs"]
    prepared = {
        **part,
        "inputs": _features(fitted["inputs"], inputs) if isinstance(inputs, dict) else _array(fitted, inputs),
    }
    if "targets" in fitted and "targets" in part:
        of_targets = fitted["targets"]
        prepared["targets"] = ((part["targets"] - of_targets["mean"]) / of_targets["scale"]).astype(np.float32)
    return prepared


def _invert_standard(fitted: Fitted, outputs: Any) -> Any:
    """Returns predicted values in the target's own units, and logits unchanged.

    In a compiled evaluation, in float32, values with a mean of thousands of standard deviations (seconds since 1970) are
    measured from their mean, to keep differences precise.
    """
    if "targets" not in fitted:
        return outputs
    mean, scale = fitted["targets"]["mean"], fitted["targets"]["scale"]
    if isinstance(outputs, np.ndarray):
        return np.asarray(outputs, np.float64) * scale + mean
    return outputs * scale + mean * (abs(mean) <= _FLOAT32_DIGITS * scale)


def _describe_standard(fitted: Fitted, card: DataCard) -> DataCard:
    """Returns the card with the names of the features, and a note on levels without training examples."""
    if not card.columns:
        return card
    known = {column: fitted["inputs"][column.name]["is_known"] for column in card.columns if column.kind == "category"}
    unseen = [f"{one.name} ({(~seen).sum():,} of {seen.size:,})" for one, seen in known.items() if not seen.all()]
    line = f"levels that no training example has are encoded as unknown: {', '.join(unseen)}"
    notes = (*card.notes, line) if unseen else card.notes
    return dataclasses.replace(card, feature_names=feature_names(card.columns), notes=notes)


standard = Preprocessor(_fit_standard, _apply_standard, _invert_standard, _describe_standard)
"""The default preprocessor of an experiment.

==========================================  =========================================================================
inputs                                      features
==========================================  =========================================================================
a table                                     numbers and dates: missing ones imputed by the median, then standardised;
                                            categories one-hot, all zero if no training example has the category
8-bit images (three axes or more)           unchanged; models scale them to 0 to 1
a matrix of numbers (n, features)           each column standardised; 8-bit matrices as a whole
other numbers                               standardised as a whole
==========================================  =========================================================================

Regression targets are standardised in float64; metrics and predictions are inverted to the target's own units.
"""


def feature_names(columns: Sequence[Column]) -> tuple[str, ...]:
    """Returns the names of the features that `standard` derives from a table.

    Args:
        columns: The schema.

    Returns:
        ``column``, ``column is missing`` or ``column=level``.

    Example:
        >>> feature_names([Column(name="age", kind="number", n_missing=1)])
        ('age', 'age is missing')
    """
    names: list[str] = []
    for column in columns:
        if column.kind == "category":
            names.extend(f"{column.name}={level}" for level in column.levels)
        else:
            names.extend([column.name, f"{column.name} is missing"] if column.has_missing else [column.name])
    return tuple(names)


def _fit_table(columns: dict[str, np.ndarray], schema: Sequence[Column]) -> Fitted:
    """Returns the fitted encoder of each column."""
    _require_features(schema, n=len(next(iter(columns.values()), ())))
    fitted: Fitted = {}
    for column in schema:
        values = columns[column.name]
        if column.kind == "category":
            counts = np.bincount(values[values >= 0], minlength=len(column.levels))
            fitted[column.name] = {"is_known": counts > 0}
        else:
            known = values[~np.isnan(values)]
            median = np.asarray(np.median(known) if len(known) else 0.0)
            scale = _scale(np.where(np.isnan(values), median, values))
            fitted[column.name] = {"median": median, **scale, "has_missing": np.asarray(column.has_missing)}
    return fitted


def _require_features(schema: Sequence[Column], *, n: int) -> None:
    """Raises for columns that cannot be features, and for features that do not fit into memory."""
    if not schema:
        raise ValueError("a table must have a column besides the target, got none. Add one.")
    if unfit := [column for column in schema if column.kind in ("text", "id")]:
        many, them = ("s", "them") if len(unfit) > 1 else ("", "it")
        found = {"text": "texts", "id": "ids, different in (nearly) every row"}
        got = "; ".join(f"{found[one.kind]}, in {one.name!r}" if many else found[one.kind] for one in unfit)
        drop, keep = (",".join(f"{one.name}={kind}" for one in unfit) for kind in ("drop", "category"))
        raise ValueError(
            f"column{many} {', '.join(repr(one.name) for one in unfit)} must be numbers, dates or categories to be "
            f"{'features' if many else 'a feature'}, got {got}. Leave {them} out with --types {drop}, or read {them} as --types "
            f"{keep}."
        )
    width = len(feature_names(schema))
    size, room = 4 * width * n, memory.of_machine()
    if size > room / 2:
        widest = max(schema, key=lambda column: len(column.levels))
        raise ValueError(
            f"features must fit into half of the memory ({room / 2e9:.1f} GB), got {n:,} examples of {width:,} features, "
            f"{size / 1e9:.1f} GB; column {widest.name!r} alone has {len(widest.levels):,} levels. Leave it out with --types "
            f"{widest.name}=drop."
        )


def _scale(values: np.ndarray) -> Fitted:
    """Returns mean and standard deviation (1 for constants) in float64, of a vector or of each column of a matrix."""
    # Values are scaled to at most 1 first, so that squares do not overflow.
    keep = {"axis": 0, "keepdims": values.ndim > 1}  # (1, columns): ranks are not promoted in compiled programs
    largest = np.abs(values).max(**keep, initial=0.0)
    largest = np.where(largest == 0, 1.0, largest)
    mean = np.mean(values / largest, **keep) * largest
    deviation = np.sqrt(np.mean(((values - mean) / largest) ** 2, **keep)) * largest
    is_constant = deviation <= 1e-12 * largest  # up to rounding
    return {"mean": np.asarray(mean), "scale": np.asarray(np.where(is_constant, 1.0, deviation))}


def _features(fitted: Fitted, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the float32 features of a table; traced if the columns are."""
    features = [_column(encoder, columns[name]) for name, encoder in fitted.items()]
    return features[0].__array_namespace__().concatenate(features, axis=1, dtype=np.float32)


def _column(encoder: Fitted, values: np.ndarray) -> np.ndarray:
    """Returns the features of one column."""
    if "is_known" in encoder:
        levels = np.arange(len(encoder["is_known"]))
        return ((values[:, None] == levels[None]) & encoder["is_known"][None]).astype(np.float32)
    xp = values.__array_namespace__()
    missing = xp.isnan(values)
    standard = _standardised(xp.where(missing, encoder["median"], values), encoder["mean"], encoder["scale"])
    return xp.stack([standard, missing], axis=1) if encoder["has_missing"] else standard[:, None]


def _standardised(values: Any, mean: Any, scale: Any) -> Any:
    """Returns standardised values, in two steps that keep float32 precise for large means (days since 1970)."""
    near = np.asarray(mean, values.dtype)
    return (values - near) / scale - (mean - near) / scale


def _is_pixels(values: Any) -> bool:
    """Returns whether an array may hold 8-bit images."""
    return values.dtype == np.uint8 and values.ndim > 2


def _fit_array(values: Any) -> Fitted:
    """Returns mean and scale of numbers: of each column of a matrix, else as a whole; empty for images (not 0/1 masks)."""
    if _is_pixels(values) and any(piece.max(initial=0) > 1 for piece in pieces(values)):
        return {}
    return _scale_in_pieces(values, by_column=values.ndim == 2 and values.dtype != np.uint8)


def _scale_in_pieces(values: Any, *, by_column: bool) -> Fitted:
    """Returns mean and standard deviation in float64, summed in chunks: bit-identical for rows on disk and in memory."""
    axis, n = (0, len(values)) if by_column else (None, math.prod(values.shape))

    def total(fun: Callable[[np.ndarray], np.ndarray]) -> Any:
        terms = (fun(np.asarray(piece, np.float64)) for piece in pieces(values))
        return sum(piece.sum(axis=axis, keepdims=by_column) for piece in terms)

    # Scaled so that squares of large numbers do not overflow.
    wide = ((piece.min(axis, keepdims=by_column), piece.max(axis, keepdims=by_column)) for piece in pieces(values))
    lows, highs = zip(*wide, strict=True)
    low, high = np.asarray(np.min(lows, axis=0), np.float64), np.asarray(np.max(highs, axis=0), np.float64)
    largest = np.maximum(np.abs(low), np.abs(high)).max()
    unit = np.exp2(np.frexp(max(largest, 1.0))[1] - 1)  # a power of two, so that division is exact
    mean = np.asarray(total(lambda piece: piece / unit) / n * unit)
    deviation = np.sqrt(total(lambda piece: ((piece - mean) / unit) ** 2) / n) * unit
    is_constant = (low == high) | (deviation <= 1e-12 * np.maximum(np.abs(mean), 1e-300))  # up to rounding
    return {"mean": np.where(low == high, low, mean), "scale": np.asarray(np.where(is_constant, 1.0, deviation))}


def _array(fitted: Fitted, values: Any) -> Any:
    """Returns standardised float32 numbers; images unchanged."""
    if not fitted["inputs"]:
        return values
    mean, scale = fitted["inputs"]["mean"], fitted["inputs"]["scale"]

    def standardised(rows: Any) -> Any:
        return _standardised(rows.astype(float), mean, scale).astype(np.float32)  # float64, or JAX's default float

    return values.mapped(standardised) if isinstance(values, Rows) else standardised(values)
