"""What a person sees of a run: progress while it goes on, the table and the verdict at its end."""

import sys
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from jaxresearch.execution import Progress as Chunk
from jaxresearch.reports import wording


class Display:
    """A bar on a terminal, one line an epoch elsewhere; a context manager.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console):
        self._console = console
        self._epoch = 0
        columns = (TextColumn("{task.fields[epoch]}"), BarColumn(), TextColumn("{task.fields[figures]}"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("train", total=None, epoch="epoch 0", figures="compiling")

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def show(self, chunk: Chunk) -> None:
        """Shows the chunk of steps just made."""
        figures = [f"train {name} {wording.number(float(np.mean(values)))}" for name, values in chunk.metrics.items()]
        figures.append(f"{chunk.n_examples / max(chunk.seconds, 1e-9):,.0f} examples/s")
        epoch, n_epochs = chunk.step // chunk.steps_per_epoch, chunk.n_steps // chunk.steps_per_epoch
        text = " · ".join(figures)
        at = f"{chunk.what}{' · ' if chunk.what else ''}epoch {epoch}/{n_epochs}"
        self._bar.update(self._task, completed=chunk.step, total=chunk.n_steps, epoch=at, figures=text)
        if not self._console.is_terminal and epoch > self._epoch:
            self._console.print(f"{at} · {text}", soft_wrap=True, highlight=False)
        self._epoch = epoch


def console() -> Console:
    """Returns standard output as rich sees it."""
    return Console(file=sys.stdout, highlight=False)


def result_table(result: dict[str, Any]) -> Table:
    """Returns the metrics of a result with mean, 95 % interval and number of seeds."""
    table = Table(title=result["question"], title_justify="left", title_style="bold")
    for heading in ("metric", "mean", "95 % interval", "n"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for row in wording.metric_rows(result):
        table.add_row(*row)
    return table
