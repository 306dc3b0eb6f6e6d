"""The description of a run's data: the sizes of its parts, the rule of the split, and the kinds of the columns."""

import decimal
import math
from collections.abc import Sequence
from typing import Any

_UPWARDS = decimal.Context(prec=4, rounding=decimal.ROUND_CEILING)
_MOST = 8  # column names shown per kind
_PLURALS = {"category": "categories"}
_RULES = {
    "class": "drawn at random, class by class",
    "random": "drawn at random",
    "group": "whole groups of {column}, drawn at random",
    "time": "the latest by {column}",
    "stretch": "the last in the order of the data",
}


def lines_of_config(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns `data_lines` of a run, sweep or study, and how fewer training examples were drawn.

    Args:
        config: As in ``config.json``.
    """
    n_folds, n_drawn = config.get("folds", 0), config.get("train_examples")
    is_resplit = config.get("resplit", False)
    lines = data_lines(config["data_card"], config["parts"], n_folds=n_folds, is_resplit=is_resplit)
    if n_drawn is not None:
        shared = "the same for all seeds" if "selection" in config["parts"] else "anew for each seed"
        of = "each fold, drawn at random" if n_folds else f"the training part, drawn at random, {shared}"
        lines.insert(1, ("training examples", f"{n_drawn:,} of {of}"))
    return [*lines, *privacy_lines(config["privacy"])] if "privacy" in config else lines


def epsilon_texts(stated: dict[str, Any]) -> tuple[str, str, str]:
    """Returns the largest epsilon of one run and that of all runs together, each with its delta, and whom they protect.

    Args:
        stated: As for `privacy_lines`.
    """
    infinite, total = float("inf"), stated["all_runs"]
    largest = max(stated["runs"], key=lambda one: infinite if (pld := one["epsilon"]["pld"]) is None else pld)
    n = total["n_runs"]
    of_all = f"{_above(total['epsilon'])} at {total['delta']:g} ({n} {'run' if n == 1 else 'runs'})"
    return f"{_above(largest['epsilon']['pld'])} at {largest['delta']:g}", of_all, largest["unit"]


def privacy_lines(stated: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns what a private run guarantees, and what it does not, as pairs of a name and a line.

    Args:
        stated: As in ``config.json``: ``runs``, ``all_runs`` and ``not_covered``.
    """
    lines = []
    for one in stated["runs"]:
        bounds, total = one["epsilon"], one["epsilon_of_all_runs"]["pld"]
        each = f"epsilon {_above(bounds['pld'])} per run" if one["n_runs"] > 1 else f"epsilon {_above(bounds['pld'])}"
        many = f", {_above(total)} for all {one['n_runs']} runs together" if one["n_runs"] > 1 else ""
        at = f"at delta {one['delta']:g} (Rényi: {_above(bounds['rdp'])}{' per run' if many else ''})"
        lines.append(("privacy", f"{each}{many}, {at}, for {one['unit']}, {one['relation']}"))
        lines.append(
            (
                "mechanism",
                f"{one['sampling']}, {one['n_steps']} steps; noise multiplier {one['noise_multiplier']:.6g}, "
                f"clip {one['clip']:g}; noise: {one['generator']}",
            )
        )
    if len(stated["runs"]) > 1:
        total = stated["all_runs"]
        lines.append(
            (
                "privacy",
                f"epsilon {_above(total['epsilon'])} at delta {total['delta']:g} for all {total['n_runs']} runs",
            )
        )
    return [*lines, ("not private", "; ".join(stated["not_covered"]))]


def _above(epsilon: float | None) -> str:
    """Returns an epsilon with four significant digits, rounded up; JSON writes an infinite one as null."""
    if epsilon is None or math.isinf(epsilon):
        return "infinite"
    return f"{_UPWARDS.create_decimal(str(epsilon)):f}"


def data_lines(
    card: dict[str, Any], parts: dict[str, int], *, n_folds: int = 0, is_resplit: bool = False
) -> list[tuple[str, str]]:
    """Returns how data were read and split, as pairs of a name and a line.

    Args:
        card: A `jaxresearch.data.DataCard`, as in ``config.json``.
        parts: Number of examples of each part; with folds, of the first.
        n_folds: Number of folds, 0 for none.
        is_resplit: Whether each seed has its own split.

    Returns:
        Sizes, the rule of the split, the columns with their kinds and missing cells, the target, and notes.

    Example:
        >>> import dataclasses
        >>> from jaxresearch.data import Column, DataCard, Split
        >>> columns = (Column(name="age", kind="number"), Column(name="zip", kind="category", levels=("00501", "501")))
        >>> target = Column(name="kind", kind="category", levels=("a", "b"))
        >>> card = DataCard(name="mine", source="mine.csv", columns=columns, class_names=("a", "b"), target=target, split=Split())
        >>> for name, line in data_lines(dataclasses.asdict(card), {"train": 80, "test": 20}):
        ...     print(name, "|", line)
        data | mine: 80 training, 20 test examples
        test part | 20 % of the examples, drawn at random, class by class (seed 0)
        columns | 1 number (age); 1 category (zip: 2 levels)
        target | kind: 2 classes
    """
    sizes = ", ".join(f"{n:,} {'training' if name == 'train' else name}" for name, n in parts.items())
    lines = [("data", f"{card['name']}: {sizes} examples{f' in each of {n_folds} folds' if n_folds else ''}")]
    if card.get("in_sample"):
        lines.append(("test part", "the training examples themselves: its metrics describe them and predict nothing"))
    elif n_folds or (card.get("split") or {}).get("fraction"):
        part = "selection part" if "selection" in parts else "test part"
        lines.append(("folds" if n_folds else part, _rule(card, parts, n_folds, is_resplit)))
    if columns := card.get("columns"):
        lines.append(("columns", "; ".join(_of_kind(kind, columns) for kind in _kinds(columns))))
    if missing := {one["name"]: one["n_missing"] for one in card.get("columns") or () if one.get("n_missing")}:
        lines.append(("missing cells", _counts(missing)))
    if target := card.get("target"):
        classes, levels = card["class_names"], target.get("levels")
        kind = f"{len(classes)} classes" if classes else "values"
        if levels and not set(classes) <= set(levels):
            kind = f"replaced by the preprocessing; {kind}"  # such as the next token of a text
        is_array = str(card.get("source", "")).lower().endswith(".npz")  # whose targets have the name of an array
        named = f"{kind}, from the array {target['name']}" if is_array else f"{target['name']}: {kind}"
        lines.append(("target", f"{named}{_noted(target)}"))
    return [*lines, *(("note", note) for note in card.get("notes") or ())]


def _rule(card: dict[str, Any], parts: dict[str, int], n_folds: int, is_resplit: bool) -> str:
    """Returns the rule of the split or of the folds; a class-wise split of values, or without a target, is a random one.

    The fraction is the requested one: --train-examples or a smoke run may have cut the parts.
    """
    split = card["split"]
    has_classes = card["class_names"] and (card.get("target") or not card.get("columns"))
    by = "random" if split["by"] == "class" and not has_classes else split["by"]
    rule = _RULES[by].format(column=split["column"])
    seed = "" if split["by"] in ("time", "stretch") else f" (seed {split['seed']})"
    seed = ", anew for each seed (also its split seed)" if is_resplit else seed
    if n_folds:
        return f"{n_folds}, {'stretches in the order of the data' if split['by'] == 'stretch' else rule}"
    of = "training examples" if "selection" in parts else "examples"
    return f"{100 * split['fraction']:.3g} % of the {of}, {rule}{seed}"


def _kinds(columns: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the kinds of the columns, each once, in the order of the columns."""
    return list(dict.fromkeys(column["kind"] for column in columns))


def _of_kind(kind: str, columns: Sequence[dict[str, Any]]) -> str:
    """Returns the number of columns of a kind and the first of their names."""
    of_kind = [column for column in columns if column["kind"] == kind]
    plural = kind if len(of_kind) == 1 else _PLURALS.get(kind, f"{kind}s")
    names = [f"{column['name']}{_levels(column)}{_noted(column)}" for column in of_kind[:_MOST]]
    return f"{len(of_kind)} {plural} ({', '.join([*names, *['...'] * (len(of_kind) > _MOST)])})"


def _counts(missing: dict[str, int]) -> str:
    """Returns the number of missing cells of each column, most first."""
    names = sorted(missing, key=lambda name: -missing[name])
    shown = [f"{missing[name]:,} of {name}" for name in names[:_MOST]]
    return ", ".join([*shown, *[f"and {len(names) - _MOST} columns more"] * (len(names) > _MOST)])


def _levels(column: dict[str, Any]) -> str:
    """Returns the number of levels of a category."""
    return f": {len(column['levels'])} levels" if column["kind"] == "category" else ""


def _noted(column: dict[str, Any]) -> str:
    """Returns a column's note on how it was read, if any."""
    return f" [{column['note']}]" if column["note"] else ""
