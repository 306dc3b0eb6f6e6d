"""Pages of runs: self-contained HTML for any screen width, light or dark; and the display of a run in a notebook."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch.data import DataCard
from jaxresearch.records.commands import value_text
from jaxresearch.records.recorded import Curve, Recorded
from jaxresearch.reports import explanations, plots, wording
from jaxresearch.reports.comparison import Comparison
from jaxresearch.reports.reads import reads_lines
from jaxresearch.reports.schema import lines_of_config

_MOST_WRONG = 12
_MOST_PAIRS = 20  # of confused classes, if there are too many classes for a matrix
_MOST_DRAWN = 100  # rows or columns of a matrix
_PAGES = Path(__file__).parent / "pages"


class Html(str):
    """Text that a notebook displays as HTML."""

    def _repr_html_(self) -> str:
        return str(self)


def page(run: Recorded, *, predicted: dict[str, Any]) -> str:
    """Returns the page of a run or study.

    Args:
        run: The record.
        predicted: From `of_predictions`, or ``{"missing": [the reasons]}``.
    """
    gain, metric = run.result.get("gain"), _compared_by(run.result)
    baseline, chosen = run.config["hyperparameters"], run.hyperparameters
    settings = [(name, value_text(value)) for name, value in chosen.items()]
    explained = run.explanations()
    return _rendered(
        "report.html",
        result=run.result,
        metric_headings=wording.metric_headings(run.result),
        metrics=wording.metric_rows(run.result, run.class_names),
        spread=wording.spread_lines(run.result),
        majority=wording.majority_line(run.result),
        best=wording.best_line(run.result),
        headings=wording.round_headings(metric),
        rounds=wording.round_rows(run.rounds, metric, baseline=baseline, chosen=chosen),
        tables=[("Hyperparameters", settings), ("Data", _of_card(run)), _of_environment(run)],
        gain=wording.gain_line(gain) if gain else None,
        reads=reads_lines((run,)),
        command=shlex.join(run.command),
        curves=_curves({"": run}),
        matrices=_matrices(run),
        confusion=_of_confusion(run, predicted) if "counts" in predicted else None,
        confused=predicted.get("confused", []),
        wrong=predicted.get("wrong", []),
        missing=predicted["missing"],
        explained=None if explained is None else explanations.section(explained),
    )


def _compared_by(result: dict[str, Any]) -> str:
    """Returns the metric by which a study compared settings; records of version 0.1 only have the claim's."""
    return result.get("compared_by") or ((result["claim"] or {}).get("metric") or "").removeprefix("test/")


def comparison_page(comparison: Comparison) -> str:
    """Returns the page of several runs side by side."""
    runs = {str(run.path): run for run in comparison.runs}
    return _rendered(
        "compare.html",
        comparison=comparison,
        reads=reads_lines(comparison.runs),
        best=[(path, line) for path, run in runs.items() if (line := wording.best_line(run.result))],
        curves=_curves(runs),
        data=_of_card(comparison.runs[0]),
        environments=[(path, _of_environment(run)[1], shlex.join(run.command)) for path, run in runs.items()],
    )


def show(run: Recorded) -> Html:
    """Returns the verdict, the metrics and the learning curves of a run as HTML that a notebook displays.

    Example:
        >>> from jaxresearch import records
        >>> show(records.read_run("runs/mnist"))  # doctest: +SKIP
    """
    headings, rows = wording.metric_headings(run.result), wording.metric_rows(run.result, run.class_names)
    shown, best = {"metric_headings": headings, "metrics": rows}, wording.best_line(run.result)
    shown |= {"spread": wording.spread_lines(run.result)}
    shown |= {"majority": wording.majority_line(run.result), "curves": _curves({"": run}), "matrices": _matrices(run)}
    return Html(_rendered("result.html", **shown, result=run.result, best=best))


def of_predictions(
    logits: np.ndarray,
    targets: np.ndarray,
    asked: np.ndarray,
    card: DataCard,
    *,
    images: np.ndarray | None,
    named: Callable[[int], str],
) -> dict[str, Any]:
    """Returns the confusion matrix and the images with the most confident errors, as `page` takes them.

    Args:
        logits: ``(seeds, examples, classes)``.
        targets: ``(seeds, examples)``, integer classes.
        asked: ``(seeds, examples)``, whether an example counts.
        card: The data card, with the names of the classes.
        images: The examples as collected, if they are images and the same for all seeds.
        named: Returns the name of an example of the first seed.
    """
    from scipy.special import softmax

    chosen = logits.argmax(axis=-1)
    certain = softmax(logits[0].astype(np.float64), axis=-1).max(axis=-1)
    of_wrong = np.flatnonzero((chosen[0] != targets[0]) & asked[0])
    places = of_wrong[np.argsort(-certain[of_wrong], kind="stable")][:_MOST_WRONG]
    wrong = []
    if images is not None and (images.ndim == 3 or (images.ndim == 4 and images.shape[-1] in (1, 3))):
        for place in places:
            taken, true = card.class_names[chosen[0, place]], card.class_names[targets[0, place]]
            caption = f"{named(int(place))}: predicted {taken} ({100 * certain[place]:.1f} %), is {true}"
            wrong.append({"uri": plots.image_uri(images[place]), "caption": caption})
    counted = _counts(targets, chosen, asked, card.class_names)
    return {**counted, "class_names": card.class_names, "wrong": wrong, "missing": []}


def _counts(targets: np.ndarray, chosen: np.ndarray, asked: np.ndarray, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Returns the confusion counts, mean over seeds; with many classes, only the most confused pairs."""
    n, n_seeds = len(class_names), len(targets)
    pairs, times = np.unique((targets.astype(np.int64) * n + chosen)[asked], return_counts=True)
    if n <= _MOST_DRAWN:
        counts = np.zeros(n * n)
        counts[pairs] = times / n_seeds
        return {"counts": counts.reshape(n, n)}
    is_wrong = pairs // n != pairs % n
    pairs, times = pairs[is_wrong], times[is_wrong] / n_seeds
    worst = np.argsort(-times, kind="stable")[:_MOST_PAIRS]
    rows = [(class_names[pairs[i] // n], class_names[pairs[i] % n], f"{times[i]:.1f}") for i in worst]
    return {"confused": rows}


def _rendered(name: str, **values: Any) -> str:
    """Returns a rendered template; all text is escaped except our own drawings."""
    import jinja2
    from markupsafe import Markup

    loader = jinja2.FileSystemLoader(_PAGES)
    pages = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    pages.filters |= {
        "drawn": Markup,
        "verdict_line": wording.verdict_line,
        "verdict_reason": wording.verdict_reason,
        "compared_line": wording.compared_line,
    }
    return pages.get_template(name).render(**values)


def _curves(runs: dict[str, Recorded]) -> list[str]:
    """Returns a drawing of each metric that all of these runs recorded while training, with the parts of all runs."""
    of_runs: dict[str, dict[str, dict[str, Curve]]] = {label: {} for label in runs}
    for label, run in runs.items():
        for name, curve in run.curves().items():
            part, _, metric = name.partition("/")
            of_runs[label].setdefault(metric, {})[part] = curve
    best = {label: float(np.mean([*run.best_steps.values()])) for label, run in runs.items() if run.best_steps}
    shared = [metric for metric in next(iter(of_runs.values())) if all(metric in of_run for of_run in of_runs.values())]
    return [
        plots.curves(metric, {label: of_run[metric] for label, of_run in of_runs.items()}, best=best)
        for metric in shared
    ]


def _matrices(run: Recorded) -> list[tuple[str, str, str | None]]:
    """Returns the name, shape and drawing of each matrix metric; None if it is too large to draw.

    A matrix with a row and a column per class is drawn as a confusion matrix.
    """
    drawings, n = [], len(run.class_names)
    for name, summary in run.result["metrics"].items():
        shape = wording.shape_of(summary)
        if len(shape) > 1:
            means, drawn = np.array(summary["mean"], np.float64), None
            if len(shape) == 2 and max(shape) <= _MOST_DRAWN:
                drawn = plots.confusion(means, run.class_names) if shape == (n, n) else plots.matrix(name, means)
            drawings.append((name, wording.shape_text(shape), drawn))
    return drawings


def _of_confusion(run: Recorded, predicted: dict[str, Any]) -> str | None:
    """Returns a drawing of the confusion counts, unless a metric of the run has them."""
    counts = predicted["counts"]
    for summary in run.result["metrics"].values():
        if wording.shape_of(summary) == counts.shape and np.allclose(np.array(summary["mean"], np.float64), counts):
            return None
    return plots.confusion(counts, predicted["class_names"])


def _of_card(run: Recorded) -> list[tuple[str, Any]]:
    """Returns the lines of a data card."""
    card = run.config["data_card"]
    digests = "; ".join(f"{name} {digest}" for name, digest in card["sha256"])
    named = [(name, card[name]) for name in ("name", "source", "licence", "citation")]
    names = card["class_names"]
    kind = "tokens" if names and names == card.get("vocabulary") else "classes"
    stated = {"privacy": run.result["privacy"]} if "privacy" in run.result else {}  # of a study: known at its end
    read = lines_of_config({**run.config, **stated}) if "parts" in run.config else []
    lines = [*named, *read, (kind, len(names)), ("SHA-256", digests)]
    return [(name, value) for name, value in lines if value]


def _of_environment(run: Recorded) -> tuple[str, list[tuple[str, Any]]]:
    """Returns the title and the lines of the environment of a run."""
    environment = run.environment
    git = environment["git"] or {}
    lines = [
        ("started", environment["started"]),
        ("devices", wording.devices_text(environment["devices"])),
        ("platform", environment["platform"]),
        ("commit", f"{git.get('commit', 'none')}{' with uncommitted changes' if git.get('dirty') else ''}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in environment["packages"].items())),
        ("seconds", ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in run.result["seconds"].items())),
        ("python", environment["python"]),
    ]
    return "Environment", lines
