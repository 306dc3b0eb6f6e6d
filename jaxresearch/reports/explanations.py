"""The section of a page that explains a run, from the content of ``explain.json``."""

import re
from typing import Any

import numpy as np

from jaxresearch import statistics
from jaxresearch.reports import plots, wording

_MOST_BARS = 30
_BASES = frozenset("ACGTN")  # letters of DNA: words of them are written as one sequence
_TITLES = {
    "integrated_gradients": "integrated gradients",
    "input_x_gradient": "input x gradient",
    "smoothgrad": "SmoothGrad",
    "grad_cam": "Grad-CAM",
    "permutation_importance": "permutation importance",
    "shapley_values": "Shapley values",
}


def section(content: dict[str, Any]) -> dict[str, Any]:
    """Returns what the template of the section shows: each part, or the sentence why it is absent.

    Args:
        content: Of ``explain.json``.
    """
    return {
        "seed": content["shown_seed"],
        "attributions": _attributions(content["attributions"]),
        "importance": _importance(content["importance"], len(content["seeds"])),
        "influence": _influence(content["influence"]),
        "robustness": _robustness(content["robustness"], len(content["seeds"])),
    }


def _attributions(part: dict[str, Any]) -> dict[str, Any]:
    """Returns the coloured test examples, mistakes first."""
    if "why" in part:
        return part
    examples = [_shown(one, np.array(one["values"])) | {"is_mistake": one["is_mistake"]} for one in part["examples"]]
    layer = f" at layer {part['layer']}" if part["layer"] else ""
    baseline = f"{part['baseline']:g}" if isinstance(part["baseline"], float) else part["baseline"]
    from_baseline = f", baseline {baseline}" if part["method"] in ("integrated_gradients", "occlusion") else ""
    note = f"{_title(part['method'])}{layer} of {part['target']}{from_baseline}.{_reading(part['examples'])}"
    return {"note": note[0].upper() + note[1:], "examples": examples}


def _reading(examples: list[dict[str, Any]]) -> str:
    """Returns how to read tokens that have no names, as a sentence; nothing for other examples."""
    shown = [text for one in examples for text in one["shown"] or () if isinstance(text, str)]
    if shown and all(re.fullmatch(r"[0-9]+:-?[0-9]+", text) for text in shown):
        return " The tokens have no names: 3:17 is token 17 at position 3, counted from 1."
    return ""


def _title(method: str) -> str:
    """Returns the name of a method in a sentence."""
    return _TITLES.get(method, method)


def _shown(one: dict[str, Any], values: np.ndarray | None = None) -> dict[str, Any]:
    """Returns an example with its caption: an image and its map, or letters with the colours behind them."""
    found = {
        "caption": _caption(one),
        "cells": one.get("cells", []),
        "image": None,
        "map": None,
        "texts": [],
        "gap": "",
    }
    shown = one["shown"]
    if shown is None:
        return found
    if not isinstance(shown[0], str):
        pixels = np.array(shown, np.uint8)
        return found | {
            "image": plots.image_uri(pixels),
            "map": None if values is None else plots.map_uri(values, pixels),
        }
    strengths = [0.0] * len(shown) if values is None else plots.strengths(values).round(3).tolist()
    signs = [0.0] * len(shown) if values is None else values.tolist()
    is_sequence = all(len(text) == 1 or {*text} <= _BASES for text in shown)
    texts = [
        {"text": text, "colour": plots.COLOUR_OF_SIGN[sign > 0], "percent": round(80 * strength)}
        for text, strength, sign in zip(shown, strengths, signs, strict=True)
    ]
    return found | {"texts": texts[: _last_word(shown)], "gap": "" if is_sequence else " "}


def _last_word(shown: list[str]) -> int:
    """Returns the number of tokens without the padding at the end."""
    n = len(shown)
    while n > 1 and shown[n - 1] == "<pad>":
        n -= 1
    return n


def _caption(one: dict[str, Any]) -> str:
    """Returns a line on an example: its number, and its class or value with the prediction."""
    part = "test" if "predicted" in one else "training"
    name = one.get("name", f"example {one['example']} of the {part} part")  # version 0.1 has the example alone
    if "predicted" not in one:
        influence = statistics.number_text(one["influence"], is_signed=True)
        return f"{name}: {_value(one['target'])} ({influence})"
    if "probability" in one:
        sure = f" ({100 * one['probability']:.1f} %)"
        return f"{name}: predicted {one['predicted']}{sure}, is {one['true']}"
    return f"{name}: predicted {_value(one['predicted'])}, is {_value(one['true'])}"


def _value(value: Any) -> str:
    """Returns a class or a number."""
    return value if isinstance(value, str) else statistics.number_text(value)


def _importance(part: dict[str, Any], n_seeds: int) -> dict[str, Any]:
    """Returns a drawing and a table of the importance of columns, the largest first."""
    if "why" in part:
        return part
    order = np.argsort(-np.array(part["mean"], np.float64), kind="stable")
    names = [part["columns"][place] for place in order]
    low, high = part["ci95"]
    rows = [(part["columns"][i], *_texts(part["mean"][i], low[i], high[i])) for i in order]
    first = order[:_MOST_BARS]
    ends = [[_or_nan(ends[i]) for i in first] for ends in part["ci95"]]
    drawn = {"mean": [part["mean"][i] for i in first], "ci95": ends}
    is_permuted = part["method"] == "permutation_importance"
    permuted, shared = f"rise of the {part['unit']} when permuted", f"mean size of the Shapley value ({part['unit']})"
    what = permuted if is_permuted else shared
    return {
        "drawing": plots.bars(what, names[:_MOST_BARS], drawn),
        "headings": ("column", what, _interval(part, n_seeds)),
        "rows": rows,
        "note": f"{part['n_examples']:,} test examples. Columns that carry the same information share their importance.",
    }


def _texts(mean: float | None, low: float | None, high: float | None) -> tuple[str, str]:
    """Returns a mean and its interval as text."""
    return wording.mean_text(mean, (low, high)), wording.interval_text(low, high, missing="single seed")


def _interval(part: dict[str, Any], n_seeds: int) -> str:
    """Returns the heading of an interval."""
    return f"95 % interval {statistics.over_text(part['over'], n_seeds)}"


def _or_nan(value: float | None) -> float:
    """Returns a number that is not known as nan."""
    return np.nan if value is None else value


def _influence(part: dict[str, Any]) -> dict[str, Any]:
    """Returns mistakes with the training examples that mattered most for them."""
    if "why" in part:
        return part
    mistakes = [
        _shown(one) | {side: [_shown(other) for other in one[side]] for side in ("raised", "lowered")}
        for one in part["mistakes"]
    ]
    return {"note": f"{part['note']} In parentheses, the influence in units of {part['unit']}.", "mistakes": mistakes}


def _robustness(part: dict[str, Any], n_seeds: int) -> dict[str, Any]:
    """Returns a drawing and a table of the accuracy under attack."""
    if "why" in part:
        return part
    low, high = part["ci95"]
    numbers = zip(part["radii"], part["mean"], low, high, strict=True)
    texts = [(f"{radius:g}", *_texts(*of_radius)) for radius, *of_radius in numbers]
    ends = {"mean": part["mean"], "ci95": [[*map(_or_nan, side)] for side in part["ci95"]]}
    return {
        "drawing": plots.line("accuracy under attack", "largest change of an input", part["radii"], ends),
        "headings": ("largest change", "accuracy", _interval(part, n_seeds)),
        "rows": texts,
        "note": f"Projected gradient descent, {part['n_steps']} steps, {part['n_examples']:,} test examples. "
        "Better attacks may exist.",
    }
