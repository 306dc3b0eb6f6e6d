"""Pages of runs: self-contained HTML, for a screen of any width, light or dark; and what a notebook shows."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch.data import DataCard
from jaxresearch.records.recorded import Recorded
from jaxresearch.reports import plots, wording
from jaxresearch.reports.comparison import FIGURE_HEADINGS, Comparison

_MOST_WRONG = 12
_PAGES = Path(__file__).parent / "pages"


def page(run: Recorded, *, predicted: dict[str, Any]) -> str:
    """Returns the page of a run or study.

    Args:
        run: What is recorded.
        predicted: What `of_predictions` gives, or ``{"missing": [why there is none]}``.
    """
    gain, metric = run.result.get("gain"), run.result["claim"]["metric"].removeprefix("test/")
    plain, chosen = run.config["hyperparameters"], run.hyperparameters
    return _rendered(
        "report.html",
        result=run.result,
        metrics=wording.metric_rows(run.result),
        headings=wording.round_headings(metric),
        rounds=wording.round_rows(run.rounds, metric, plain=plain, chosen=chosen),
        tables=[("Hyperparameters", [*run.hyperparameters.items()]), ("Data", _of_card(run)), _of_environment(run)],
        gain=wording.gain_line(gain) if gain else None,
        again=shlex.join(run.command),
        curves=_curves({"": run}),
        confusion=plots.confusion(predicted["counts"], predicted["class_names"]) if "counts" in predicted else None,
        wrong=predicted.get("wrong", []),
        missing=predicted["missing"],
    )


def comparison_page(comparison: Comparison) -> str:
    """Returns the page of several runs side by side."""
    runs = {str(run.path): run for run in comparison.runs}
    return _rendered(
        "compare.html",
        comparison=comparison,
        headings=FIGURE_HEADINGS,
        curves=_curves(runs),
        data=_of_card(comparison.runs[0]),
        environments=[(path, _of_environment(run)[1], shlex.join(run.command)) for path, run in runs.items()],
    )


def fragment(run: Recorded) -> str:
    """Returns the verdict, the metrics and the curves of a run, to stand within another page."""
    metrics = wording.metric_rows(run.result)
    return _rendered("result.html", result=run.result, metrics=metrics, curves=_curves({"": run}))


def of_predictions(
    logits: np.ndarray, targets: np.ndarray, asked: np.ndarray, card: DataCard, *, images: np.ndarray | None
) -> dict[str, Any]:
    """Returns the confusion matrix and the images that are most confidently taken for another class.

    Args:
        logits: ``(seeds, examples, classes)``.
        targets: ``(seeds, examples)``, their classes.
        asked: ``(seeds, examples)``, whether they count.
        card: Names the classes.
        images: The examples as collected, the same for all seeds, if they are images.
    """
    n = card.n_classes
    chosen = logits.argmax(axis=-1)
    pairs = targets * n + chosen
    counts = np.stack(
        [np.bincount(of_seed, minlength=n * n).reshape(n, n) for of_seed in map(np.extract, asked, pairs)]
    )
    shifted = np.exp(logits[0] - logits[0].max(axis=-1, keepdims=True), dtype=np.float64)
    certain = (shifted / shifted.sum(axis=-1, keepdims=True)).max(axis=-1)
    of_wrong = np.flatnonzero((chosen[0] != targets[0]) & asked[0])
    places = of_wrong[np.argsort(-certain[of_wrong], kind="stable")][:_MOST_WRONG]
    wrong = []
    if images is not None and (images.ndim == 3 or (images.ndim == 4 and images.shape[-1] in (1, 3))):
        for place in places:
            taken, true = card.class_names[chosen[0, place]], card.class_names[targets[0, place]]
            said = f"example {place}: {taken} ({100 * certain[place]:.1f} %), is {true}"
            wrong.append({"uri": plots.image_uri(images[place]), "said": said})
    return {"counts": counts.mean(axis=0), "class_names": card.class_names, "wrong": wrong, "missing": []}


def _rendered(name: str, **values: Any) -> str:
    """Returns one of the templates filled; all text is escaped but the drawings, which are our own."""
    import jinja2
    from markupsafe import Markup

    loader = jinja2.FileSystemLoader(_PAGES)
    pages = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    pages.filters["drawn"] = Markup
    return pages.get_template(name).render(**values)


def _curves(runs: dict[str, Recorded]) -> list[str]:
    """Returns a drawing of each metric of the training that all of these runs have, with a line a run."""
    of_runs = {label: run.curves() for label, run in runs.items()}
    names = [name for name in next(iter(of_runs.values())) if all(name in curves for curves in of_runs.values())]
    return [plots.curves(name, {label: curves[name] for label, curves in of_runs.items()}) for name in names]


def _of_card(run: Recorded) -> list[tuple[str, Any]]:
    """Returns the lines of a data card."""
    card = run.config["data_card"]
    digests = "; ".join(f"{name} {digest}" for name, digest in card["sha256"])
    named = [(name, card[name]) for name in ("name", "source", "licence", "citation")]
    names = card["class_names"]
    kind = "tokens" if names and names == card.get("vocabulary") else "classes"
    lines = [*named, (kind, len(names)), ("SHA-256", digests)]
    return [(name, value) for name, value in lines if value]


def _of_environment(run: Recorded) -> tuple[str, list[tuple[str, Any]]]:
    """Returns the title and the lines of where a run was made."""
    environment = run.environment
    git = environment["git"] or {}
    lines = [
        ("started", environment["started"]),
        ("devices", ", ".join(environment["devices"])),
        ("platform", environment["platform"]),
        ("commit", f"{git.get('commit', 'none')}{' with changes' if git.get('dirty') else ''}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in environment["packages"].items())),
        ("seconds", ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in run.result["seconds"].items())),
        ("python", environment["python"]),
    ]
    return "Environment", lines
