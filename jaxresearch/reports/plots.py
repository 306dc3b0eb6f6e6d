"""Pictures of results: as files, and as elements of a page."""

import base64
import html
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch.records.recorded import Curve

_MOST_LINES = 8  # more cannot be told apart


def plot_sweep(path: Path, rows: list[dict[str, Any]], *, axes: dict[str, list[Any]], metric: str) -> None:
    """Draws a metric against the swept field with most values, a line for each combination of the others.

    Args:
        path: The PNG file to write.
        rows: One dict a setting: the fields, ``metric``, ``metric_low`` and ``metric_high`` (None where there is none).
        axes: The values of each swept field.
        metric: What to draw.
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
            lines.setdefault(", ".join(f"{name} {row[name]}" for name in others), []).append(row)
    figure, panel = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for label, of_line in list(lines.items())[:_MOST_LINES]:
        places = [row[along] if is_number else values.index(row[along]) for row in of_line]
        (drawn,) = panel.plot(places, [row[metric] for row in of_line], marker="o", markersize=4, label=label)
        if all(row[f"{metric}_low"] is not None for row in of_line):
            low, high = ([row[f"{metric}_{end}"] for row in of_line] for end in ("low", "high"))
            panel.fill_between(places, low, high, alpha=0.2, color=drawn.get_color(), linewidth=0)
    if is_number and min(values) > 0 and max(values) >= 20 * min(values):
        panel.set_xscale("log")
    if not is_number:
        panel.set_xticks(range(len(values)), [str(value) for value in values])
    panel.set_xlabel(along)
    panel.set_ylabel(f"validation {metric}")
    panel.set_title(f"mean and 95 % interval over {rows[0]['n']} seeds", fontsize=9, loc="left")
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.3)
    if others and lines:
        hidden = len(lines) - _MOST_LINES
        panel.legend(fontsize=8, title=f"{hidden} more are not drawn" if hidden > 0 else None)
    figure.savefig(path, dpi=120)
    plt.close(figure)


_INK = "#010203"  # stands for the colour of the page's text, which is dark on light or light on dark


def curves(name: str, of_runs: dict[str, Curve]) -> str:
    """Returns an SVG element with the mean of a metric against steps, and its interval as a band, for each run by its label."""

    def draw(plt: Any) -> Any:
        figure, panel = plt.subplots(figsize=(4.6, 3), layout="constrained")
        for label, curve in of_runs.items():
            panel.plot(curve.steps, curve.mean, marker="o", markersize=3, label=label)
            panel.fill_between(curve.steps, curve.low, curve.high, alpha=0.25, linewidth=0)
        panel.set_ylim(*_seen(of_runs))
        panel.set_title(name, loc="left", fontsize=10)
        panel.set_xlabel("step")
        panel.spines[["top", "right"]].set_visible(False)
        if len(of_runs) > 1:
            panel.legend(fontsize=8, framealpha=0)
        return figure

    ends = "; ".join(
        f"{label + ' ' if label else ''}from {curve.mean[0]:.4g} at step {curve.steps[0]:,} to {curve.mean[-1]:.4g} at step "
        f"{curve.steps[-1]:,}"
        for label, curve in of_runs.items()
    )
    return _svg(draw, name=name, said=f"Line chart of {name}, mean over runs with interval: {ends}.")


def _seen(of_runs: dict[str, Curve]) -> tuple[float | None, float | None]:
    """Returns the ends of the vertical axis: bands of few seeds are wide, and may not press the curves flat."""
    means = np.array([value for curve in of_runs.values() for value in curve.mean])
    ends = np.array([value for curve in of_runs.values() for value in (*curve.low, *curve.high)])
    means, ends = means[np.isfinite(means)], ends[np.isfinite(ends)]
    if not len(means) or np.ptp(means) == 0:
        return None, None
    everything = np.concatenate([means, ends])
    low = max(everything.min(), means.min() - np.ptp(means) / 2)
    high = min(everything.max(), means.max() + np.ptp(means) / 2)
    margin = 0.05 * (high - low)
    return float(low - margin), float(high + margin)


def confusion(counts: np.ndarray, class_names: tuple[str, ...]) -> str:
    """Returns an SVG element with the counts of targets (rows) against predictions (columns)."""
    size, shares = min(0.55 * len(class_names) + 1.5, 12), counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def draw(plt: Any) -> Any:
        figure, panel = plt.subplots(figsize=(size, size), layout="constrained")
        for row, column in np.ndindex(*counts.shape):
            shade = float(np.sqrt(shares[row, column]))  # so that the rare ones can be seen
            colour = "tab:blue" if row == column else "tab:red"
            panel.add_patch(
                plt.Rectangle((column - 0.5, row - 0.5), 1, 1, color=colour, alpha=0.8 * shade, linewidth=0)
            )
            if len(class_names) <= 20:
                panel.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=7)
        ends = (-0.5, len(class_names) - 0.5)
        panel.set(xlim=ends, ylim=ends[::-1], xlabel="predicted", ylabel="is", aspect="equal")
        if len(class_names) <= 40:
            panel.set_xticks(range(len(class_names)), class_names, rotation=90 if max(map(len, class_names)) > 3 else 0)
            panel.set_yticks(range(len(class_names)), class_names)
        return figure

    off = counts - np.diag(np.diag(counts))
    worst = np.unravel_index(int(np.argmax(off)), off.shape)
    said = (
        f"Confusion matrix of {len(class_names)} classes; most often {class_names[worst[0]]} is taken for "
        f"{class_names[worst[1]]}: {off[worst]:.0f} times on average over runs."
    )
    return _svg(draw, name="confusion", said=said)


def image_uri(pixels: np.ndarray) -> str:
    """Returns an image, ``(height, width)`` or with an axis of 1 or 3 colours, as a data URI of a PNG."""
    from PIL import Image

    image = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = np.round(255 * (image - low) / ((high - low) or 1)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _svg(draw: Callable[[Any], Any], *, name: str, said: str) -> str:
    """Returns a figure as an element of a page, in the page's own font and colour, with what a reader who cannot see is told."""
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
    # Panels are as wide as drawn, or as the page where that is narrower.
    style = f"flex:1 1 16rem;max-width:{width:.0f}pt;aspect-ratio:{width:.0f}/{height:.0f}"
    return element.replace("<svg", f'<svg role="img" aria-label="{html.escape(said)}" style="{style}"', 1)
