"""The gallery and the table of results are what docs/gallery.py writes from the records."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from jaxresearch import statistics

ROOT = Path(__file__).parents[2]
SECTIONS = {  # of experiments/README.md, and the records that their intervals come from
    "protein_structure": ("protein_structure", *(f"protein_structure_{of}" for of in ("plain", "2000", "1000", "500"))),
    "random_labels": ("random_labels",),
    "variational_dropout": ("variational_dropout",),
    "drug_discovery": ("drug_screening", "drug_screening_scaffold"),
    "solubility": ("drug_solubility",),
}
INTERVAL = re.compile(r"[(|] ?(-?[\d,.]*\d) to\s+(-?[\d,.]*\d)[,) ]")


@pytest.fixture(scope="module")
def gallery():
    """The program, as a module."""
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "docs" / "gallery.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["gallery"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_records(gallery):
    assert (ROOT / "docs" / "gallery" / "index.md").read_text() == gallery.page(gallery.published())


def test_the_table_of_results_shows_the_records(gallery):
    text = gallery.RESULTS.read_text()
    written = text.split(gallery.START)[1].split(gallery.END)[0]
    assert written.strip() == gallery.table(gallery.published()).strip()


def estimates(record):
    """Yields the mean and the ends of each interval of a record, and the same with the other sign."""
    for metric in record["metrics"].values():
        for low, high in metric["intervals"].values():
            for mean, *ends in zip(*map(np.ravel, (metric["mean"], low, high)), strict=True):
                if mean is not None:
                    yield abs(mean), *ends
                    yield abs(mean), *(-end for end in reversed(ends))


@pytest.mark.parametrize("name", SECTIONS)
def test_intervals_in_the_text_are_those_of_the_records(gallery, name):
    """And their mean stands shortly before them."""
    section = gallery.RESULTS.read_text().split(f"\n## {name}\n")[1].split("\n## ")[0]
    known = [one for kept in SECTIONS[name] for one in estimates(gallery.record_of(kept))]
    found = [*INTERVAL.finditer(section)]
    assert len(found) >= 5
    for one in found:
        before, n_digits = section[max(one.start() - 120, 0) : one.start()], len(one[1].partition(".")[2])
        spelt = [[f"{number:,.{n_digits}f}" for number in numbers] for numbers in known]
        assert any([*one.groups()] == ends and mean in before for mean, *ends in spelt), one[0]


def test_every_chart_is_a_picture_of_its_own(gallery):
    charts = [*gallery.HERE.glob("*/chart.svg")]
    assert {ElementTree.parse(path).getroot().tag for path in charts} == {"{http://www.w3.org/2000/svg}svg"}


def test_every_record_is_of_a_published_run(gallery):
    """None is of a smoke run; verdicts follow from intervals, unless claims are about other training or data, or seeds few."""
    few = f"; at least {statistics.FEWEST_SEEDS} seeds are needed to decide a claim"
    runs = {run.name: run for run in gallery.published()}
    assert {path.parent.name for path in gallery.HERE.glob("*/result.json")} == set(runs)
    assert not any(run.record["smoke"] for run in runs.values())
    for name, run in runs.items():
        claim = run.record["claim"]
        if claim is None:
            continue
        low, high = run.record["metrics"][claim["metric"]]["ci95"]
        least, most = (-float("inf") if claim["at_least"] is None else claim["at_least"]), claim["at_most"]
        most = float("inf") if most is None else most
        held = low >= least and high <= most
        failed = high < least or low > most
        about = ("training with epsilon", "the experiment's own test part", "all training examples")
        others = tuple(f"the claim is about {one}" for one in about)
        is_few = len(run.record["seeds"]) < statistics.FEWEST_SEEDS and claim["because"].endswith(few)
        is_open = claim["because"].startswith(others) or is_few
        expected = "undecided" if is_open else "supported" if held else "refuted" if failed else "undecided"
        assert (name, claim["verdict"]) == (name, expected)


def test_an_unknown_run_is_one_line(gallery, capsys):
    assert gallery.main(["nowhere"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "gallery.py takes --write or names of docs/gallery/runs.toml, got nowhere. Correct it."
    ]


@pytest.mark.long
def test_a_run_is_carried_out_once_and_kept(gallery, monkeypatch, tmp_path):
    """With its record and a chart; the second time, from the finished run."""
    for name in ("HERE", "RUNS"):
        monkeypatch.setattr(gallery, name, tmp_path / name)
    results = tmp_path / "README.md"
    results.write_text(f"above\n{gallery.START}\n{gallery.END}\nbelow\n")
    monkeypatch.setattr(gallery, "RESULTS", results)
    gallery.HERE.mkdir()
    (gallery.HERE / "runs.toml").write_text('[small]\nfield = "biology"\ncommand = "run house_prices --smoke"\n')
    assert gallery.main([]) == 0
    record = json.loads((gallery.HERE / "small" / "result.json").read_text())
    times = [(gallery.RUNS / "small" / "result.json").stat().st_mtime_ns]
    assert gallery.main(["small"]) == 0 and record["smoke"]
    assert [(gallery.RUNS / "small" / "result.json").stat().st_mtime_ns] == times
    assert ElementTree.parse(gallery.HERE / "small" / "chart.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    text, page = results.read_text(), (gallery.HERE / "index.md").read_text()
    assert text.startswith("above\n") and text.endswith("below\n") and "`run house_prices --smoke`" in text
    assert "## Biology" in page and "small/chart.svg" in page and record["question"] in page
