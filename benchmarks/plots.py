"""Plots of the results."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

from benchmarks.cases import Row  # noqa: E402


def draw(case: str, rows: list[Row], folder: Path) -> None:
    """Draws a case as ``CASE.png`` in the folder: a bar for each metric, a line for its range, a mark for its bound."""
    shown = [row for row in rows if row.values]
    if not shown:
        return
    figure, axes = plt.subplots(figsize=(9, 0.6 + 0.5 * len(shown)), layout="constrained")
    for place, row in enumerate(reversed(shown)):
        colour = {True: "#2a7f62", False: "#b8433a", None: "#7a869a"}[row.holds]
        axes.barh(place, row.median, color=colour, height=0.6)
        axes.plot([min(row.values), max(row.values)], [place, place], color="black", linewidth=1)
        bound = row.at_least if row.at_least is not None else row.at_most
        if bound is not None:
            axes.plot([bound, bound], [place - 0.4, place + 0.4], color="black", linewidth=2)
        axes.text(max(*row.values, bound or 0), place, f"  {row.median:.3g}", va="center", fontsize=9)
    axes.set_yticks(range(len(shown)), [row.what for row in reversed(shown)], fontsize=9)
    axes.set_title(f"{case}: median and range; thick mark: the bound", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    figure.savefig(folder / f"{case}.png", dpi=110)
    plt.close(figure)
