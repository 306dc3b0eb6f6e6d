"""``jaxresearch report``: the page of a real run, opened in a browser if one is installed."""

import html.parser
import json
import re
import shutil
import subprocess

import pytest

from jaxresearch import statistics
from jaxresearch.records import read_run
from jaxresearch.reports.page import show

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def run(command, tmp_path_factory):
    """The directory of a short run of the main job, with its page."""
    directory = tmp_path_factory.mktemp("report") / "run <b>&amp;"
    words = ["--seeds", "2", "--epochs", "1", "--batch-size", "1000", "--directory", str(directory)]
    done = command("run", "mnist", *words)
    assert done.returncode == 0, done.stderr
    done = command("report", str(directory))
    assert done.returncode == 0, done.stderr
    return directory


class _Elements(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_the_page_is_self_contained(run):
    text = (run / "report.html").read_text()
    result, config = (json.loads((run / name).read_text()) for name in ("result.json", "config.json"))
    mean = f"{result['metrics']['test/accuracy']['mean']:.4f}"
    for said in (result["question"], mean, result["claim"]["verdict"], "learning_rate", "CC BY-SA 3.0"):
        assert said in text
    for _, digest in config["data_card"]["sha256"]:
        assert digest in text
    assert "&lt;b&gt;&amp;amp;" in text and "<b>&amp;" not in text  # the command, with its path escaped
    elements = _Elements(text).found
    assert not [tag for tag, _ in elements if tag in ("script", "iframe", "object", "embed")]
    addresses = [value for _, a in elements for name, value in a.items() if name in ("src", "href", "xlink:href")]
    assert addresses and all(value.startswith(("data:", "#")) for value in addresses)
    images = [attributes for tag, attributes in elements if tag == "img"]
    assert len(images) == 12 and all(
        re.match(r"example \d+ of the test part: predicted \d \([0-9.]+ %\), is \d", i["alt"]) for i in images
    )
    charts = [attributes["aria-label"] for tag, attributes in elements if tag == "svg"]
    assert len(charts) == 3 and all(charts)


def test_the_trace_of_the_confusion_matrix_is_the_accuracy(run):
    text = (run / "report.html").read_text()
    drawn = text[text.index("<h2>Confusion") :].partition("</svg>")[0]
    counts = [int(number) for number in re.findall(r"<text[^>]*>(\d+)</text>", drawn)]
    accuracy = json.loads((run / "result.json").read_text())["metrics"]["test/accuracy"]["mean"]
    cells = [number for number in counts if number > 9]  # not the names of the classes
    largest = sorted(cells)[-10:]
    assert sum(largest) == pytest.approx(10_000 * accuracy, abs=6)  # ten rounded numbers


@pytest.fixture(scope="module")
def pages(command, run, tmp_path_factory):
    """The pages of the run: its report, a comparison with a shorter run, and its display in a notebook."""
    folder = tmp_path_factory.mktemp("pages")
    other, file = folder / "other", folder / "compare.html"
    shorter = ["--seeds", "2", "--epochs", "1", "--batch-size", "2000", "--directory", str(other)]
    for words in (["run", "mnist", *shorter], ["compare", str(run), str(other), "--page", str(file)]):
        done = command(*words)
        assert done.returncode == 0, done.stderr
    (folder / "notebook.html").write_text("<!doctype html><title>cell</title>" + show(read_run(run)))
    shutil.copy(run / "report.html", folder)
    return folder


@pytest.mark.skipif(BROWSER is None, reason="needs a browser: apt-get install chromium")
@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("name", ["report.html", "compare.html", "notebook.html"])
def test_a_page_fits_its_window_without_a_complaint(pages, name, width, tmp_path):
    shutil.copy(pages / name, tmp_path)
    frame = f'<iframe src="{name}" style="width:{width}px;height:900px;border:0" onload="look(this)"></iframe>'
    look = (
        "function look(f){const d=f.contentDocument.documentElement;document.title=d.scrollWidth+' of '+d.clientWidth}"
    )
    (tmp_path / "around.html").write_text(f"<html><body><script>{look}</script>{frame}</body></html>")
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        "--enable-logging=stderr",
    ]
    flags += [
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width + 60},1000",
        "--virtual-time-budget=3000",
    ]
    seen = subprocess.run(
        [BROWSER, *flags, "--dump-dom", f"file://{tmp_path / 'around.html'}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    title = re.search("<title>([0-9]+) of ([0-9]+)</title>", seen.stdout)
    assert title, seen.stderr
    assert int(title[1]) <= int(title[2])
    assert "CONSOLE" not in seen.stderr


def test_several_runs_make_one_page_with_their_differences(pages, run):
    text = (pages / "compare.html").read_text()
    elements = _Elements(text).found
    assert not [tag for tag, _ in elements if tag in ("script", "iframe", "object", "embed")]
    addresses = [value for _, a in elements for name, value in a.items() if name in ("src", "href", "xlink:href")]
    assert all(value.startswith(("data:", "#")) for value in addresses)
    first, other = (read_run(directory).values("test/accuracy") for directory in (run, pages / "other"))
    found = statistics.difference(*([one[seed] for seed in (0, 1)] for one in (other, first)))
    assert statistics.number_text(found.mean, is_signed=True) in text
    assert "batch_size" in text and "learning_rate" not in text  # only the settings that differ
    charts = [attributes["aria-label"] for tag, attributes in elements if tag == "svg"]
    assert len(charts) == 2 and all(str(pages / "other") in said for said in charts)


def test_a_notebook_shows_the_table_and_the_curves_of_a_run(pages, run):
    text = (pages / "notebook.html").read_text()
    result = json.loads((run / "result.json").read_text())
    for name, summary in result["metrics"].items():
        assert name in text and f"{summary['mean']:.4f}" in text
    assert text.count("<svg") == 2 and "<script" not in text and "<style" in text  # from the drawings


def test_the_page_notes_a_missing_experiment(command, run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "experiment": "gone"}))
    done = command("report", str(copy))
    assert done.returncode == 0, done.stderr
    text = (copy / "report.html").read_text()
    assert "Predictions for the test part are not shown" in text and "Confusion matrix" not in text


def test_a_directory_without_a_finished_run_is_refused(command, run, tmp_path):
    done = command("report", str(tmp_path))
    assert done.returncode == 2 and "directory must hold a run, got" in done.stderr and done.stderr.count("\n") == 1
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "result.json").unlink()
    done = command("report", str(copy))
    assert done.returncode == 2 and "without result.json" in done.stderr and done.stderr.count("\n") == 1
