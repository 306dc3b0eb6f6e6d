"""One page of a run: self-contained HTML, for a screen of any width, light or dark."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch import statistics
from jaxresearch.data import DataCard
from jaxresearch.records import plots

_MOST_WRONG = 12
_TEMPLATE = Path(__file__).parent / "report.html"


def page(
    result: dict[str, Any],
    config: dict[str, Any],
    environment: dict[str, Any],
    *,
    metrics: list[tuple[str, ...]],
    lines: list[dict[str, Any]],
    predicted: dict[str, Any],
    gain: str | None,
    again: str,
) -> str:
    """Returns the page.

    Args:
        result: ``result.json``.
        config: ``config.json``.
        environment: ``environment.json``.
        metrics: Name, mean, interval and number of seeds of each metric, as they are told.
        lines: Those of ``metrics.jsonl``.
        predicted: What `of_predictions` gives, or ``{"missing": [why there is none]}``.
        gain: What a study gained, in a few words.
        again: The command that makes the run again.
    """
    import jinja2
    from markupsafe import Markup

    hyperparameters = result.get("hyperparameters") or config["hyperparameters"]
    card, git = config["data_card"], environment["git"] or {}
    tables = [
        ("Hyperparameters", [*hyperparameters.items()]),
        ("Data", [(name, value) for name, value in _of_card(card) if value]),
        (
            "Environment",
            [
                ("started", environment["started"]),
                ("devices", ", ".join(environment["devices"])),
                ("platform", environment["platform"]),
                ("commit", f"{git.get('commit', 'none')}{' with changes' if git.get('dirty') else ''}"),
                ("versions", ", ".join(f"{name} {version}" for name, version in environment["packages"].items())),
                ("seconds", ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in result["seconds"].items())),
                ("python", environment["python"]),
            ],
        ),
    ]
    names = [name for name in (lines[0] if lines else {}) if name.startswith("train/")]
    curves = [plots.curve(name, *_curve(name, lines)) for name in names]
    confusion = plots.confusion(predicted["counts"], predicted["class_names"]) if "counts" in predicted else None
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(_TEMPLATE.read_text())
    return template.render(
        result=result,
        metrics=metrics,
        tables=tables,
        gain=gain,
        again=again,
        curves=[Markup(element) for element in curves],  # our own, escaped
        confusion=confusion and Markup(confusion),
        wrong=predicted.get("wrong", []),
        missing=predicted["missing"],
    )


def of_predictions(logits: np.ndarray, inputs: np.ndarray, targets: np.ndarray, card: DataCard) -> dict[str, Any]:
    """Returns the confusion matrix and the images that are most confidently taken for another class.

    Args:
        logits: ``(seeds, examples, classes)``.
        inputs: Of the examples, as collected.
        targets: Their classes.
        card: Names the classes.
    """
    n = card.n_classes
    chosen = logits.argmax(axis=-1)
    counts = np.stack([np.bincount(targets * n + of_seed, minlength=n * n).reshape(n, n) for of_seed in chosen])
    shifted = np.exp(logits[0] - logits[0].max(axis=-1, keepdims=True), dtype=np.float64)
    certain = (shifted / shifted.sum(axis=-1, keepdims=True)).max(axis=-1)
    of_wrong = np.flatnonzero(chosen[0] != targets)
    places = of_wrong[np.argsort(-certain[of_wrong], kind="stable")][:_MOST_WRONG]
    wrong = []
    if inputs.ndim == 3 or (inputs.ndim == 4 and inputs.shape[-1] in (1, 3)):
        for place in places:
            taken, true = card.class_names[chosen[0, place]], card.class_names[targets[place]]
            said = f"example {place}: {taken} ({100 * certain[place]:.1f} %), is {true}"
            wrong.append({"uri": plots.image_uri(inputs[place]), "said": said})
    return {"counts": counts.mean(axis=0), "class_names": card.class_names, "wrong": wrong, "missing": []}


def _of_card(card: dict[str, Any]) -> list[tuple[str, Any]]:
    """Returns the lines of a data card."""
    digests = "; ".join(f"{name} {digest}" for name, digest in card["sha256"])
    named = [(name, card[name]) for name in ("name", "source", "licence", "citation")]
    return [*named, ("classes", len(card["class_names"])), ("SHA-256", digests)]


def _curve(name: str, lines: list[dict[str, Any]]) -> tuple[list[int], list[float], list[float], list[float]]:
    """Returns steps, means and the ends of the intervals over seeds; a seed that is not finite leaves a gap."""
    steps, middle, low, high = [], [], [], []
    for line in lines:
        values = np.array(line[name], np.float64)
        ends = statistics.t_interval(values) if len(values) > 1 and np.isfinite(values).all() else (np.nan, np.nan)
        steps.append(line["step"])
        middle.append(float(values.mean()))
        low.append(ends[0])
        high.append(ends[1])
    return steps, middle, low, high
