"""The page of metrics and losses lists all of them, with their options and defaults."""

import inspect
import re
from pathlib import Path

import pytest

from jaxresearch import clustering, losses, metrics
from jaxresearch.fields import text

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
ROWS = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE.read_text(), re.M))
METRICS = {
    name: getattr(metrics, name) for name in metrics.__all__ if name != "classification"
}  # it returns four of them
LOSSES = {
    name: thing
    for name, thing in vars(losses).items()
    if inspect.isfunction(thing) and thing.__module__ == losses.__name__ and not name.startswith("_")
}
SCORES = {
    thing.__name__: thing
    for thing in (
        clustering.adjusted_rand_index,
        clustering.normalised_mutual_information,
        clustering.silhouette,
        text.rouge_n,
        text.rouge_l,
    )
}


def test_the_page_has_a_row_for_every_metric_and_loss():
    assert set(ROWS) == {*METRICS, *LOSSES, *SCORES}


@pytest.mark.parametrize("name", sorted({**METRICS, **LOSSES}))
def test_a_row_shows_the_options_and_their_defaults(name):
    parameters = inspect.signature({**METRICS, **LOSSES}[name]).parameters.values()
    options = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    defaults = {p.name: "" if p.default is p.empty else repr(p.default).replace("'", '"') for p in options}
    assert dict(re.findall(r"`(\w+)=(\S*)`", ROWS[name])) == defaults
