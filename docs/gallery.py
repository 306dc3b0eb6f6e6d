"""Carries out the published runs, keeps their records, and writes the gallery and the table of results from them.

python docs/gallery.py              carry out what has no record in runs/gallery yet, then write
python docs/gallery.py NAME ...     these runs alone
python docs/gallery.py --write      write from the records that are kept

An interrupted run is resumed. Every number of the page and of the table is one of a record, `docs/gallery/NAME/result.json`;
those in notes are written by hand in runs.toml.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxresearch import statistics
from jaxresearch.reports import wording

HERE = Path(__file__).with_suffix("")
RUNS, RESULTS = Path("runs/gallery"), Path(__file__).parents[1] / "experiments" / "README.md"
START, END = "<!-- table of docs/gallery.py -->", "<!-- end of the table -->"
CHART = re.compile(r'<svg role="img" aria-label="[^"]*".*?</svg>', re.S)


class Published(NamedTuple):
    """A published run: its entry of runs.toml, and its record, or None before it is carried out."""

    name: str
    field: str
    command: str
    note: str
    record: dict[str, Any] | None


def published() -> list[Published]:
    """Returns the runs in the order of runs.toml."""
    runs = tomllib.loads((HERE / "runs.toml").read_text())
    return [
        Published(name, one["field"], one["command"], one.get("note", ""), record_of(name))
        for name, one in runs.items()
    ]


def record_of(name: str) -> dict[str, Any] | None:
    """Returns the record that is kept of a run."""
    path = HERE / name / "result.json"
    return json.loads(path.read_text()) if path.exists() else None


def carry_out(run: Published) -> None:
    """Starts or resumes a run, unless it is finished, and keeps its record and the first chart of its report."""
    directory = RUNS / run.name
    if not (directory / "result.json").exists():
        words = [*shlex.split(run.command), "--directory", str(directory)]
        subprocess.run(
            _jaxresearch("resume", str(directory)) if directory.exists() else _jaxresearch(*words), check=True
        )
    subprocess.run(_jaxresearch("report", str(directory)), check=True, stdout=subprocess.DEVNULL)
    kept = HERE / run.name
    kept.mkdir(exist_ok=True)
    shutil.copyfile(directory / "result.json", kept / "result.json")
    chart = CHART.search((directory / "report.html").read_text())
    if chart:
        (kept / "chart.svg").write_text(chart[0] + "\n")


def _jaxresearch(*words: str) -> list[str]:
    """Returns the command line of this Python."""
    return [sys.executable, "-m", "jaxresearch", *words]


def outcome(record: dict[str, Any]) -> tuple[str, str, str]:
    """Returns what a run found as the cells of a table: the metric of its claim with the verdict, and both intervals."""
    claim = record["claim"]
    metric = record["metrics"][claim["metric"]]
    name = claim["metric"].removeprefix("test/").replace("_", " ")
    found = f"{name} {statistics.number_text(metric['mean'])}: {claim['verdict']}"
    intervals = metric["intervals"]
    over = [intervals.get(kind) for kind in ("seeds", "seeds and examples")]
    if "folds" in intervals:
        over = [None, intervals["folds"]]
    seeds, both = ("" if one is None else " to ".join(map(statistics.number_text, one)) for one in over)
    return found, seeds, both + ", folds" * ("folds" in intervals)


def n_runs(record: dict[str, Any]) -> str:
    """Returns the number of seeds, or of folds."""
    return f"{record['n_folds']} folds" if record["n_folds"] else str(len(record["seeds"]))


def table(runs: list[Published]) -> str:
    """Returns the table of the records."""
    lines = [
        "| question | command | result | over seeds | over seeds and examples | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for run in runs:
        if run.record:
            found, *intervals = outcome(run.record) if run.record["claim"] else ("no claim", "", "")
            noted = f"{found}; {run.note}" if run.note else found
            cells = (run.record["question"], f"`{run.command}`", noted, *intervals, n_runs(run.record))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def page(runs: list[Published]) -> str:
    """Returns the gallery: a card for each record, by field; what was refuted is shown like what was supported."""
    lines = [
        "# Published results",
        "",
        "The published runs, from their records; `make gallery` carries them out again. Times are those of two CPU cores.",
    ]
    for field in dict.fromkeys(run.field for run in runs):
        of_field = [run for run in runs if run.field == field and run.record]
        lines += ["", f"## {field.capitalize()}"] if of_field else []
        for run in of_field:
            lines += _card(run)
    return "\n".join(lines) + "\n"


def _card(run: Published) -> list[str]:
    """Returns the lines of a card."""
    record: Any = run.record
    minutes = sum(record["seconds"].values()) / 60
    took = f"{minutes:.0f} minutes" if minutes >= 2 else f"{60 * minutes:.0f} seconds"
    chart = HERE / run.name / "chart.svg"
    return [
        "",
        f"### {run.name.replace('_', ' ')}",
        "",
        *(
            [f"![A chart of the report of {run.name}]({run.name}/chart.svg){{width=360px}}", ""]
            if chart.exists()
            else []
        ),
        f"**{record['question']}**",
        "",
        *(line.replace("--", r"\-\-") for line in _found(record)),
        *([f"Note: {run.note}."] if run.note else []),
        "",
        f"`jaxresearch {run.command}`, {took}.",
    ]


def _found(record: dict[str, Any]) -> Iterator[str]:
    """Yields the verdict on the claim, and what was measured if the verdict does not say it."""
    claim, metrics = record["claim"], record["metrics"]
    verdict = wording.verdict_line(record)
    yield verdict.replace(f": {claim['verdict']} (", f": **{claim['verdict']}** (", 1) if claim else verdict
    if not (claim and claim["because"].startswith("mean ")):
        yield f"Measured: {'; '.join(_measured(name, metrics[name]) for name in ([claim['metric']] if claim else metrics))}."
    if record.get("gain"):
        yield f"Gain: {wording.gain_line(record['gain'])}."


def _measured(name: str, metric: dict[str, Any]) -> str:
    """Returns a mean with its interval and what this is over."""
    interval = metric["ci95"]
    return f"{name} {wording.mean_text(metric['mean'], interval)} ({wording.interval_text(*interval)} over {metric['over']})"


def write() -> None:
    """Writes the page, and the table into the results of the experiments."""
    runs = published()
    (HERE / "index.md").write_text(page(runs))
    text = RESULTS.read_text()
    before, rest = text.split(START)
    RESULTS.write_text(f"{before}{START}\n\n{table(runs)}\n{END}{rest.split(END)[1]}")


def main(words: list[str]) -> int:
    """Carries out runs and writes; returns the exit code."""
    runs = published()
    unknown = [word for word in words if word not in ("--write", *(run.name for run in runs))]
    if unknown:
        print(
            f"gallery.py takes --write or names of docs/gallery/runs.toml, got {unknown[0]}. Correct it.",
            file=sys.stderr,
        )
        return 2
    if "--write" not in words:
        for run in runs:
            if not words or run.name in words:
                carry_out(run)
    write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
