"""The research loop: what a strategy can access, what is retrained, and when it ends."""

import dataclasses
import functools
import types

import jax
import numpy as np
import pytest

from jaxresearch import adjust, data, execution, losses, metrics, models, statistics, studies, training
from jaxresearch.algorithms import best_look, stopped
from jaxresearch.data import DataCard, Dataset, Preprocessor
from jaxresearch.execution import compilation
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim
from jaxresearch.studies import Budget, Looks, conclusion
from jaxresearch.studies.rounds import _finished


@hyperparameters
class Line:
    learning_rate: float = swept(1e-3, "step size", above=0)
    batch_size: int = static(8, "examples per step", at_least=1)
    epochs: int = static(2, "passes", at_least=1)
    unread: int = static(0, "a choice that the program does not read")


def descent(h, card, plan, fitted, *, factor=1.0):
    """Returns gradient descent on a line."""
    return training.supervised(
        models.linear(card.n_features, 1),
        losses.half_squared_error,
        optimizer=training.gradient_descent(factor * h.learning_rate),
        metrics={"r2": metrics.r2(), "mse": metrics.mean_squared_error()},
    )


def experiment(**changes):
    """Returns an experiment whose claim a study can reach."""
    declared = Experiment(
        question="A line?",
        claim=Claim(text="R2", metric="test/r2", about="these examples", at_least=0.9),
        hyperparameters=Line(),
        source="",
        preprocess=Preprocessor(),
        algorithm=descent,
        adjust=adjust.grid(learning_rate=[1e-2, 3e-1, 1e30]),
    )
    return dataclasses.replace(declared, **changes)


def dataset(test_factor=2.0):
    generator = np.random.default_rng(0)

    def part(n, factor):
        x = generator.normal(size=(n, 1)).astype(np.float32)
        return {"inputs": x, "targets": factor * x + 0.1 * generator.normal(size=(n, 1)).astype(np.float32)}

    return Dataset(part(160, 2.0), part(40, test_factor), None, DataCard(name="line", source="", feature_shape=(1,)))


BUDGET = Budget(seeds=(0, 1, 2), fresh_seeds=tuple(range(3, 13)))


FAR = Claim(
    text="R2", metric="test/r2", about="these examples", at_least=2.0
)  # so that the strategy is called until it has no proposals


@pytest.fixture(scope="module", autouse=True)
def unoptimized():
    """Compiles runs as the tests compile all else: the bookkeeping of rounds needs no speed."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compilation, "compiler_options", lambda program: {})
        yield


@pytest.fixture
def trained(monkeypatch):
    """The groups of settings that are trained during a test, in order."""
    settings_trained, original = [], execution.execute_all

    def counted(experiment, settings, *args, **kwargs):
        settings_trained.extend(settings)
        return original(experiment, settings, *args, **kwargs)

    monkeypatch.setattr(execution, "execute_all", counted)
    return settings_trained


@pytest.fixture
def pretended(monkeypatch):
    """The same without training: scores increase with steps, rate and targets."""
    settings_trained = []

    def execute_all(experiment, settings, dataset, *, seeds, **kwargs):
        settings_trained.extend(settings)
        noise = 1e-4 * np.arange(len(seeds)) + 1e-6 * dataset.train["targets"].mean()
        scores = [h.learning_rate * getattr(h, "n_steps", 1) + noise for h in settings]
        return [adjust.Trial(h, {"r2": score}, False) for h, score in zip(settings, scores, strict=True)]

    monkeypatch.setattr(execution, "execute_all", execute_all)
    return settings_trained


@pytest.fixture(scope="module")
def concluded():
    """A study of the experiment as declared."""
    return studies.study(experiment(), dataset(), budget=BUDGET)


@pytest.mark.long
def test_study_raises_a_poor_setting(concluded):
    assert concluded.best.learning_rate == 3e-1 and len(concluded.history) == 2
    assert concluded.why.startswith(
        "the interval on the selection data supported the claim, even when corrected for 4 settings. In the search, the best "
    )
    assert concluded.why.endswith("), so the best settings were kept") and "With 10 other seeds, the " in concluded.why
    lead = np.subtract(concluded.history[1].scores[1], concluded.history[0].scores[0])
    assert (
        f"differed from the baseline by {lead:+.4f} r2; the noise floor for 3 settings and 3 seeds was "
        in concluded.why
    )
    assert [trial.diverged for trial in concluded.history[1].trials] == [False, False, True]
    assert concluded.history[1].scores[2] == -np.inf
    assert concluded.outcome.metrics["r2"].shape == (10,) and concluded.outcome.metrics["r2"].min() > 0.9


def test_settings_are_compared_with_the_plain_ones_by_seed():
    values = {0.001: [0.5, 0.6, 0.4], 0.1: [0.7, 0.85, 0.6], 0.2: [0.52, 0.58, 0.41], 0.3: [0.9, np.nan, 0.9]}
    trials = [adjust.Trial(Line(learning_rate=rate), {"r2": np.array(own)}, rate > 0.2) for rate, own in values.items()]
    again = adjust.Trial(Line(), {"r2": np.array([0.45, 0.65, 0.7])}, False)
    found = studies.against_baseline(trials, trials[0], again, "r2")
    better, close = (statistics.difference(values[rate], values[0.001]) for rate in (0.1, 0.2))
    assert np.isnan(found.differences[0].mean) and found.differences[1:3] == (better, close)
    assert np.isnan(found.differences[3].mean) and found.n_differences == 2
    np.testing.assert_array_equal(found.p_values, [np.nan, *statistics.holm([better.p, close.p]), np.nan])
    assert found.noise == pytest.approx(0.1)
    assert found.floor == statistics.noise_floor(values[0.001], again.metrics["r2"], n_differences=2)
    are_more = [studies.is_more_than_noise(found, place, higher=True) for place in range(4)]
    assert are_more == [False, True, False, False]
    assert not studies.is_more_than_noise(found, 1, higher=False)  # lower is better


@pytest.mark.long
def test_adjust_cannot_reach_the_test_part():
    """The test part changes neither rounds nor choice, and is not visible to a strategy."""
    seen = []

    def strategy(history):
        seen.append(history)
        return adjust.grid(learning_rate=[1e-2, 3e-1])(history)

    right, wrong = dataset(), dataset(test_factor=-2.0)
    np.testing.assert_array_equal(right.train["inputs"], wrong.train["inputs"])
    of_right, of_wrong = (
        studies.study(experiment(claim=FAR, adjust=strategy), part, budget=BUDGET) for part in (right, wrong)
    )
    assert of_right.best == of_wrong.best
    for one, other in zip(of_right.history, of_wrong.history, strict=True):
        assert one.scores == other.scores
    assert of_right.outcome.metrics["r2"].min() > 0.9 > 0 > of_wrong.outcome.metrics["r2"].max()
    given = [[trial for made in history for trial in made.trials] for history in seen]
    assert len(given) == 4  # two evaluations per study: after the baseline and after the grid
    for of_one, of_other in zip(given[:2], given[2:], strict=True):
        assert len(of_one) == len(of_other) > 0
        assert jax.tree.structure(of_one) == jax.tree.structure(of_other)
        for one, other in zip(jax.tree.leaves(of_one), jax.tree.leaves(of_other), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.long
def test_test_part_is_read_once_after_the_last_adjustment(monkeypatch):
    whole, order = dataset(), []
    all_, one = execution.execute_all, execution.execute

    def watched_all(experiment, settings, given, **kwargs):
        order.append("rounds")
        parts = [given.train["inputs"], given.test["inputs"]]
        assert not any(np.isin(part, whole.test["inputs"]).any() for part in parts)
        return all_(experiment, settings, given, **kwargs)

    def watched_one(experiment, setting, given, *, seeds, **kwargs):
        if list(seeds) == [*range(13, 23)]:  # the confirmation, with seeds that chose nothing
            order.append("confirmation")
            assert not np.isin(given.test["inputs"], whole.test["inputs"]).any()
            return one(experiment, setting, given, seeds=seeds, **kwargs)
        order.append("test")
        assert list(seeds) == [*range(3, 13)]  # those of the rounds were 0 to 2
        np.testing.assert_array_equal(given.test["inputs"], whole.test["inputs"])
        np.testing.assert_array_equal(given.train["inputs"], whole.train["inputs"])  # all of it, trained again
        return one(experiment, setting, given, seeds=seeds, **kwargs)

    monkeypatch.setattr(execution, "execute_all", watched_all)
    monkeypatch.setattr(execution, "execute", watched_one)
    studies.study(experiment(), whole, budget=BUDGET)
    # The chosen setting, and the baseline to compare it with, twice.
    assert order == ["rounds", "rounds", "confirmation", "confirmation", "test", "test"]


def rows(part):
    """Returns the bytes of each example of a part."""
    return {x.tobytes() for x in part["inputs"]}


def stopping(h, card, plan, fitted):
    """Returns descent that stops early."""
    return stopped(descent(h, card, plan, fitted), metric="mse", patience=1)


@pytest.mark.raises  # a simulated execution returns no outcome
@pytest.mark.parametrize("with_own", [False, True], ids=["carved", "given"])
def test_selection_and_validation_data_are_apart(monkeypatch, pretended, with_own):
    """A study selects on examples that no run trains or evaluates on; the test part is separate from all of them."""
    whole, seen = dataset(), []
    if with_own:
        x = np.random.default_rng(5).normal(size=(30, 1)).astype(np.float32)
        whole = whole._replace(validation={"inputs": x, "targets": 2 * x})

    def watched(function, name):
        def execute(experiment, setting, given, *, evaluate_every, **kwargs):
            assert evaluate_every == 10
            seen.append((name, given))
            return function(experiment, setting, given, evaluate_every=evaluate_every, **kwargs)

        return execute

    monkeypatch.setattr(execution, "execute_all", watched(execution.execute_all, "rounds"))
    pretended = types.SimpleNamespace(metrics={"r2": np.full(10, 0.5)})
    monkeypatch.setattr(execution, "execute", watched(lambda *args, **kwargs: pretended, "test"))
    monkeypatch.setattr(conclusion, "gain", lambda *args, **kwargs: statistics.Difference(1.0, 0.5, 1.5))
    of = experiment(algorithm=stopping, adjust=adjust.grid(learning_rate=[1e-2]))
    studies.study(of, whole, budget=BUDGET, looks=Looks(0.2, every=10))
    assert [name for name, _ in seen] == ["rounds", "rounds", "test", "test", "test", "test"]
    seen[2:4] = [("confirmation", given) for _, given in seen[2:4]]
    for name, given in seen:
        parts = {part: rows(values) for part, values in given.parts().items()}
        every = set.union(*parts.values())
        assert sum(map(len, parts.values())) == len(every), "an example is in two parts"
        own = rows(whole.validation) if with_own else set()
        if name == "test":  # all training examples again, except those of evaluations
            assert parts["test"] == rows(whole.test) and parts["train"] | parts["validation"] == rows(whole.train)
            assert len(parts["validation"]) == 32
        else:  # the selection part is split off first, unless the data has one
            assert every == rows(whole.train) | own
            assert parts["test"] == own if with_own else len(parts["test"]) == 16
            assert len(parts["validation"]) == round(0.2 * (160 if with_own else 144))


@pytest.mark.long
def test_validation_settings_are_part_of_a_trials_digest(pretended):
    of = experiment(adjust=adjust.grid(learning_rate=[1e-2]))
    made = studies.search(of, dataset(), budget=BUDGET, looks=Looks(0.2))
    pretended.clear()
    studies.search(of, dataset(), budget=BUDGET, looks=Looks(0.2), history=made.history)
    assert not pretended
    for looks in (None, Looks(0.3), Looks(0.2, every=5)):
        with pytest.warns(
            UserWarning, match="round 1 and all later rounds are rerun: their program or data has changed"
        ):
            studies.search(of, dataset(), budget=BUDGET._replace(rounds=1), looks=looks, history=made.history)
        assert len(pretended) == 1
        pretended.clear()


@pytest.mark.long
def test_study_concludes_with_the_best_states_of_its_runs():
    of = experiment(algorithm=stopping, adjust=adjust.grid(learning_rate=[1e-3]))  # the baseline
    conclusion = studies.study(of, dataset(), budget=BUDGET, looks=Looks(0.2, every=10))
    assert conclusion.why == "nothing was left to try" and conclusion.best == Line() and conclusion.baseline is None
    assert best_look(conclusion.outcome.state).min() > 0
    with pytest.raises(ValueError, match="validation data must be given to an algorithm that reacts to it"):
        studies.study(of, dataset(), budget=BUDGET)


def test_known_settings_are_not_trained_again(pretended):
    same = adjust.grid(learning_rate=[1e-3, 1e-2, 1e-2])  # 1e-3 is the baseline
    whole = studies.search(experiment(adjust=same), dataset(), budget=BUDGET)
    assert [setting.learning_rate for setting in pretended] == [1e-3, 1e-2]
    pretended.clear()
    again = studies.search(experiment(adjust=same), dataset(), budget=BUDGET, history=whole.history)
    assert not pretended and again.best == whole.best


@pytest.mark.long
def test_resumed_study_concludes_as_the_whole_one(concluded, trained):
    again = studies.search(experiment(), dataset(), budget=BUDGET, history=concluded.history)
    made = studies.conclude(experiment(), dataset(), again, budget=BUDGET)
    assert not trained
    np.testing.assert_array_equal(made.outcome.metrics["r2"], concluded.outcome.metrics["r2"])


def test_gain_counts_no_example_of_weight_zero():
    """Padding counts neither as examples nor in groups."""
    whole = dataset()
    weights = (np.arange(40) < 30).astype(np.float32)
    padded = whole._replace(test={**whole.test, "weights": weights, "groups": np.arange(40) // 2})
    kept = whole._replace(test={name: array[:30] for name, array in padded.test.items() if name != "weights"})

    def outcomes(n):
        rng = np.random.default_rng(1)
        for _ in range(2):
            values, influences = rng.normal(size=5), np.zeros((5, n))
            influences[:, :30] = rng.normal(size=(5, 30))
            yield execution.Outcome(None, {"r2": values}, {}, 0.0, 0, influences={"r2": influences})

    found = studies.gain(*outcomes(40), "r2", dataset=padded)
    assert found == studies.gain(*outcomes(30), "r2", dataset=kept) and found.over == "seeds and examples"


@pytest.mark.long
def test_gain_is_measured_on_the_same_fresh_seeds(concluded):
    baseline = execution.execute(experiment(), Line(), dataset(), seeds=[*range(3, 13)])
    np.testing.assert_array_equal(concluded.baseline.metrics["r2"], baseline.metrics["r2"])


@pytest.mark.long
def test_a_baseline_that_diverges_is_not_kept():
    """If the gain is undefined, the settings with finite results are kept."""
    wild = experiment(hyperparameters=Line(learning_rate=1e30), adjust=adjust.grid(learning_rate=[3e-1]))
    made = studies.search(wild, dataset(), budget=BUDGET)
    confirmed = studies.confirm(wild, dataset(), made, budget=BUDGET)
    assert made.best.learning_rate == confirmed.best.learning_rate == 3e-1 and "nan" not in confirmed.why
    assert "With 10 other seeds, r2 of the baseline was undefined, so the best settings were kept" in confirmed.why


def test_rounds_of_another_program_or_other_data_are_rerun(pretended):
    grid = adjust.grid(learning_rate=[1e-2, 3e-1])
    whole = studies.search(experiment(adjust=grid), dataset(), budget=BUDGET)
    pretended.clear()
    renamed = experiment(question="Another text?", algorithm=lambda *args: descent(*args), adjust=grid)
    studies.search(renamed, dataset(), budget=BUDGET, history=whole.history)
    assert not pretended  # the same program, written differently

    other = dataset()
    other.train["targets"][0] += 1
    changed = experiment(algorithm=functools.partial(descent, factor=2.0), adjust=grid)
    for of, given in ((changed, dataset()), (experiment(adjust=grid), other)):
        with pytest.warns(
            UserWarning, match="round 1 and all later rounds are rerun: their program or data has changed"
        ):
            again = studies.search(of, given, budget=BUDGET, history=whole.history)
        assert len(pretended) == 3 and len(again.history) == 2
        digests = [{trial.digest for made in one.history for trial in made.trials} for one in (again, whole)]
        assert not digests[0] & digests[1]
        assert (again.history[0].scores != whole.history[0].scores) == (given is other)
        pretended.clear()


@pytest.mark.long
def test_study_follows_the_hypergradient():
    claim = Claim(text="error", metric="test/mse", about="these examples", at_most=1e-3)
    slow = experiment(claim=claim, adjust=adjust.descend("learning_rate", metric="mse", step_size=1.0))
    found = studies.search(slow, dataset(), budget=BUDGET._replace(rounds=4))
    assert [made.trials[0].gradient is None for made in found.history] == [True, *[False] * 3]
    errors = [made.trials[0].metrics["mse"].mean() for made in found.history]
    assert errors[0] == errors[1] > errors[2] > errors[3]
    # The derivative is that of the run: a step of one per cent changes the error accordingly.
    start = found.history[1].trials[0]
    nearby = [Line(learning_rate=1e-3 * factor) for factor in (0.99, 1.01)]
    held_out = data.development(dataset())
    down, up = (t.metrics["mse"].mean() for t in execution.execute_all(slow, nearby, held_out, seeds=range(3)))
    assert start.gradient.learning_rate.mean() == pytest.approx((up - down) / 2e-5, rel=1e-2)
    assert start.gradient.learning_rate.shape == (3,)


@pytest.mark.long
def test_study_of_the_hypergradient_ends_where_a_run_diverges():
    claim = Claim(text="error", metric="test/mse", about="these examples", at_most=1e-3)
    steep = experiment(claim=claim, adjust=adjust.descend("learning_rate", metric="mse", step_size=10.0))
    found = studies.search(steep, dataset(), budget=BUDGET)
    assert [made.trials[0].diverged for made in found.history] == [False, False, True]
    assert found.why == "nothing was left to try" and found.best.learning_rate == 1e-3


@pytest.mark.long
def test_rounds_of_another_strategy_reuse_known_trials(concluded, trained):
    other = experiment(adjust=adjust.grid(learning_rate=[3e-1, 4e-1]))
    with pytest.warns(UserWarning, match="round 2 and all later rounds are rerun: adjust now proposes other settings"):
        again = studies.search(other, dataset(), budget=BUDGET, history=concluded.history)
    assert [setting.learning_rate for setting in trained] == [4e-1]
    assert [trial.hyperparameters.learning_rate for trial in again.history[1].trials] == [3e-1, 4e-1]


@pytest.mark.long
def test_slope_of_another_metric_is_computed_anew():
    claim = Claim(text="error", metric="test/mse", about="these examples", at_most=1e-3)
    of_error = experiment(claim=claim, adjust=adjust.descend("learning_rate", metric="mse"))
    of_r2 = experiment(claim=claim, adjust=adjust.descend("learning_rate", metric="r2"))
    made = studies.search(of_error, dataset(), budget=BUDGET._replace(rounds=2))
    with pytest.warns(UserWarning, match="round 2 and all later rounds are rerun: adjust"):
        again = studies.search(of_r2, dataset(), budget=BUDGET._replace(rounds=2), history=made.history)
    slopes = [found.history[1].trials[0].gradient.learning_rate for found in (made, again)]
    assert (slopes[0] < 0).all() and (slopes[1] > 0).all()


def test_study_seldom_ends_on_the_luck_of_the_best_of_many():
    """Twelve settings of three seeds, all equally good and as good as the bound: stopping on the best of them would be luck."""
    generator, bound = (
        np.random.default_rng(0),
        Claim(text="R2", metric="test/r2", about="these examples", at_least=0.0),
    )
    lucky = 0
    for _ in range(400):
        trials = tuple(adjust.Trial(Line(), {"r2": generator.normal(size=3)}, False, None, str(i)) for i in range(12))
        noise = experiment(claim=bound)
        made = adjust.Round("noise", trials, tuple(studies.score(noise, trial) for trial in trials))
        lucky += _finished(noise, (made,), BUDGET) is not None
    assert lucky / 400 < 0.05  # the unadjusted interval of the best would stop at least 40 % of them


def test_study_seldom_ends_on_the_luck_of_many_rounds():
    """Ten rounds of one setting each, exactly at the bound."""
    generator, noise = (
        np.random.default_rng(0),
        experiment(claim=Claim(text="R2", metric="test/r2", about="these examples", at_least=0.0)),
    )
    budget, lucky = BUDGET._replace(rounds=11), 0
    for number in range(400):
        history = ()
        for place in range(10):
            trial = adjust.Trial(Line(), {"r2": generator.normal(size=3)}, False, None, f"{number} {place}")
            history = (*history, adjust.Round("noise", (trial,), (studies.score(noise, trial),)))
            if _finished(noise, history, budget) is not None:
                lucky += 1
                break
    assert lucky / 400 < 0.05


def test_settings_with_one_program_are_trained_once(pretended):
    of = experiment(adjust=adjust.grid(unread=[1, 2], learning_rate=[1e-3, 1e-2]))
    found = studies.search(of, dataset(), budget=BUDGET)
    assert [(setting.unread, setting.learning_rate) for setting in pretended] == [(0, 1e-3), (1, 1e-2)]
    told = [(t.hyperparameters.unread, t.hyperparameters.learning_rate) for t in found.history[1].trials]
    assert told == [(1, 1e-3), (1, 1e-2), (2, 1e-3), (2, 1e-2)]
    pretended.clear()
    studies.search(of, dataset(), budget=BUDGET, history=found.history)  # a warning would be an error here
    assert not pretended


def test_interrupted_round_keeps_what_it_has_trained(monkeypatch, pretended):
    original = execution.execute_all

    def interrupted(experiment, settings, *args, **kwargs):
        if settings[0].batch_size == 16:
            raise KeyboardInterrupt
        return original(experiment, settings, *args, **kwargs)

    of, kept, rounds = experiment(adjust=adjust.grid(batch_size=[4, 16])), [], []
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(execution, "execute_all", interrupted)
        studies.search(of, dataset(), budget=BUDGET, on_trials=kept.extend, on_round=rounds.append)
    pretended.clear()
    studies.search(of, dataset(), budget=BUDGET, history=rounds[-1], known=kept)
    assert len(kept) == 2 and [setting.batch_size for setting in pretended] == [16]


def test_setting_of_more_epochs_can_be_chosen():
    found = studies.search(experiment(adjust=adjust.grid(epochs=[40])), dataset(), budget=BUDGET)
    assert found.history[1].scores[0] > found.history[0].scores[0] and found.best.epochs == 40


@pytest.mark.parametrize(
    ("changes", "budget", "rounds", "why"),
    [
        ({}, BUDGET, 2, "nothing was left to try"),
        ({}, BUDGET._replace(rounds=1), 1, "the budget of 1 round was spent"),
        ({}, BUDGET._replace(seconds=1e-9), 1, "the budget of 1e-09 seconds was spent"),
        (
            {"adjust": adjust.random(n=2, learning_rate=(0.2, 0.4))},
            BUDGET,
            2,
            "the interval on the selection data supported the claim, even when corrected for 3 settings",
        ),
    ],
)
def test_search_ends(pretended, changes, budget, rounds, why):
    claim = Claim(text="R2", metric="test/r2", about="these examples", at_least=0.1) if "adjust" in changes else FAR
    grid = adjust.grid(learning_rate=[1e-2, 3e-1])
    found = studies.search(experiment(claim=claim, **{"adjust": grid, **changes}), dataset(), budget=budget)
    assert len(found.history) == rounds and found.why == why


def test_seconds_of_earlier_processes_count(pretended):
    made = studies.search(experiment(), dataset(), budget=BUDGET._replace(rounds=1))
    assert made.history[0].seconds > 0
    before = (made.history[0]._replace(seconds=3601.0),)
    again = studies.search(experiment(), dataset(), budget=BUDGET, history=before)
    assert len(again.history) == 1 and again.why == "the budget of 3600 seconds was spent"


def test_score_of_a_claim_from_above_is_negated():
    below = experiment(claim=Claim(text="R2", metric="test/r2", about="these examples", at_most=0.1))
    trial = adjust.Trial(Line(), {"r2": np.array([0.5, 0.7])}, False)
    assert studies.score(below, trial) == pytest.approx(-0.6)
    assert studies.score(experiment(), trial) == pytest.approx(0.6)


def test_study_refuses_an_experiment_without_adjust():
    with pytest.raises(ValueError, match="experiment must declare adjust for a study, got none. Write: adjust="):
        studies.study(dataclasses.replace(experiment(), adjust=None), dataset(), budget=BUDGET)


def test_study_refuses_fresh_seeds_that_were_used():
    budget = BUDGET._replace(fresh_seeds=(2, 3))
    with pytest.raises(ValueError, match="fresh_seeds must not be among seeds, got 2 in both. Pass others"):
        studies.study(experiment(), dataset(), budget=budget)


@hyperparameters
class Steps:
    learning_rate: float = swept(1e-2, "step size", above=0)
    batch_size: int = static(8, "examples per step", at_least=1)
    n_steps: int = static(20, "steps of the run", at_least=1)


def test_study_compares_runs_of_as_many_steps(pretended):
    """If hyperparameters count steps instead of epochs, a setting with fewer steps cannot be chosen."""
    for bounds, best in ({"at_least": 9.0}, 40), ({"at_most": 0.0}, 20):
        claim = Claim(text="R2", metric="test/r2", about="these examples", **bounds)
        of = experiment(hyperparameters=Steps(), adjust=adjust.grid(n_steps=[4, 40]), claim=claim)
        found = studies.search(of, dataset(), budget=BUDGET)
        shorter = found.history[1].scores[0] > found.history[0].scores[0]
        assert found.best.n_steps == best and shorter == ("at_most" in bounds)
