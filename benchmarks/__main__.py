"""Measures the cases and prints the table: ``python -m benchmarks [--case NAME ...] [--pairs N]``."""

import argparse
import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.cases import CASES, Row
from benchmarks.measuring import ProgramFailed, machine

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Returns the exit code: 0, whatever the results, since a benchmark is a report and not a test."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--case", action="append", choices=list(CASES), help="run this case only; may be repeated (default: all)"
    )
    parser.add_argument("--pairs", type=int, default=5, help="number of process pairs (default 5)")
    arguments = parser.parse_args()
    if arguments.pairs < 1:
        parser.error(f"--pairs must be 1 or more; got {arguments.pairs}")
    from benchmarks.plots import draw  # needs the extra [bench]

    console, described = Console(), machine()
    console.print(
        f"{described['cpu']}, {described['cores']} cores, {described['memory_gib']} GiB; {described['versions']}"
    )
    RESULTS.mkdir(exist_ok=True)
    for name in arguments.case or CASES:
        rows = measured(name, arguments.pairs)
        console.print(table(name, rows))
        record = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": described,
            "pairs": arguments.pairs,
            "rows": [dataclasses.asdict(row) for row in rows],
        }
        with open(RESULTS / "results.jsonl", "a") as file:  # case by case, so that an interrupted run keeps its results
            file.write(json.dumps(record) + "\n")
        draw(name, rows, RESULTS)
    console.print(f"plots written and results appended to results.jsonl in {RESULTS}")
    return 0


def measured(name: str, pairs: int) -> list[Row]:
    """Returns the rows of a case; if one of our programs fails, a row reports it and the next case still runs."""
    rows = []
    try:
        rows.extend(CASES[name](pairs))
    except (ProgramFailed, OSError) as error:
        rows.append(Row(name, "not measured", note=f"failed: {error}"[:160]))
    return rows


def table(name: str, rows: list[Row]) -> Table:
    """Returns the rows of a case as a table."""
    rendered = Table("metric", "median", "range", "bound", "", "theirs / ours", title=name)
    for row in rows:
        bound = f">= {row.at_least:g}" if row.at_least is not None else f"<= {row.at_most:g}" if row.at_most else ""
        spread = f"{min(row.values):.3g} to {max(row.values):.3g}" if row.values else "not measured"
        verdict = {True: "met", False: "missed", None: ""}[row.holds]
        rendered.add_row(row.what, "" if row.median is None else f"{row.median:.3g}", spread, bound, verdict, row.note)
    return rendered


if __name__ == "__main__":
    raise SystemExit(main())
