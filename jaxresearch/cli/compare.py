"""``jaxresearch compare DIR DIR... [--margin X] [--page FILE]``: several runs side by side, on the terminal and as a page."""

import math
from pathlib import Path

from jaxresearch import records
from jaxresearch.cli import display
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.flags import require_known, taken
from jaxresearch.cli.interrupts import saving
from jaxresearch.cli.session import one_line
from jaxresearch.reports import wording
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

            text = comparison_page(compared)
            with saving():
                records.write_file(file, text.encode())
    console = display.console()
    if compared.different:
        headings = ("run", *compared.different)
        display.print_table(console, headings, compared.settings, title="settings that differ")
    if compared.privacy is not None:
        display.print_table(console, *compared.privacy, title="privacy")
    for name, figure in compared.figures.items():
        display.print_table(console, *figure, title=name)
    console.print(wording.compared_line(compared.runs[0].result))
    for line in reads_lines(compared.runs):
        console.print(line, soft_wrap=True)
    if file is not None:
        console.print(f"page: {file}", soft_wrap=True)
    return 0


def _parsed(words: list[str]) -> tuple[list[Path], Path | None, float | None]:
    """Returns the directories, the file of the page and the margin; None for either if not given."""
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
    require_known("compare", rest, f"{_PAGE} FILE and {_MARGIN} X")
    paths = [Path(word) for word in rest]
    if len({path.resolve() for path in paths}) < max(_FEWEST, len(paths)):
        raise UsageError(
            f"compare needs two or more different directories, got {' '.join(rest) or 'none'}. Write: jaxresearch compare DIR DIR"
        )
    return paths, None if file is None else Path(file), bound
