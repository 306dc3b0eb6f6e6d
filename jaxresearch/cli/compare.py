"""``jaxresearch compare DIR DIR... [--page FILE]``: several runs side by side, on the terminal and as a page."""

from pathlib import Path

from rich.table import Column, Table

from jaxresearch import records
from jaxresearch.cli import display
from jaxresearch.cli.options import UsageError
from jaxresearch.cli.session import one_line
from jaxresearch.reports.comparison import FIGURE_HEADINGS
from jaxresearch.reports.comparison import compare as compare_runs
from jaxresearch.reports.reads import reads_lines

_FEWEST = 2
_PAGE = "--page"


def compare(words: list[str]) -> int:
    """Carries out ``jaxresearch compare WORDS...``; returns the exit code."""
    with one_line(words[0], code=2):
        paths, file = _parsed(words)
        compared = compare_runs(tuple(records.read_run(path) for path in paths))
        if file is not None:
            from jaxresearch.reports.page import comparison_page

            records.write_file(file, comparison_page(compared).encode())
    console = display.console()
    if compared.different:
        console.print(_table("settings that differ", ("run", *compared.different), compared.settings))
    for name, rows in compared.figures.items():
        console.print(_table(name, FIGURE_HEADINGS, rows))
    for line in reads_lines(compared.runs):
        console.print(line)
    if file is not None:
        console.print(f"page: {file}", soft_wrap=True)
    return 0


def _parsed(words: list[str]) -> tuple[list[Path], Path | None]:
    """Returns the directories, and the file of the page if one was asked for."""
    rest, file = list(words), None
    if _PAGE in rest:
        at = rest.index(_PAGE)
        if len(rest) <= at + 1:
            raise UsageError(f"{_PAGE} must name a file, got none. Write: {_PAGE} compare.html")
        file = Path(rest[at + 1])
        if not file.parent.is_dir():
            raise UsageError(f"{_PAGE} must name a file in an existing folder, got {file}. Create the folder first.")
        del rest[at : at + 2]
    unknown = [word for word in rest if word.startswith("-")]
    if unknown:
        raise UsageError(f"compare has no option {unknown[0]}, only {_PAGE} FILE. Leave it out.")
    paths = [Path(word) for word in rest]
    if len({path.resolve() for path in paths}) < max(_FEWEST, len(paths)):
        raise UsageError(f"compare needs two or more different directories, got {' '.join(rest)}.")
    return paths, file


def _table(title: str, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    """Returns rows as a table; on a narrow screen cells wrap, and nothing is cut off."""
    columns = (Column(heading, overflow="fold") for heading in headings)
    table = Table(*columns, title=title, title_justify="left", title_style="bold")
    for row in rows:
        table.add_row(*row)
    return table
