"""What a person sees of a run: progress while it goes on, the table and the verdict at its end."""

import sys
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from jaxresearch.execution import Progress as Chunk


class Display:
    """A bar on a terminal, one line an epoch elsewhere; a context manager.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console):
        self._console = console
        self._epoch = 0
        columns = (TextColumn("epoch {task.fields[epoch]}"), BarColumn(), TextColumn("{task.fields[figures]}"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("train", total=None, epoch="0", figures="compiling")

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def show(self, chunk: Chunk) -> None:
        """Shows the chunk of steps just made."""
        figures = [f"train {name} {_number(float(np.mean(values)))}" for name, values in chunk.metrics.items()]
        figures.append(f"{chunk.n_examples / max(chunk.seconds, 1e-9):,.0f} examples/s")
        epoch, n_epochs = chunk.step // chunk.steps_per_epoch, chunk.n_steps // chunk.steps_per_epoch
        text = " · ".join(figures)
        self._bar.update(
            self._task, completed=chunk.step, total=chunk.n_steps, epoch=f"{epoch}/{n_epochs}", figures=text
        )
        if not self._console.is_terminal and epoch > self._epoch:
            self._console.print(f"epoch {epoch}/{n_epochs} · {text}", soft_wrap=True, highlight=False)
        self._epoch = epoch


def console() -> Console:
    """Returns standard output as rich sees it."""
    return Console(file=sys.stdout, highlight=False)


def mean_text(mean: float | None, *, missing: str = "not finite") -> str:
    """Returns a mean to four digits."""
    return missing if mean is None else _number(mean)


def interval_text(low: float | None, high: float | None, *, missing: str = "") -> str:
    """Returns an interval to four digits."""
    return missing if low is None or high is None else f"{_number(low)} to {_number(high)}"


def _number(value: int | float) -> str:
    """Returns a number to four digits after the point, or to four in all where it is large, as what diverges is."""
    return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.3e}"


def result_table(result: dict[str, Any]) -> Table:
    """Returns the metrics of a result with mean, 95 % interval and number of seeds."""
    table = Table(title=result["question"], title_justify="left", title_style="bold")
    for heading in ("metric", "mean", "95 % interval", "n"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for row in metric_rows(result):
        table.add_row(*row)
    return table


def metric_rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Returns name, mean, 95 % interval and number of seeds of each metric of a result."""
    return [(name, *summary_row(summary)) for name, summary in result["metrics"].items()]


def summary_row(summary: dict[str, Any]) -> tuple[str, str, str]:
    """Returns mean, 95 % interval and number of seeds."""
    missing = "single seed" if len(summary["values"]) == 1 else "a seed diverged"
    interval = interval_text(*summary["ci95"], missing=missing)
    return mean_text(summary["mean"]), interval, str(len(summary["values"]))


def verdict_line(result: dict[str, Any]) -> str:
    """Returns the verdict on the claim in a sentence, and why."""
    claim = result["claim"]
    return f'Claim "{claim["text"]}": {claim["verdict"]} ({claim["because"]}).'


def gain_line(gain: dict[str, Any]) -> str:
    """Returns the gain in a few words."""
    mean, low, high = (f"{value:+.4f}" for value in (gain["mean"], *gain["ci95"]))
    return f"{gain['metric']} {mean} against the plain settings (95 % interval {low} to {high}, paired by seed)"


def seconds_line(result: dict[str, Any]) -> str:
    """Returns where the time went, in a line."""
    parts = [f"{stage} {seconds:.2f} s" for stage, seconds in result["seconds"].items()]
    return f"{' · '.join(parts)} · {result['examples_per_second']:,.0f} examples/s in training"
