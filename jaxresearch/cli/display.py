"""The display of a command: progress while it trains, the table and the verdict at its end."""

import contextlib
import os
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from jaxresearch import statistics
from jaxresearch.cli.places import from_start
from jaxresearch.execution import Progress as Chunk
from jaxresearch.execution import divergence
from jaxresearch.reports import wording
from jaxresearch.reports.schema import lines_of_config

_BAR = 16  # characters of the bar; the metrics need the rest
_SILENCE = 60  # seconds of training after which a line is printed within an epoch
_PATIENCE = 10  # seconds of any other work after which a line is printed
_BORDERS = 3  # characters of a column besides its cells


class Display:
    """A bar on a terminal, elsewhere one line per epoch and one per minute of a longer epoch; a context manager.

    Args:
        console: Where to print.
        runs: What is trained side by side.
    """

    def __init__(self, console: Console, *, runs: str = "runs"):
        self._console, self._runs = console, runs
        self._place, self._step = 0, 0
        self._printed = 0.0  # seconds of the latest line
        self._first: Chunk | None = None  # the speed is measured from its end, after everything is compiled
        self._speed = ""
        self._seen: dict[str, np.ndarray] = {}  # the latest validation metrics
        place, metrics = (
            TextColumn(f"{{task.fields[{name}]}}", table_column=Column(overflow="fold"))
            for name in ("place", "metrics")
        )
        columns = (place, BarColumn(_BAR), metrics)
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("train", total=None, place="epoch 0", metrics="compiling")

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def resuming(self, step: int, n_steps: int) -> None:
        """Prints the step from which a run continues."""
        self._console.print(f"resuming from step {step:,} of {n_steps:,}", soft_wrap=True, highlight=False)

    def show(self, chunk: Chunk) -> None:
        """Shows the latest chunk of steps, with the latest validation metrics."""
        if chunk.step <= self._step:  # another run has started
            self._seen, self._first, self._place, self._speed, self._printed = {}, None, 0, "", 0.0
        self._seen, self._speed = chunk.validation or self._seen, self._measured(chunk)
        trained, seen = {name: values.mean(axis=-1) for name, values in chunk.metrics.items()}, _scalars(self._seen)
        counted = _counted(chunk)
        texts = [*_means("train", trained, counted), *_means("validation", seen, counted)]
        if chunk.diverged:
            texts.append(f"{len(chunk.diverged)} of {len(counted)} {self._runs} diverged")
        if self._speed:
            texts.append(self._speed)
        whole = chunk.steps_per_epoch > 0 and chunk.n_steps % chunk.steps_per_epoch == 0
        name, length = ("epoch", chunk.steps_per_epoch) if whole else ("step", 1)
        place, what = chunk.step // length, f"{chunk.what} · " if chunk.what else ""
        at = f"{what}{name} {place}/{chunk.n_steps // length}"
        self._bar.update(self._task, completed=chunk.step, total=chunk.n_steps, place=at, metrics=" · ".join(texts))
        if not self._console.is_terminal and (place > self._place or chunk.seconds - self._printed >= _SILENCE):
            reached = at if place > self._place else f"{what}step {chunk.step}/{chunk.n_steps}"
            self._console.print(" · ".join([reached, *texts]), soft_wrap=True, highlight=False)
            self._printed = chunk.seconds
        self._place, self._step = place, chunk.step

    def _measured(self, chunk: Chunk) -> str:
        """Returns the speed up to a chunk, or the latest one if the time of the chunk is unknown."""
        if self._first is None or chunk.n_compilations != self._first.n_compilations:
            self._first = chunk  # it ran while a program was compiled, in seconds that are not counted
        seconds = chunk.seconds - self._first.seconds
        if not chunk.n_examples or not chunk.is_timed or seconds < wording.FEWEST_SECONDS:
            return self._speed
        return f"{(chunk.n_examples - self._first.n_examples) / seconds:,.0f} examples/s"


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Prints to standard error what a command is at if it takes longer than ten seconds, then once per minute.

    Args:
        what: The work, such as "attacks".
    """
    start, ended = time.monotonic(), threading.Event()

    def report() -> None:
        pause = _PATIENCE
        while not ended.wait(pause):
            print(f"{what} · {time.monotonic() - start:.0f} s so far", file=sys.stderr, flush=True)
            pause = _SILENCE

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _counted(chunk: Chunk) -> np.ndarray:
    """Returns the runs whose mean is shown: those still training, or at the end those that have not diverged."""
    is_left = ~divergence.among(chunk.diverged, len(chunk.done))
    trains = is_left & ~chunk.done
    return trains if trains.any() else is_left if is_left.any() else ~is_left


def _means(part: str, metrics: dict[str, np.ndarray], counted: np.ndarray) -> list[str]:
    """Returns the mean of each metric over some of the runs in one string; none without metrics."""
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
    columns = os.environ.get("COLUMNS", "")  # rich takes 0 literally
    width = shutil.get_terminal_size().columns if columns.isdigit() and int(columns) == 0 else None
    # Brackets in a path or a class name are not markup.
    return Console(file=sys.stdout, highlight=False, markup=False, width=width)


def print_table(
    out: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", numbers: bool = False
) -> None:
    """Prints rows as a table that wraps between words, or cell by cell if the screen is too narrow.

    Args:
        out: Where to print.
        headings: One per column.
        rows: The cells.
        title: Printed above.
        numbers: Whether all columns but the first are aligned to the right.
    """
    if title:
        out.print(title, style="bold", soft_wrap=True)
    widths = _widths([headings, *rows], room=_room(out, headings))
    if widths is None:
        for row in rows:
            texts = [
                f"{heading}: {cell}" if heading else cell for heading, cell in zip(headings, row, strict=True) if cell
            ]
            for place, text in enumerate(texts):
                out.print(_wrapped(text, "  " if place else "", width=out.width), soft_wrap=True)
        return
    table = Table()
    for place, (heading, width) in enumerate(zip(headings, widths, strict=True)):
        table.add_column(heading, width=width, justify="right" if numbers and place else "left")
    for row in rows:
        table.add_row(*row)
    out.print(table)


def fits(out: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Returns whether a table with every cell below its headings on one line is no wider than the screen.

    Args:
        out: Where to print.
        headings: One per column.
        rows: The cells.
    """
    return sum(_least([headings, *rows])[0]) <= _room(out, headings)


def _room(out: Console, headings: Sequence[str]) -> int:
    """Returns the number of characters that the cells of a row may have."""
    return out.width - 1 - _BORDERS * len(headings)


def _wrapped(text: str, indent: str, *, width: int) -> str:
    """Returns a text as lines that break only between words, so that a path stays whole."""
    return textwrap.fill(
        text,
        max(width, len(indent) + 3),
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _widths(lines: Sequence[Sequence[str]], *, room: int) -> list[int] | None:
    """Returns column widths that break no word, and no cell below the headings if there is room."""
    whole = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    widths = next((least for least in _least(lines) if sum(least) <= room), None)
    while widths is not None and sum(widths) < room:
        growing = [place for place, width in enumerate(widths) if width < whole[place]]
        if not growing:
            break
        widths[min(growing, key=widths.__getitem__)] += 1
    return widths


def _least(lines: Sequence[Sequence[str]]) -> tuple[list[int], list[int]]:
    """Returns the least column widths that break no cell below the headings, and those that break no word."""
    columns = [*zip(*lines, strict=True)]
    words = [max((cell_len(word) for cell in column for word in cell.split()), default=1) for column in columns]
    cells = [max(least, *map(cell_len, column[1:]), 1) for least, column in zip(words, columns, strict=True)]
    return cells, words


def print_data(config: dict[str, Any]) -> None:
    """Prints how the data were read and split, before training starts."""
    for name, line in lines_of_config(config):
        console().print(f"{name}: {wording.printable(line)}", soft_wrap=True)


def print_result(result: dict[str, Any], path: Path, *, class_names: tuple[str, ...] = ()) -> None:
    """Prints the metrics, the experiment's report, the verdict, where the time went, and the directory."""
    out = console()
    headings, rows = wording.metric_headings(result), wording.metric_rows(result, class_names)
    print_table(out, headings, rows, title=result["question"], numbers=True)
    for name, headings, rows in wording.matrix_tables(result, class_names):
        print_table(out, headings, rows, title=f"{name}, mean over seeds")
    report = result["report"] and wording.printable(result["report"])
    path = from_start(path)
    reads = wording.reads_line(result.get("test_reads"), [str(path.parent)])
    lines = (
        *wording.spread_lines(result),
        wording.majority_line(result),
        report,
        wording.best_line(result),
        wording.verdict_line(result),
        reads,
    )
    lines = (*lines, wording.seconds_line(result))
    for line in (*filter(None, lines), f"run directory: {path}"):
        out.print(line, soft_wrap=True)
