"""What a person sees of a command: progress while it trains, the table and the verdict at its end."""

import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from jaxresearch import statistics
from jaxresearch.execution import Progress as Chunk
from jaxresearch.execution import divergence
from jaxresearch.reports import wording
from jaxresearch.reports.schema import lines_of_config


class Display:
    """A bar on a terminal, one line per epoch elsewhere; a context manager.

    Args:
        console: Where to print.
        runs: What is trained side by side.
    """

    def __init__(self, console: Console, *, runs: str = "runs"):
        self._console, self._runs = console, runs
        self._place, self._step = 0, 0
        self._first: Chunk | None = None  # of a run: its seconds hold what a run costs once
        self._seen: dict[str, np.ndarray] = {}  # the last look at validation data
        columns = (TextColumn("{task.fields[place]}"), BarColumn(), TextColumn("{task.fields[metrics]}"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("train", total=None, place="epoch 0", metrics="compiling")

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def show(self, chunk: Chunk) -> None:
        """Shows the chunk of steps just made, with the last look at validation data."""
        if chunk.step <= self._step:  # another run has started
            self._seen, self._first, self._place = {}, None, 0
        self._seen, self._first = chunk.validation or self._seen, self._first or chunk
        trained, seen = {name: values.mean(axis=-1) for name, values in chunk.metrics.items()}, _scalars(self._seen)
        counted = _counted(chunk)
        texts = [*_means("train", trained, counted), *_means("validation", seen, counted)]
        if chunk.diverged:
            texts.append(f"{len(chunk.diverged)} of {len(counted)} {self._runs} diverged")
        seconds = chunk.seconds - self._first.seconds
        if chunk.n_examples and seconds >= wording.FEWEST_SECONDS:
            texts.append(f"{(chunk.n_examples - self._first.n_examples) / seconds:,.0f} examples/s")
        whole = chunk.steps_per_epoch > 0 and chunk.n_steps % chunk.steps_per_epoch == 0
        name, length = ("epoch", chunk.steps_per_epoch) if whole else ("step", 1)
        place = chunk.step // length
        at = f"{chunk.what}{' · ' if chunk.what else ''}{name} {place}/{chunk.n_steps // length}"
        self._bar.update(self._task, completed=chunk.step, total=chunk.n_steps, place=at, metrics=" · ".join(texts))
        if not self._console.is_terminal and place > self._place:
            self._console.print(" · ".join([at, *texts]), soft_wrap=True, highlight=False)
        self._place, self._step = place, chunk.step


def _counted(chunk: Chunk) -> np.ndarray:
    """Returns the runs whose mean is shown: those that still train, or at the end those that have not diverged."""
    is_left = ~divergence.among(chunk.diverged, len(chunk.done))
    trains = is_left & ~chunk.done
    return trains if trains.any() else is_left if is_left.any() else ~is_left


def _means(part: str, metrics: dict[str, np.ndarray], counted: np.ndarray) -> list[str]:
    """Returns the mean of each metric over some of the runs, as one text; none without metrics."""
    means = [
        f"{name} {statistics.number_text(float(np.mean(values[counted], dtype=np.float64)))}"
        for name, values in metrics.items()
    ]
    return [f"{part} {', '.join(means)}"] if means else []


def _scalars(metrics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the metrics that have one number per run."""
    return {name: values for name, values in metrics.items() if np.ndim(values) == 1}


def console() -> Console:
    """Returns standard output as rich sees it."""
    return Console(file=sys.stdout, highlight=False, markup=False)  # a path or a class may be named in brackets


def print_data(config: dict[str, Any]) -> None:
    """Prints how the data were read and divided, before anything is trained."""
    for name, line in lines_of_config(config):
        console().print(f"{name}: {wording.printable(line)}", soft_wrap=True)


def print_result(result: dict[str, Any], path: Path, *, class_names: tuple[str, ...] = ()) -> None:
    """Prints the metrics, the experiment's report, the verdict, where the time went, and the directory."""
    out = console()
    table = Table(title=result["question"], title_justify="left", title_style="bold")
    for heading in wording.metric_headings(result):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for row in wording.metric_rows(result, class_names):
        table.add_row(*row)
    out.print(table)
    for name, headings, rows in wording.matrix_tables(result, class_names):
        out.print(f"{name}, mean over seeds", soft_wrap=True)
        table = Table(*headings)
        for row in rows:
            table.add_row(*row)
        out.print(table)
    report = result["report"] and wording.printable(result["report"])
    reads = wording.reads_line(result.get("test_reads"), [str(path.parent)])
    lines = (report, best_line(result), wording.verdict_line(result), reads, wording.seconds_line(result))
    for line in (*filter(None, lines), f"run directory: {path}"):
        out.print(line, soft_wrap=True)


def best_line(result: dict[str, Any]) -> str | None:
    """Returns which epoch (or step) was the best of each seed; None without early stopping."""
    steps, length = result["best_step"], result["steps_per_epoch"]
    if steps is None:
        return None
    in_epochs = length and all(step is None or step % length == 0 for step in steps)
    texts = ["none" if step is None else f"{step // length if in_epochs else step:,}" for step in steps]
    return f"best {'epoch' if in_epochs else 'step'} of each seed: {', '.join(texts)}"
