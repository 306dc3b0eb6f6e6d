"""``jaxresearch compare DIR DIR... [--margin X] [--page FILE]``: several runs side by side, on the terminal and as a page."""

import math
from pathlib import Path

from rich.table import Column, Table

from jaxresearch import records
from jaxresearch.cli import display
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.session import one_line
from jaxresearch.cli.spelling import taken
from jaxresearch.reports.comparison import compare as compare_runs
from jaxresearch.reports.reads import reads_lines

_FEWEST = 2
_PAGE, _MARGIN = "--page", "--margin"


def compare(words: list[str]) -> int:
    """Carries out ``jaxresearch compare WORDS...``; returns the exit code."""
    with one_line(words[0], code=2):
        paths, file, margin = _parsed(words)
        compared = compare_runs(tuple(records.read_run(path) for path in paths), margin=margin)
        if file is not None:
            from jaxresearch.reports.page import comparison_page

            records.write_file(file, comparison_page(compared).encode())
    console = display.console()
    if compared.different:
        console.print(_table("settings that differ", ("run", *compared.different), compared.settings))
    for name, figure in compared.figures.items():
        console.print(_table(name, *figure))
    console.print("p: of no difference, adjusted for all differences of its table (Holm)")
    for line in reads_lines(compared.runs):
        console.print(line)
    if file is not None:
        console.print(f"page: {file}", soft_wrap=True)
    return 0


def _parsed(words: list[str]) -> tuple[list[Path], Path | None, float | None]:
    """Returns the directories, the file of the page if one was asked for, and the margin if one was given."""
    rest = list(words)
    file, margin = taken(rest, _PAGE, "a file", "compare.html"), taken(rest, _MARGIN, "a number", "0.002")
    if file is not None and not Path(file).parent.is_dir():
        raise UsageError(f"{_PAGE} must name a file in an existing folder, got {file}. Create the folder first.")
    try:
        bound = None if margin is None else float(margin)
    except ValueError:
        bound = math.nan
    if bound is not None and not 0 < bound < math.inf:
        raise UsageError(
            f"{_MARGIN} must be a number above 0, in the unit of the metrics, got {margin}. Write: {_MARGIN} 0.002"
        )
    unknown = [word for word in rest if word.startswith("-")]
    if unknown:
        raise UsageError(f"compare has no option {unknown[0]}, only {_PAGE} FILE and {_MARGIN} X. Leave it out.")
    paths = [Path(word) for word in rest]
    if len({path.resolve() for path in paths}) < max(_FEWEST, len(paths)):
        raise UsageError(f"compare needs two or more different directories, got {' '.join(rest)}.")
    return paths, None if file is None else Path(file), bound


def _table(title: str, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    """Returns rows as a table; on a narrow screen cells wrap, and nothing is cut off."""
    columns = (Column(heading, overflow="fold") for heading in headings)
    table = Table(*columns, title=title, title_justify="left", title_style="bold")
    for row in rows:
        table.add_row(*row)
    return table
