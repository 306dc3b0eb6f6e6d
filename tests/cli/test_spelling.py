"""A tuple has one spelling in all that is printed, written and typed: ``4x2``."""

import json

import pytest

OTHERS = ("4 2", "4, 2", "4,2", "8 2", "8, 2", "8,2")


@pytest.fixture
def wide(edit):
    """Makes the experiment one with hidden layers."""
    edit(
        'degree: int = static(1, "of the polynomial", at_least=1)', 'hidden: tuple[int, ...] = static((4, 2), "widths")'
    )
    edit("models.linear(card.n_features, 1)", "models.mlp(card.n_features, h.hidden, 1)")
    edit("adjust.grid(learning_rate=[0.05, 0.2])", "adjust.grid(hidden=[(8, 2)])")


def said(done):
    """Returns the output of a command that must have succeeded."""
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_runs_show_a_tuple_as_it_is_typed(here, folder, wide):
    few = ("--epochs", "1", "--seeds", "5")
    text = said(here("run", "line.py", *few, "--hidden", "8x2", "--directory", "other"))
    assert "with hidden 8x2, epochs 1)" in text
    said(here("run", "line.py", *few, "--hidden", "4x2", "--directory", "default"))
    said(here("report", "other"))
    shown = [text, said(here("compare", "other", "default")), (folder / "other" / "report.html").read_text()]
    assert all("8x2" in one for one in shown) and "4x2" in shown[1]
    shown.append(said(here("run", "line.py", "--help")))
    assert "(default: 4x2)" in shown[-1]
    assert not [(other, one) for one in shown for other in OTHERS if f"hidden {other}" in one or f"│ {other}" in one]


@pytest.mark.long
def test_sweeps_and_studies_show_a_tuple_as_it_is_typed(here, folder, wide):
    few = ("--epochs", "1", "--seeds", "2")
    text = said(here("sweep", "line.py", *few, "--hidden", "8x2,4x2", "--directory", "sweep"))
    assert "group 1 of 2 (--hidden 8x2; 1 setting)" in text and "│ 8x2 " in text and "│ 4x2 " in text
    rows = (folder / "sweep" / "sweep.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["hidden", "8x2", "4x2"]
    text += said(here("study", "line.py", *few, "--directory", "study"))
    study = json.loads((folder / "study" / "study.json").read_text())
    assert study["rounds"][0]["trials"][0]["hyperparameters"]["hidden"] == [4, 2]  # recorded as numbers
    story = (folder / "study" / "study.md").read_text()
    assert "8x2" in story
    assert not [other for other in OTHERS if f"hidden {other}" in text + story]
