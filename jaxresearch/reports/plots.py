"""Plots of results: as files, and as elements of a page."""

import base64
import html
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch.records.commands import value_text
from jaxresearch.records.recorded import Curve
from jaxresearch.statistics import number_text

_MOST_LINES = 8  # more cannot be distinguished


def plot_sweep(
    path: Path,
    rows: list[dict[str, Any]],
    *,
    axes: dict[str, list[Any]],
    metric: str,
    best: int | None = None,
    baseline: int | float | None = None,
    floor: int | float | None = None,
) -> None:
    """Draws a metric against the swept field with the most values, with a line for each combination of the others.

    The best row has a star; the line of the baseline lies in the band of its noise floor.

    Args:
        path: The PNG file to write.
        rows: One dict per configuration: the fields, ``metric``, ``metric_low`` and ``metric_high`` (None if undefined).
        axes: The values of each swept field.
        metric: The metric to draw.
        best: Index of the best row.
        baseline: The metric of the baseline.
        floor: The noise floor: the size of differences due to seeds alone.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    along = max(axes, key=lambda name: (all(isinstance(value, float) for value in axes[name]), len(axes[name])))
    others = [name for name in axes if name != along]
    values = axes[along]
    is_number = all(isinstance(value, int | float) for value in values)
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if not row["diverged"] and row[metric] is not None:
            lines.setdefault(", ".join(f"{name} {value_text(row[name])}" for name in others), []).append(row)
    figure, panel = plt.subplots(figsize=(7, 4.5), layout="constrained")
    drawn_lines = list(lines.items())[:_MOST_LINES]
    if best is not None:  # always draw its line
        of_best = next(pair for pair in lines.items() if any(row is rows[best] for row in pair[1]))
        drawn_lines = drawn_lines if of_best in drawn_lines else [*drawn_lines[:-1], of_best]
    if baseline is not None:
        panel.axhline(baseline, color="0.4", linewidth=0.8, linestyle=":", label="baseline")
        if floor is not None:
            panel.axhspan(baseline - floor, baseline + floor, color="0.5", alpha=0.15, linewidth=0, label="noise floor")
    for label, of_line in drawn_lines:
        places = [row[along] if is_number else values.index(row[along]) for row in of_line]
        (drawn,) = panel.plot(places, [row[metric] for row in of_line], marker="o", markersize=4, label=label or None)
        if all(row[f"{metric}_low"] is not None for row in of_line):
            low, high = ([row[f"{metric}_{end}"] for row in of_line] for end in ("low", "high"))
            panel.fill_between(places, low, high, alpha=0.2, color=drawn.get_color(), linewidth=0)
    if best is not None:
        place = rows[best][along] if is_number else values.index(rows[best][along])
        panel.plot([place], [rows[best][metric]], "*", color="black", markersize=12, zorder=5, label="best")
    if is_number and min(values) > 0 and max(values) >= 20 * min(values):
        panel.set_xscale("log")
    if not is_number:
        panel.set_xticks(range(len(values)), [*map(value_text, values)])
    panel.set_xlabel(along)
    panel.set_ylabel(f"selection {metric}")
    panel.set_title(f"mean and 95 % interval over {rows[0]['n']} seeds", fontsize=9, loc="left")
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.3)
    if panel.get_legend_handles_labels()[1]:
        hidden = len(lines) - _MOST_LINES
        panel.legend(fontsize=8, title=f"{hidden} more not drawn" if hidden > 0 else None)
    figure.savefig(path, dpi=120)
    plt.close(figure)


_INK = "#010203"  # replaced by the text colour of the page, dark on light or light on dark
# Each has a contrast of at least 3 to 1 with white and with black, as graphics need (WCAG 2.2, 1.4.11).
_COLOURS = ("#2f7fd6", "#d9660f", "#2e9e4f", "#b45fd0", "#c9403a", "#8a7a1f", "#168f9c", "#d0508f")
COLOUR_OF_SIGN = {False: _COLOURS[0], True: _COLOURS[1]}  # of contributions to a score
_STYLES = {"train": ("-", "o"), "validation": ("--", "s")}
_LONGEST = 50  # characters of a label
_MARK: dict[str, Any] = {"linewidth": 0.8, "linestyle": ":"}


def curves(name: str, of_runs: dict[str, dict[str, Curve]], *, best: dict[str, float] | None = None) -> str:
    """Returns an SVG element with the learning curves of a metric: means as lines, intervals as bands.

    Args:
        name: The metric.
        of_runs: For each run, by its label, the curve of each part, ``"train"`` or ``"validation"``. The label of a single
            run is not shown: its parts differ in colour. Several runs differ in colour, and their parts in line style.
        best: The mean best step of runs, by label; each is marked by a vertical line.
    """
    parts = [part for part in _STYLES if any(part in of_run for of_run in of_runs.values())]
    is_single, marks = len(of_runs) == 1, best or {}

    def draw(plt: Any) -> Any:
        figure, panel = plt.subplots(figsize=(4.6, 3), layout="constrained")
        for i, (label, of_run) in enumerate(of_runs.items()):
            for part, curve in of_run.items():
                colour = _COLOURS[(list(_STYLES).index(part) if is_single else i) % len(_COLOURS)]
                _draw_curve(panel, *curve, colour=colour, style=_STYLES[part])
            if label in marks:
                panel.axvline(marks[label], color=_INK if is_single else _COLOURS[i % len(_COLOURS)], **_MARK)
        panel.set_ylim(*_seen([curve for of_run in of_runs.values() for curve in of_run.values()]))
        panel.set_title(name, loc="left", fontsize=10)
        panel.set_xlabel("step")
        panel.spines[["top", "right"]].set_visible(False)
        _add_legend(plt, figure, [] if is_single else list(of_runs), parts, has_marks=bool(marks))
        return figure

    ends = "; ".join(
        f"{part if is_single else f'{label}, {part}'} from {number_text(curve.mean[0])} at step {curve.steps[0]:,} "
        f"to {number_text(curve.mean[-1])} at step {curve.steps[-1]:,}"
        for label, of_run in of_runs.items()
        for part, curve in of_run.items()
    )
    return _svg(draw, name=name, description=f"Line chart of {name}, mean over runs with interval: {ends}.")


def _add_legend(plt: Any, figure: Any, runs: list[str], parts: list[str], *, has_marks: bool) -> None:
    """Adds a legend below the panel: a line for the parts and the best step, and one for each of several runs."""
    handles = []
    for part in parts:
        line, marker = _STYLES[part]
        colour = _INK if runs else _COLOURS[list(_STYLES).index(part)]
        handles.append(plt.Line2D([], [], color=colour, linestyle=line, marker=marker, markersize=3, label=part))
    if has_marks:
        handles.append(plt.Line2D([], [], color=_INK, label="best step", **_MARK))
    options = {"fontsize": 8, "frameon": False}
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), **options)
    if runs:
        figure.set_figheight(figure.get_figheight() + 0.2 * (1 + len(runs)))
        colours = [
            plt.Line2D([], [], color=_COLOURS[i % len(_COLOURS)], label=_short(run)) for i, run in enumerate(runs)
        ]
        figure.legend(handles=colours, loc="outside upper left", **options)


def _short(label: str) -> str:
    """Returns a label that fits a panel; of a long path, its end."""
    return label if len(label) <= _LONGEST else f"\N{HORIZONTAL ELLIPSIS}{label[1 - _LONGEST :]}"


def _draw_curve(
    panel: Any, places: Any, mean: Any, low: Any, high: Any, *, colour: str, style: tuple[str, str]
) -> None:
    """Draws the mean as a line and the interval as a band."""
    line, marker = style
    panel.plot(places, mean, color=colour, linestyle=line, marker=marker, markersize=3)
    panel.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)


def _seen(drawn: list[Curve]) -> tuple[float | None, float | None]:
    """Returns limits of the vertical axis with which the wide bands of few seeds do not flatten the curves."""
    means = np.array([value for curve in drawn for value in curve.mean])
    ends = np.array([value for curve in drawn for value in (*curve.low, *curve.high)])
    means, ends = means[np.isfinite(means)], ends[np.isfinite(ends)]
    if not len(means) or np.ptp(means) == 0:
        return None, None
    everything = np.concatenate([means, ends])
    low = max(everything.min(), means.min() - np.ptp(means) / 2)
    high = min(everything.max(), means.max() + np.ptp(means) / 2)
    margin = 0.05 * (high - low)
    return float(low - margin), float(high + margin)


def confusion(counts: np.ndarray, class_names: Sequence[str]) -> str:
    """Returns an SVG element with the counts of targets (rows) against predictions (columns)."""
    off = counts - np.diag(np.diag(counts))
    row, column = divmod(int(np.argmax(off)), len(class_names))
    description = (
        f"Confusion matrix of {len(class_names)} classes; the most frequent error is {class_names[row]} predicted as "
        f"{class_names[column]}: {off[row, column]:.0f} times, mean over runs."
    )
    names = class_names, class_names
    return _matrix(
        counts, names, name="confusion", labels=("predicted", "target"), off=_COLOURS[4], description=description
    )


def matrix(name: str, values: np.ndarray) -> str:
    """Returns an SVG element with a matrix metric; its rows and columns are numbered."""
    description = f"Matrix {name} of shape {values.shape[0]} x {values.shape[1]}, mean over runs."
    names = tuple([str(i) for i in range(length)] for length in values.shape)
    return _matrix(
        values, (names[0], names[1]), name=name, labels=("column", "row"), off=_COLOURS[0], description=description
    )


def _matrix(
    values: np.ndarray,
    names: tuple[Sequence[str], Sequence[str]],
    *,
    name: str,
    labels: tuple[str, str],
    off: str,
    description: str,
) -> str:
    """Returns an SVG element with a matrix; the shade of a cell is the root of its fraction of the row.

    ``off`` is the colour off the diagonal, ``labels`` are those of the horizontal and the vertical axis.
    """
    sizes = np.abs(np.nan_to_num(values))
    shades = np.sqrt(sizes / (sizes.sum(axis=1, keepdims=True) + (sizes.sum(axis=1, keepdims=True) == 0)))
    width, height = (min(0.55 * length + 1.5, 12) for length in values.shape[::-1])
    digits = ".0f" if np.nanmax(sizes, initial=0) >= 10 else ".2f"

    def draw(plt: Any) -> Any:
        figure, panel = plt.subplots(figsize=(width, height), layout="constrained")
        for row, column in np.ndindex(*values.shape):
            corner, colour = (column - 0.5, row - 0.5), _COLOURS[0] if row == column else off
            panel.add_patch(plt.Rectangle(corner, 1, 1, color=colour, alpha=0.8 * shades[row, column], linewidth=0))
            if max(values.shape) <= 20:
                panel.text(column, row, f"{values[row, column]:{digits}}", ha="center", va="center", fontsize=7)
        panel.set(xlim=(-0.5, values.shape[1] - 0.5), ylim=(values.shape[0] - 0.5, -0.5), aspect="equal")
        panel.set(xlabel=labels[0], ylabel=labels[1])
        if max(values.shape) <= 40:
            panel.set_xticks(range(len(names[1])), names[1], rotation=90 if max(map(len, names[1])) > 3 else 0)
            panel.set_yticks(range(len(names[0])), names[0])
        return figure

    return _svg(draw, name=name, description=description)


def bars(name: str, labels: Sequence[str], summary: dict[str, Any]) -> str:
    """Returns an SVG element with a horizontal bar for each label, and its interval as a line.

    Args:
        name: What the bars measure.
        labels: One for each bar, from the top.
        summary: ``mean`` and ``ci95``, with an entry for each bar.
    """
    means, (low, high) = np.array(summary["mean"], np.float64), np.array(summary["ci95"], np.float64)
    places = np.arange(len(labels))

    def draw(plt: Any) -> Any:
        figure, panel = plt.subplots(figsize=(6, 0.28 * len(labels) + 0.8), layout="constrained")
        panel.barh(places, means, color=_COLOURS[0], alpha=0.6, height=0.7)
        panel.hlines(places, low, high, color=_INK, linewidth=1)
        panel.axvline(0, color=_INK, linewidth=0.6)
        panel.set_yticks(places, [*map(_short, labels)])
        panel.invert_yaxis()
        panel.set_xlabel(name)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
        return figure

    first = f"; the largest is {labels[0]}: {number_text(float(means[0]))}" if len(labels) else ""
    return _svg(draw, name=name, description=f"Bar chart of {name} for {len(labels)} columns{first}.")


def line(name: str, along: str, values: Sequence[float], summary: dict[str, Any]) -> str:
    """Returns an SVG element with the mean of a number against another as a line, and its interval as a band.

    Args:
        name: What is drawn.
        along: What it is drawn against.
        values: Of ``along``.
        summary: ``mean`` and ``ci95``, with an entry for each value.
    """
    means, (low, high) = np.array(summary["mean"], np.float64), np.array(summary["ci95"], np.float64)

    def draw(plt: Any) -> Any:
        figure, panel = plt.subplots(figsize=(4.6, 3), layout="constrained")
        _draw_curve(panel, values, means, low, high, colour=_COLOURS[0], style=_STYLES["train"])
        panel.set_title(name, loc="left", fontsize=10)
        panel.set_xlabel(along)
        panel.set_ylim(bottom=0)
        panel.spines[["top", "right"]].set_visible(False)
        return figure

    ends = f"from {number_text(float(means[0]))} to {number_text(float(means[-1]))}"
    return _svg(draw, name=name, description=f"Line chart of {name} against {along}, {ends}, with interval.")


def map_uri(values: np.ndarray, pixels: np.ndarray) -> str:
    """Returns a pale image coloured by a map as the data URI of a PNG: orange where values are positive, blue where negative.

    Args:
        values: ``(height, width)``.
        pixels: The image, with these axes first, from 0 to 255.
    """
    grey = pixels.mean(axis=-1) if pixels.ndim == 3 else pixels
    pale = np.repeat((255 - 0.35 * (255 - grey))[..., None], 3, axis=-1)
    colours = {sign: [int(colour[i : i + 2], 16) for i in (1, 3, 5)] for sign, colour in COLOUR_OF_SIGN.items()}
    colour = np.where(values[..., None] > 0, np.array(colours[True]), np.array(colours[False]))
    strength = strengths(values)[..., None]
    return image_uri(np.round((1 - strength) * pale + strength * colour).astype(np.uint8))


def strengths(values: np.ndarray) -> np.ndarray:
    """Returns the sizes of values as a fraction of the largest ones, 0 to 1.

    Args:
        values: Of any shape.

    Example:
        >>> strengths(np.array([-2.0, 1.0])).round(2).tolist()
        [1.0, 0.5]
    """
    sizes = np.abs(np.nan_to_num(np.asarray(values, np.float64)))
    return np.clip(sizes / (np.quantile(sizes, 0.99, method="higher") or 1), 0, 1)


def image_uri(pixels: np.ndarray) -> str:
    """Returns an image, ``(height, width)`` or with 1 or 3 channels, as the data URI of a PNG."""
    from PIL import Image

    image = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = np.round(255 * (image - low) / ((high - low) or 1)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _svg(draw: Callable[[Any], Any], *, name: str, description: str) -> str:
    """Returns a figure as an element of a page, in its font and text colour, with a description for screen readers."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ink = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK)
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, **ink}):
        figure, file = draw(plt), io.StringIO()
        figure.savefig(file, format="svg", transparent=True)
        plt.close(figure)
    text = re.sub(r"<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)
    element = text[text.index("<svg") :].replace(_INK, "currentColor")
    width, height = (float(size) for size in re.findall(r'(?:width|height)="([0-9.]+)pt"', element)[:2])
    element = re.sub(r'(width|height)="[0-9.]+pt" ?', "", element, count=2)
    # A panel is as wide as drawn, or as the page if that is narrower.
    style = f"flex:1 1 16rem;max-width:{width:.0f}pt;aspect-ratio:{width:.0f}/{height:.0f}"
    return element.replace("<svg", f'<svg role="img" aria-label="{html.escape(description)}" style="{style}"', 1)
