"""Predictions as the content of a file: a table of text, or arrays."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxresearch.execution import Predictions
from jaxresearch.records.files import written_table

ENDINGS = (".csv", ".npz", ".npy")


def written_predictions(predictions: Predictions, ending: str) -> bytes:
    r"""Returns predictions in the format of a file's ending.

    ========  ==========================================================================================================
    ending    content
    ========  ==========================================================================================================
    ``.csv``  columns of the data, or the number of the row (from 1) if all are inputs; the prediction, class probabilities, and
              the spread of each number over seeds, to six significant digits; if a cell was missing or unknown, a last column
              of notes
    ``.npz``  the same as arrays with all digits, and the predictions of each seed
    ``.npy``  only the ensemble's probabilities or values
    ========  ==========================================================================================================

    Args:
        predictions: The predictions.
        ending: One of `ENDINGS`.

    Raises:
        ValueError: If a table is requested and an example has several rows of numbers, or a column of the data has the name of
            a column of predictions.

    Example:
        >>> predicted = Predictions(np.array([[[1.0]], [[3.0]]]), (0, 1), target="price", columns={"id": ["a"]})
        >>> written_predictions(predicted, ".csv").decode()
        'id,prediction price,spread price\na,2,1.41421\n'
        >>> predicted = Predictions(np.array([[[2.0, 1.5, 3.0]]]), (0,), target="price", others=("low", "high"))
        >>> written_predictions(predicted, ".csv").decode().splitlines()
        ['row,prediction price,low,high,spread price,spread low,spread high', '1,2,1.5,3,,,']
    """
    if ending == ".csv":
        return _table(predictions)
    buffer = io.BytesIO()
    if ending == ".npy":
        np.save(buffer, predictions.ensemble, allow_pickle=False)
    else:
        np.savez(buffer, allow_pickle=False, **_arrays(predictions))
    return buffer.getvalue()


def _arrays(predictions: Predictions) -> dict[str, np.ndarray]:
    """Returns predictions as named arrays."""
    what = "probabilities" if predictions.class_names else "values"
    arrays = {
        "prediction": predictions.labels,
        what: predictions.ensemble,
        "spread": predictions.spread,
        f"{what}_by_seed": predictions.by_seed,
    }
    arrays |= {"seeds": np.array(predictions.seeds)} | (
        {"class_names": np.array(predictions.class_names)} if predictions.class_names else {}
    )
    if predictions.others:
        arrays["others"] = np.array(predictions.others)
    if predictions.notes_by_row:
        arrays["notes"] = np.array(predictions.notes_by_row)
    return _with_columns(arrays, {name: np.array(cells) for name, cells in predictions.columns.items()})


def _table(predictions: Predictions) -> bytes:
    """Returns predictions as a table of text: columns of the data, the prediction, probabilities and spread."""
    if predictions.by_seed.ndim != 3:
        raise ValueError(
            f"a table must have one row for each example, got predictions of shape {predictions.by_seed.shape[1:]}. "
            "Pass --output predictions.npz."
        )
    n_rows = predictions.by_seed.shape[1]
    carried = dict(predictions.columns) or {"row": [*range(1, n_rows + 1)]}
    columns = _with_columns(dict(_predicted(predictions)), carried)
    return written_table(columns)


def _with_columns(ours: dict[str, Any], carried: dict[str, Any]) -> dict[str, Any]:
    """Returns the columns of the data, then ours; raises if two have the same name."""
    if common := ours.keys() & carried.keys():
        name = sorted(common)[0]
        raise ValueError(f"columns of the data must not have the names of predictions, got {name!r}. Rename it.")
    return {**carried, **ours}


def _predicted(predictions: Predictions) -> Iterator[tuple[str, list[Any]]]:
    """Yields the columns of predictions by name."""
    means, spreads = predictions.ensemble.T, predictions.spread.T
    if predictions.class_names:
        yield f"prediction {predictions.target}".rstrip(), predictions.labels.tolist()
        names, what = predictions.class_names, "probability"
    else:
        n_values = len(means) - len(predictions.others)
        names, what = (predictions.target,) if n_values == 1 else tuple(map(str, range(n_values))), "prediction"
    headings = (*(f"{what} {name}".rstrip() for name in names), *predictions.others)
    for heading, mean in zip(headings, means, strict=True):
        yield heading, [*map(_short, mean)]
    for name, spread in zip((*names, *predictions.others), spreads, strict=True):
        yield f"spread {name}".rstrip(), [*map(_short, spread)]
    if predictions.notes_by_row:
        yield "notes", [*predictions.notes_by_row]


def _short(value: float) -> str:
    """Returns a number with six significant digits, or all digits before the decimal point; nothing for nan."""
    return "" if np.isnan(value) else f"{value:.0f}" if 1e6 <= abs(value) < 1e15 else f"{value:.6g}"
