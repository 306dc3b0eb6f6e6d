"""Pages of handwritten records: training and validation, metrics of any shape, and all text escaped."""

import dataclasses
import re

import numpy as np
import pytest

from jaxresearch.reports import page, wording
from jaxresearch.reports.comparison import compare

NOTHING = {"missing": ["no predictions"]}


def _charts(text):
    """Returns the descriptions of the drawings of a page."""
    return re.findall(r'<svg role="img" aria-label="([^"]*)"', text)


def test_the_page_draws_both_parts_of_a_metric_in_one_panel(recorded):
    text = page.page(recorded(best_step=[160, 200, 240]), predicted=NOTHING)
    loss, accuracy, f1, confusion = _charts(text)
    assert loss.startswith("Line chart of loss") and " train from " in loss and "; validation from " in loss
    assert "validation" not in accuracy and "train" not in f1 and confusion.startswith("Confusion matrix of 3 classes")
    assert text.count(">best step</text>") == 3
    assert "Early stopping: best epoch on validation data: 4 (seed 0), 5 (seed 1), 6 (seed 2)." in text
    assert "test/recall[fox]" in text and "no predictions" in text


def test_a_run_without_early_stopping_has_no_best_step(recorded):
    text = page.page(recorded(), predicted=NOTHING)
    assert "best step" not in text and "Early stopping" not in text


def test_runs_side_by_side_have_both_parts_in_one_panel(recorded):
    first = recorded("first", best_step=[160, 200, 240])
    second = recorded("second", seeds=(1, 2, 7), offset=0.1)
    text = page.comparison_page(compare((first, second)))
    loss, accuracy, _ = _charts(text)
    for run in (first, second):
        assert all(f"{run.path}, {part} from " in loss for part in ("train", "validation"))
        assert f"{run.path}, train from " in accuracy
    assert "test/recall[cat]" in text and "test/confusion is not compared: a matrix of 3 x 3" in text
    assert f"{first.path}: best epoch on validation data: 4 (seed 0)" in text and f"{second.path}: best" not in text


def test_private_runs_side_by_side_have_their_epsilon(recorded):
    runs = [{"epsilon": {"pld": 2.125, "rdp": 3.0}, "delta": 1e-5, "unit": "one training example"}]
    stated = {"runs": runs, "all_runs": {"epsilon": 4.125, "delta": 1e-5, "n_runs": 3}, "not_covered": []}
    first, second = recorded("first"), recorded("second")
    second.result["privacy"] = stated
    text = page.comparison_page(compare((first, second)))
    assert "<h2>Privacy</h2>" in text and "2.125 at 1e-05" in text and "4.125 at 1e-05 (3 runs)" in text
    assert "<h2>Privacy</h2>" not in page.comparison_page(compare((first, recorded("third"))))


def test_the_verdict_has_its_bound(recorded):
    run = recorded()
    verdict = "<b>undecided</b> (test/accuracy needs at least 0.9; three seeds)."
    assert verdict in page.page(run, predicted=NOTHING) and verdict in page.show(run)


def test_a_smoke_run_has_means_and_no_verdict(recorded):
    run, other = recorded("first", smoke=True), recorded("second", smoke=True, offset=0.1)
    mean = f"{run.result['metrics']['test/accuracy']['mean']:.4f}"
    for text in (page.page(run, predicted=NOTHING), page.show(run), page.comparison_page(compare((run, other)))):
        assert wording.SMOKE in text and mean in text
        assert "undecided" not in text and "95 % interval over" not in text and "(Holm)" not in text


def test_a_notebook_shows_a_run_with_its_text_escaped(recorded):
    run = recorded(best_step=[160, None, 240])
    shown = page.show(dataclasses.replace(run, result={**run.result, "question": "A <pet>?"}))
    assert shown._repr_html_() == shown and "A &lt;pet&gt;?" in shown and "<pet>" not in shown
    assert len(_charts(shown)) == 4 and "5 (seed 1)" not in shown and "none (seed 1)" in shown


@pytest.mark.parametrize("shape", [(101, 101), (2, 2, 2)])
def test_a_matrix_that_cannot_be_drawn_is_named(recorded, shape):
    text = page.page(recorded(metrics={"accuracy": [0.5] * 3, "big": np.ones((3, *shape))}), predicted=NOTHING)
    assert f"<h2>test/big</h2>\n<p>Recorded in result.json, {' x '.join(map(str, shape))}.</p>" in text


def test_a_matrix_that_is_not_of_classes_is_drawn_with_numbers(recorded):
    text = page.page(recorded(metrics={"accuracy": [0.5] * 3, "m": -np.ones((3, 2, 4))}), predicted=NOTHING)
    assert "Matrix test/m of shape 2 x 4, mean over runs." in _charts(text) and text.count(">-1.00<") == 8


@pytest.mark.parametrize("is_recorded", [True, False])
def test_the_confusion_matrix_is_drawn_once(recorded, is_recorded):
    counts = np.array([[8.0, 1, 1], [0, 9, 1], [2, 0, 8]])
    metrics = {"accuracy": [0.5] * 3} | ({"confusion": np.stack([counts] * 3)} if is_recorded else {})
    predicted = {"counts": counts, "class_names": ("cat", "dog", "fox"), "missing": []}
    text = page.page(recorded(metrics=metrics), predicted=predicted)
    (said,) = [said for said in _charts(text) if said.startswith("Confusion matrix")]
    assert "the most frequent error is fox predicted as cat: 2 times, mean over runs" in said
    assert ("<h2>test/confusion</h2>" in text) == is_recorded != ("<h2>Confusion matrix</h2>" in text)


def test_a_diverged_seed_leaves_a_matrix_without_numbers(recorded):
    values = np.ones((3, 3, 3))
    values[1] = np.nan
    assert "Confusion matrix" in page.page(recorded(metrics={"accuracy": [0.5] * 3, "m": values}), predicted=NOTHING)
