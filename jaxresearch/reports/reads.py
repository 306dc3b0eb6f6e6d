"""How often the test part of recorded runs was read, as text."""

from collections.abc import Sequence

from jaxresearch import records
from jaxresearch.records.recorded import Recorded
from jaxresearch.reports import wording


def reads_lines(runs: Sequence[Recorded]) -> list[str]:
    """Returns a line for each test part of these runs that several runs in their folders have read.

    They are counted now, so runs after a result was written count as well.

    Args:
        runs: As recorded.
    """
    parts: dict[str, list[Recorded]] = {}
    for run in runs:
        part = records.recorded_test_part(run.result, run.config)
        if part is not None:
            parts.setdefault(part, []).append(run)
    lines = []
    for part, of_part in parts.items():
        folders = list(dict.fromkeys(str(run.path.parent) for run in of_part))
        n_reads = len(records.readers([run.path.parent for run in of_part], part) | {r.path.resolve() for r in of_part})
        named = " and ".join(str(run.path) for run in of_part)
        name = "this test part" if len(parts) == 1 else f"the test part of {named}"
        lines.append(wording.reads_line(n_reads, folders, part=name))
    return [line for line in lines if line is not None]
