"""Yearly scores as tables, in NumPy on the host: from a row per score to a row per pupil."""

import dataclasses

import numpy as np

from jaxresearch.data import Column, DataCard, Dataset, Preprocessor, require_columns, unused_notes
from jaxresearch.data.parts import Part
from jaxresearch.fields.education.answers import require_given

_PREFIX = "score "
_FARTHEST = 20  # of a year from 0, in ranges of the years: beyond it, float32 confuses intercepts and slopes


def last_scores(rows: Dataset) -> Dataset:
    """Returns a row for each pupil: the school, the earlier scores by year, and as the target the last score.

    Args:
        rows: A row for each score, which is the target; inputs ``year`` and ``schoolid``, a category; split by pupil.

    Returns:
        Inputs ``schoolid``, ``year`` (of the target) and ``score YEAR`` for each year, nan where there is no score or it is the
        target. Pupils with a single score are left out. ``groups`` are the pupils.

    Raises:
        ValueError: If a column is missing, the years are not numbers near 0, the schools not a category, a year or a school is
            not given, a pupil has two scores in a year, no pupil of a part has two scores, or the rows are not split by pupil.

    Example:
        >>> inputs = {"year": np.array([0.0, 1.0, 2.0, 0.0, 1.0, 1.0]), "schoolid": np.array([0, 0, 0, 1, 1, 0])}
        >>> scores, pupils = np.array([[0.1], [0.9], [1.8], [0.2], [1.1], [3.0]]), np.array([4, 4, 4, 7, 7, 9])
        >>> part = {"inputs": inputs, "targets": scores, "groups": pupils}
        >>> school = Column(name="schoolid", kind="category", levels=("a", "b"))
        >>> card = DataCard(name="mine", source="memory", columns=(Column(name="year", kind="number"), school))
        >>> train = last_scores(Dataset(part, part, None, card)).train
        >>> train["targets"][:, 0].tolist(), train["inputs"]["year"].tolist(), train["inputs"]["score 1"].tolist()
        ([1.8, 1.1], [2.0, 1.0], [0.9, nan])
    """
    require_columns(rows.train, rows.card, "year", "schoolid")
    parts = rows.parts()
    if any("groups" not in part for part in parts.values()):
        raise ValueError(
            "scores must be split by pupil, got rows without groups. Pass --group with the column of pupils."
        )
    for column, kind in (("year", "number"), ("schoolid", "category")):
        _require_kind(rows, column, kind)
    for name, part in parts.items():
        _require_rows(part, name)
    years = np.unique(np.concatenate([part["inputs"]["year"] for part in parts.values()]))
    if max(abs(years)) > _FARTHEST * (years[-1] - years[0]):
        raise ValueError(
            f"year must count from about 0, got {years[0]:g} to {years[-1]:g}. Subtract the first year, {years[0]:g}."
        )
    school = next(column for column in rows.card.columns if column.name == "schoolid")
    pupils = {name: _by_pupil(part, years) for name, part in parts.items()}
    names = ("schoolid", "year", *(f"{_PREFIX}{year:g}" for year in years))
    n_missing = {name: sum(int(np.isnan(part["inputs"][name]).sum()) for part in pupils.values()) for name in names[1:]}
    numbers = (Column(name=name, kind="number", n_missing=n) for name, n in n_missing.items())
    schema = {"columns": (school, *numbers), "feature_names": names, "feature_shape": (len(names),)}
    notes = (*rows.card.notes, *unused_notes(rows.card, rows.card.feature_names, used=["year", "schoolid"]))
    notes += ("examples are pupils with two scores or more",)
    card = dataclasses.replace(rows.card, **schema, notes=notes)
    return rows._replace(card=card, **pupils)


def _require_kind(rows: Dataset, name: str, kind: str) -> None:
    """Raises unless a column is of a kind."""
    found = next(column for column in rows.card.columns if column.name == name).kind
    if found != kind:
        raise ValueError(f"{name} must be a {kind}, got a column of kind {found}. Pass --types {name}={kind}.")


def _require_rows(part: Part, name: str) -> None:
    """Raises unless each row has a year and a school, no pupil two scores in a year, and some pupil several scores."""
    years, pupils = part["inputs"]["year"], part["groups"]
    for column, is_missing in (("year", np.isnan(years)), ("schoolid", part["inputs"]["schoolid"] < 0)):
        require_given(is_missing, column, of="score", part=name)
    rows = np.lexsort((years, pupils))
    is_same_pupil = np.diff(pupils[rows]) == 0
    if (is_repeated := is_same_pupil & (np.diff(years[rows]) == 0)).any():
        row = int(rows[1 + np.argmax(is_repeated)])
        raise ValueError(
            f"a pupil must have one score in a year, got a second one for year {years[row]:g} in row {row + 1} of the {name} "
            f"part ({int(is_repeated.sum()):,} in all). Drop one, or give their mean."
        )
    if not is_same_pupil.any():
        raise ValueError(f"the {name} part must have a pupil with two scores, got none. Add scores of other years.")


def _by_pupil(part: Part, years: np.ndarray) -> Part:
    """Returns a row for each pupil of a part."""
    rows = part["inputs"]
    ids, first, pupil = np.unique(part["groups"], return_index=True, return_inverse=True)
    scores = np.full((len(ids), len(years)), np.nan)
    scores[pupil.reshape(-1), np.searchsorted(years, rows["year"])] = part["targets"][:, 0]
    has_several = (~np.isnan(scores)).sum(axis=1) > 1
    scores, ids, first = scores[has_several], ids[has_several], first[has_several]
    last = len(years) - 1 - (~np.isnan(scores))[:, ::-1].argmax(axis=1)
    place = np.arange(len(ids)), last
    targets = scores[place][:, None]
    scores[place] = np.nan
    by_year = {f"{_PREFIX}{year:g}": scores[:, i] for i, year in enumerate(years)}
    inputs = {"schoolid": rows["schoolid"][first], "year": years[last], **by_year}
    return {"inputs": inputs, "targets": targets, "groups": ids}


def _fit(train: Part, card: DataCard) -> dict[str, np.ndarray]:
    """Returns the years of the scores, and the mean gain in a year from a pupil's first score to the last."""
    years = np.array([float(name.removeprefix(_PREFIX)) for name in card.feature_names if name.startswith(_PREFIX)])
    scores = np.stack([train["inputs"][f"{_PREFIX}{year:g}"] for year in years], axis=1)
    first = (~np.isnan(scores)).argmax(axis=1)
    gains = train["targets"][:, 0] - scores[np.arange(len(first)), first]
    return {"years": years, "gain": np.asarray(gains.sum() / (train["inputs"]["year"] - years[first]).sum())}


def _apply(fitted: dict[str, np.ndarray], part: Part, *, training: bool) -> Part:
    """Returns the scores as an array, 0 where there is none, beside which scores are known."""
    del fitted, training
    columns = [values for name, values in part["inputs"].items() if name.startswith(_PREFIX)]
    arrays = columns[0].__array_namespace__()
    scores = arrays.stack(columns, axis=1).astype("float32")
    known = ~arrays.isnan(scores)
    inputs = {"schoolid": part["inputs"]["schoolid"], "year": part["inputs"]["year"].astype("float32")}
    return {**part, "inputs": {**inputs, "scores": arrays.where(known, scores, 0), "known": known.astype("float32")}}


known_scores = Preprocessor(fit=_fit, apply=_apply)
