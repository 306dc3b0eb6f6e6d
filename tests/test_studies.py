"""The loop: what a step that adjusts can reach, what is trained again, when it ends."""

import dataclasses

import numpy as np
import pytest

from jaxresearch import adjust, execution, losses, metrics, models, studies, training
from jaxresearch.data import DataCard, Dataset
from jaxresearch.experiment import Experiment, hyperparameters, static, swept
from jaxresearch.statistics import Claim
from jaxresearch.studies import Budget


@hyperparameters
class Line:
    learning_rate: float = swept(1e-3, "step size", above=0)
    batch_size: int = static(8, "examples a step", at_least=1)
    epochs: int = static(2, "passes", at_least=1)


def experiment(**changes):
    return Experiment(
        question="A line?",
        claim=changes.pop("claim", Claim(text="R2", metric="test/r2", at_least=0.9)),
        hyperparameters=Line(),
        source="",
        model=lambda h, card: models.linear(card.n_features, 1),
        loss_fn=lambda model, h: training.supervised(model, losses.half_squared_error),
        optimizer=lambda h, n_steps: training.gradient_descent(h.learning_rate),
        metrics=lambda card: {"r2": metrics.r2()},
        adjust=changes.pop("adjust", adjust.grid(learning_rate=[1e-2, 3e-1, 1e30])),
    )


def dataset(test_factor=2.0):
    generator = np.random.default_rng(0)

    def part(n, factor):
        x = generator.normal(size=(n, 1)).astype(np.float32)
        return {"inputs": x, "targets": factor * x + 0.1 * generator.normal(size=(n, 1)).astype(np.float32)}

    return Dataset(part(160, 2.0), part(40, test_factor), None, DataCard(name="line", source="", feature_shape=(1,)))


BUDGET = Budget(seeds=3, fresh_seeds=5)


def test_a_study_raises_a_poor_setting_and_outlives_one_that_diverges():
    conclusion = studies.study(experiment(), dataset(), budget=BUDGET)
    assert conclusion.best.learning_rate == 3e-1
    assert [trial.diverged for trial in conclusion.history[1].trials] == [False, False, True]
    assert conclusion.history[1].scores[2] == -np.inf
    assert conclusion.outcome.metrics["r2"].shape == (5,) and conclusion.outcome.metrics["r2"].min() > 0.9


def test_a_step_that_adjusts_cannot_reach_the_test_part():
    """The same rounds and the same choice, whatever the test part holds; and nothing of it in what a strategy is given."""
    seen = []

    def strategy(history):
        seen.append(history)
        return adjust.grid(learning_rate=[1e-2, 3e-1])(history)

    right, wrong = dataset(), dataset(test_factor=-2.0)
    np.testing.assert_array_equal(right.train["inputs"], wrong.train["inputs"])
    of_right, of_wrong = (studies.study(experiment(adjust=strategy), part, budget=BUDGET) for part in (right, wrong))
    assert of_right.best == of_wrong.best
    for one, other in zip(of_right.history, of_wrong.history, strict=True):
        assert one.scores == other.scores
    assert of_right.outcome.metrics["r2"].min() > 0.9 > 0 > of_wrong.outcome.metrics["r2"].max()
    assert all(
        set(trial._fields) == {"hyperparameters", "metrics", "diverged"} for h in seen for r in h for trial in r.trials
    )


def test_the_test_part_is_used_once_after_the_last_adjustment(monkeypatch):
    whole, order = dataset(), []
    all_, one = execution.execute_all, execution.execute

    def watched_all(experiment, settings, given, **kwargs):
        order.append("rounds")
        parts = [given.train["inputs"], given.test["inputs"]]
        assert not any(np.isin(part, whole.test["inputs"]).any() for part in parts)
        return all_(experiment, settings, given, **kwargs)

    def watched_one(experiment, setting, given, *, seeds, **kwargs):
        order.append("test")
        assert list(seeds) == [3, 4, 5, 6, 7]  # those of the rounds were 0 to 2
        np.testing.assert_array_equal(given.test["inputs"], whole.test["inputs"])
        np.testing.assert_array_equal(given.train["inputs"], whole.train["inputs"])  # all of it, trained anew
        return one(experiment, setting, given, seeds=seeds, **kwargs)

    monkeypatch.setattr(execution, "execute_all", watched_all)
    monkeypatch.setattr(execution, "execute", watched_one)
    studies.study(experiment(), whole, budget=BUDGET)
    assert order == ["rounds", "rounds", "test"]


def test_what_was_tried_is_not_trained_again(monkeypatch):
    trained, original = [], execution.execute_all

    def counted(experiment, settings, *args, **kwargs):
        trained.extend(settings)
        return original(experiment, settings, *args, **kwargs)

    monkeypatch.setattr(execution, "execute_all", counted)
    same = adjust.grid(learning_rate=[1e-3, 1e-2, 1e-2])  # 1e-3 is the plain setting
    whole = studies.study(experiment(adjust=same), dataset(), budget=BUDGET)
    assert [setting.learning_rate for setting in trained] == [1e-3, 1e-2]
    trained.clear()
    again = studies.study(experiment(adjust=same), dataset(), budget=BUDGET, history=whole.history)
    assert not trained and again.best == whole.best
    np.testing.assert_array_equal(again.outcome.metrics["r2"], whole.outcome.metrics["r2"])


@pytest.mark.parametrize(
    ("changes", "budget", "rounds", "why"),
    [
        ({}, BUDGET, 2, "nothing is left to try"),
        ({}, BUDGET._replace(rounds=1), 1, "the budget of 1 rounds is spent"),
        ({}, BUDGET._replace(seconds=1e-9), 1, "the budget of 1e-09 seconds is spent"),
        (
            {"adjust": adjust.random(n=2, learning_rate=(0.2, 0.4))},
            BUDGET,
            2,
            "the validation interval supports the claim",
        ),
    ],
)
def test_a_study_ends(changes, budget, rounds, why):
    claim = Claim(text="R2", metric="test/r2", at_least=0.9 if "adjust" in changes else 2.0)
    conclusion = studies.study(experiment(claim=claim, **changes), dataset(), budget=budget)
    assert len(conclusion.history) == rounds and conclusion.why == why


def test_a_claim_from_above_is_better_the_lower():
    below = experiment(claim=Claim(text="R2", metric="test/r2", at_most=0.1))
    trial = adjust.Trial(Line(), {"r2": np.array([0.5, 0.7])}, False)
    assert studies.score(below, trial) == pytest.approx(-0.6)
    assert studies.score(experiment(), trial) == pytest.approx(0.6)


def test_an_experiment_without_adjust_is_refused():
    with pytest.raises(ValueError, match="experiment must declare adjust to be studied"):
        studies.study(dataclasses.replace(experiment(), adjust=None), dataset(), budget=BUDGET)
