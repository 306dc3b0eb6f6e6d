"""Strategies are functions of the history: what they propose, and when they end."""

import re

import numpy as np
import pytest

from jaxresearch import adjust
from jaxresearch.adjust import Round, Trial
from jaxresearch.experiment import hyperparameters, static, swept


@hyperparameters
class Rates:
    learning_rate: float = swept(0.1, "step size", above=0)
    schedule: str = static("constant", "shape")
    batch_size: int = static(8, "examples a step")
    epochs: int = static(9, "passes")


def made(settings, scores=None):
    scores = [s.learning_rate for s in settings] if scores is None else scores
    return Round(
        "why", tuple(Trial(s, {}, not np.isfinite(v)) for s, v in zip(settings, scores, strict=True)), tuple(scores)
    )


PLAIN = made([Rates()])


def test_grid_is_every_combination_once():
    strategy = adjust.grid(learning_rate=[0.2, 0.4], schedule=["constant", "linear"])
    proposal = strategy((PLAIN,))
    assert [(s.learning_rate, s.schedule) for s in proposal.settings] == [
        (0.2, "constant"), (0.2, "linear"), (0.4, "constant"), (0.4, "linear"),
    ]  # fmt: skip
    assert strategy((PLAIN, made(proposal.settings))) is None


def test_random_is_a_function_of_the_history():
    strategy = adjust.random(n=50, seed=1, learning_rate=(1e-4, 1e-1), schedule=["constant", "linear"])
    first, again, next_ = strategy((PLAIN,)), strategy((PLAIN,)), strategy((PLAIN, PLAIN))
    assert first == again and first.settings != next_.settings
    rates = np.log10([s.learning_rate for s in first.settings])
    assert rates.min() >= -4 and rates.max() <= -1
    assert abs(rates.mean() + 2.5) < 0.4  # uniform in the logarithm: the mean is -2.5, its standard error 0.12
    assert {s.schedule for s in first.settings} == {"constant", "linear"}


def test_halving_keeps_the_best_third_and_ends_at_the_whole_run():
    strategy = adjust.halving(n=9, eta=3, learning_rate=(1e-3, 1e-1))
    history = (PLAIN,)
    sizes = []
    while (proposal := strategy(history)) is not None:
        sizes.append((len(proposal.settings), {s.epochs for s in proposal.settings}))
        if len(sizes) > 1:
            before = sorted(
                s.learning_rate for s in history[-1].trials and [t.hyperparameters for t in history[-1].trials]
            )
            assert sorted(s.learning_rate for s in proposal.settings) == before[-len(proposal.settings) :]
        history = (*history, made(proposal.settings))
    assert sizes == [(9, {1}), (3, {3}), (1, {9})]


def test_halving_drops_what_diverged_and_ends_where_all_did():
    strategy = adjust.halving(n=6, eta=2, learning_rate=(1e-3, 1e-1))
    first = strategy((PLAIN,)).settings
    kept = strategy((PLAIN, made(first, [-np.inf, 1.0, *[-np.inf] * 4])))
    assert [s.learning_rate for s in kept.settings] == [first[1].learning_rate]
    assert strategy((PLAIN, made(first, [-np.inf] * 6))) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: adjust.grid(), "values must name a field at least"),
        (lambda: adjust.grid(learning_rate=[]), "values must name a field at least"),
        (lambda: adjust.random(n=0, learning_rate=(1, 2)), "n must be 1 or more; got 0"),
        (lambda: adjust.random(n=1), "ranges must name a field at least"),
        (lambda: adjust.random(n=1, learning_rate=(2, 1)), "the range of learning_rate must be (low, high)"),
        (lambda: adjust.random(n=1, schedule=[]), "the list of schedule must hold values"),
        (lambda: adjust.halving(n=4, eta=1, learning_rate=(1, 2)), "eta must be 2 or more; got 1"),
    ],
)
def test_strategies_refuse_what_has_no_meaning(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
