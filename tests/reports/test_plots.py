"""Drawings: what the legend names, what the axis shows, and pictures of a sweep."""

import numpy as np
import pytest

from jaxresearch.records.recorded import Curve
from jaxresearch.reports import plots

DOWN = Curve([10, 20, 30], [3.0, 2.0, 1.0], [2.5, 1.5, 0.5], [3.5, 2.5, 1.5])
UP = Curve([15, 30], [1.0, 2.0], [np.nan] * 2, [np.nan] * 2)


def _texts(svg):
    return [text.partition("</text>")[0].rpartition(">")[2] for text in svg.split("<text")[1:]]


def test_a_single_run_names_its_parts():
    texts = _texts(plots.curves("loss", {"runs/a": {"train": DOWN, "validation": UP}}, best={"runs/a": 20.0}))
    assert texts[-3:] == ["train", "validation", "best step"] and "loss" in texts and "runs/a" not in texts
    assert _texts(plots.curves("loss", {"": {"validation": UP}}))[-1:] == ["validation"]


def test_several_runs_are_named_once_each():
    of_runs = {"runs/a": {"train": DOWN, "validation": UP}, "x" * 60: {"train": DOWN}}
    svg = plots.curves("loss", of_runs, best={"runs/a": 20.0})
    assert _texts(svg)[-5:] == ["train", "validation", "best step", "runs/a", "…" + "x" * 49]
    assert f"{'x' * 60}, train from 3.0000 at step 10 to 1.0000 at step 30" in svg


def test_drawings_take_the_text_colour_of_the_page():
    svg = plots.curves("loss", {"": {"train": DOWN}}, best={"": 20.0})
    assert "currentColor" in svg and plots._INK not in svg and "#000000" not in svg


def test_wide_bands_do_not_flatten_the_curves():
    wide = DOWN._replace(low=[-100.0] * 3, high=[100.0] * 3)
    # The means span 1 to 3: half of that on each side, and a margin of a twentieth.
    assert plots._seen([wide, UP]) == pytest.approx((-0.2, 4.2))
    assert plots._seen([DOWN._replace(mean=[np.nan] * 3)]) == (None, None)


def test_a_sweep_is_drawn_to_a_file(tmp_path):
    rows = [
        {
            "rate": rate,
            "width": width,
            "r2": rate,
            "r2_low": rate / 2,
            "r2_high": rate * 2,
            "n": 3,
            "diverged": rate > 5,
        }
        for rate in (0.1, 1.0, 10.0)
        for width in range(10)
    ]
    plots.plot_sweep(tmp_path / "sweep.png", rows, axes={"rate": [0.1, 1.0, 10.0], "width": [*range(10)]}, metric="r2")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    baseline = (tmp_path / "sweep.png").read_bytes()
    marks = {"best": 19, "baseline": 0.5, "floor": 0.2}
    plots.plot_sweep(
        tmp_path / "sweep.png", rows, axes={"rate": [0.1, 1.0, 10.0], "width": [*range(10)]}, metric="r2", **marks
    )
    assert (tmp_path / "sweep.png").read_bytes() != baseline
