"""Pictures of results, as files."""

from pathlib import Path
from typing import Any

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
