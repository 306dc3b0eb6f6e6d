"""Predictions as the content of a file: a table of text, or arrays."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxresearch.execution import Predictions

ENDINGS = (".csv", ".npz", ".npy")


def written_predictions(made: Predictions, ending: str) -> bytes:
    r"""Returns predictions in the format of a file's ending.

    ========  ==========================================================================================================
    ending    content
    ========  ==========================================================================================================
    ``.csv``  what is carried along, the prediction, probabilities of classes, and the spread of each number over seeds
    ``.npz``  the same as arrays, and the numbers of each seed
    ``.npy``  the ensemble's probabilities or values alone
    ========  ==========================================================================================================

    Args:
        made: The predictions.
        ending: One of `ENDINGS`.

    Raises:
        ValueError: If a table is asked for and an example has more than one row of numbers, or a column that is carried along
            has the name of one of ours.

    Example:
        >>> written_predictions(Predictions(np.array([[[1.0]], [[3.0]]]), (0, 1), columns={"id": ["a"]}), ".csv").decode()
        'id,prediction,spread\na,2.0,1.4142135623730951\n'
    """
    if ending == ".csv":
        return _table(made).encode()
    buffer = io.BytesIO()
    if ending == ".npy":
        np.save(buffer, made.ensemble, allow_pickle=False)
    else:
        np.savez(buffer, allow_pickle=False, **_arrays(made))
    return buffer.getvalue()


def _arrays(made: Predictions) -> dict[str, np.ndarray]:
    """Returns predictions as named arrays."""
    what = "probabilities" if made.class_names else "values"
    arrays = {"prediction": made.labels, what: made.ensemble, "spread": made.spread, f"{what}_by_seed": made.by_seed}
    arrays |= {"seeds": np.array(made.seeds)} | (
        {"class_names": np.array(made.class_names)} if made.class_names else {}
    )
    return _with_columns(arrays, {name: np.array(cells) for name, cells in made.columns.items()})


def _table(made: Predictions) -> str:
    """Returns predictions as a table of text: what is carried along, the prediction, then what the ensemble is sure of."""
    if made.by_seed.ndim != 3:
        raise ValueError(
            f"a table must have one row for each example, got predictions of shape {made.by_seed.shape[1:]}. Pass --output "
            "predictions.npz."
        )
    columns = _with_columns(dict(_predicted(made)), dict(made.columns))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _with_columns(ours: dict[str, Any], carried: dict[str, Any]) -> dict[str, Any]:
    """Returns the columns of the data, then ours; raises where two have one name."""
    if common := ours.keys() & carried.keys():
        name = sorted(common)[0]
        raise ValueError(f"columns of the data must not have the names of predictions, got {name!r}. Rename it.")
    return {**carried, **ours}


def _predicted(made: Predictions) -> Iterator[tuple[str, list[Any]]]:
    """Gives the columns of predictions by name."""
    means, spreads = made.ensemble.T, made.spread.T
    if made.class_names:
        yield "prediction", made.labels.tolist()
        for name, mean in zip(made.class_names, means, strict=True):
            yield f"probability {name}", mean.tolist()
        names = made.class_names
    else:
        names = ("",) if len(means) == 1 else tuple(map(str, range(len(means))))
        for name, mean in zip(names, means, strict=True):
            yield f"prediction {name}".rstrip(), mean.tolist()
    for name, spread in zip(names, spreads, strict=True):
        yield f"spread {name}".rstrip(), ["" if np.isnan(one) else one for one in spread.tolist()]
