"""Strategies are functions of the history: what they propose, and when they stop."""

import itertools
import re

import numpy as np
import optax
import optuna
import pytest

from jaxresearch import adjust
from jaxresearch.adjust import Round, Trial
from jaxresearch.adjust import optuna as tune
from jaxresearch.hyperparameters import check, hyperparameters, static, swept


@hyperparameters
class Rates:
    learning_rate: float = swept(0.1, "step size", above=0)
    schedule: str = static("constant", "shape")
    batch_size: int = static(8, "examples per step")
    epochs: int = static(9, "passes")


def made(settings, scores=None):
    scores = [s.learning_rate for s in settings] if scores is None else scores
    return Round(
        "why", tuple(Trial(s, {}, not np.isfinite(v)) for s, v in zip(settings, scores, strict=True)), tuple(scores)
    )


BASELINE = made([Rates()])


def test_grid_is_every_combination_once():
    strategy = adjust.grid(learning_rate=[0.2, 0.4], schedule=["constant", "linear"])
    proposal = strategy((BASELINE,))
    assert [(s.learning_rate, s.schedule) for s in proposal.settings] == [
        (0.2, "constant"), (0.2, "linear"), (0.4, "constant"), (0.4, "linear"),
    ]  # fmt: skip
    assert strategy((BASELINE, made(proposal.settings))) is None


def test_replaced_makes_a_float_of_a_whole_number():
    changed = adjust.replaced(Rates(), {"learning_rate": 1, "batch_size": np.int64(4), "schedule": "linear"})
    assert type(changed.learning_rate) is float and changed.batch_size == 4
    proposal = adjust.grid(learning_rate=[1, 0.2])((BASELINE,))
    assert [type(setting.learning_rate) for setting in proposal.settings] == [float, float]


def test_random_is_a_function_of_the_history():
    strategy = adjust.random(n=50, seed=1, learning_rate=(1e-4, 1e-1), schedule=["constant", "linear"])
    first, again, next_ = strategy((BASELINE,)), strategy((BASELINE,)), strategy((BASELINE, BASELINE))
    assert first == again and first.settings != next_.settings
    rates = np.log10([s.learning_rate for s in first.settings])
    assert rates.min() >= -4 and rates.max() <= -1
    assert abs(rates.mean() + 2.5) < 0.4  # uniform in the logarithm: the mean is -2.5, its standard error 0.12
    assert {s.schedule for s in first.settings} == {"constant", "linear"}


def test_drawn_values_keep_their_type_and_range():
    for strategy in (adjust.random, tune.tpe):
        settings = strategy(n=40, seed=0, batch_size=(8, 64), learning_rate=(0.12345678, 0.1234579))(
            (BASELINE,)
        ).settings
        sizes = [setting.batch_size for setting in settings]
        assert all(type(size) is int and 8 <= size <= 64 for size in sizes) and len(set(sizes)) > 10
        assert all(0.12345678 <= setting.learning_rate <= 0.1234579 for setting in settings)


@pytest.mark.parametrize(
    "strategy",
    [
        adjust.grid(rate=[1.0]),
        adjust.random(n=1, rate=(1, 2)),
        adjust.halving(n=1, rate=(1, 2)),
        tune.tpe(n=1, rate=(1, 2)),
        adjust.descend("rate", metric="log_loss"),
    ],
)
def test_strategies_refuse_an_unknown_field(strategy):
    message = "adjust must name hyperparameters of the experiment; got rate. It has: learning_rate, schedule"
    with pytest.raises(ValueError, match=message):
        strategy((BASELINE,))


def test_halving_keeps_the_best_third_and_ends_at_the_whole_run():
    strategy = adjust.halving(n=9, eta=3, learning_rate=(1e-3, 1e-1))
    history = (BASELINE,)
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


def test_halving_drops_diverged_runs_and_ends_if_all_diverge():
    strategy = adjust.halving(n=6, eta=2, learning_rate=(1e-3, 1e-1))
    first = strategy((BASELINE,)).settings
    kept = strategy((BASELINE, made(first, [-np.inf, 1.0, *[-np.inf] * 4])))
    assert [s.learning_rate for s in kept.settings] == [first[1].learning_rate]
    assert strategy((BASELINE, made(first, [-np.inf] * 6))) is None


@hyperparameters
class Schedule:
    learning_rate: float = swept(0.1, "step size", above=0)
    knots: tuple[float, ...] = swept((1.0, 1.0), "factors", above=0)


def known(setting, slopes, diverged=False):
    gradient = Schedule(learning_rate=np.zeros(2), knots=tuple(np.array(slope) for slope in slopes))
    return Round("why", (Trial(setting, {}, diverged, gradient),), (0.0,))


def test_descend_is_adam_on_the_logarithms():
    strategy = adjust.descend("knots", metric="log_loss", step_size=0.3)
    baseline = Round("baseline", (Trial(Schedule(), {}, False),), (0.0,))
    asked = strategy((baseline,))
    assert asked.settings == (Schedule(),) and asked.differentiate == "log_loss"

    first = known(Schedule(), [[1.0, 3.0], [-1.0, -1.0]])  # two seeds each
    made = strategy((baseline, first)).settings[0]
    np.testing.assert_allclose(made.knots, np.exp([-0.3, 0.3]), rtol=1e-4)  # Adam's first step is the sign
    assert made.learning_rate == 0.1

    second = known(made, [[4.0, 4.0], [0.0, 0.0]])
    adam = optax.adam(0.3, b1=0.8, b2=0.9)
    logs, state = np.zeros(2, np.float32), adam.init(np.zeros(2, np.float32))
    for slope in (np.float32([2, -1]), np.float32([4 * made.knots[0], 0])):
        updates, state = adam.update(slope, state)
        logs = logs + updates
    np.testing.assert_allclose(strategy((baseline, first, second)).settings[0].knots, np.exp(logs), rtol=1e-4)


def test_descend_ends_where_there_is_no_slope():
    strategy = adjust.descend("knots", metric="log_loss")
    baseline = Round("baseline", (Trial(Schedule(), {}, False),), (0.0,))
    assert strategy((baseline, known(Schedule(), [[np.inf, 0.0], [0.0, 0.0]]))) is None
    assert strategy((baseline, known(Schedule(), [[0.0, 0.0], [0.0, 0.0]]))) is None  # it would repeat the same trial
    diverged = Round(
        "why", (Trial(strategy((baseline, known(Schedule(), [[1.0], [1.0]]))).settings[0], {}, True),), (-np.inf,)
    )
    assert strategy((baseline, known(Schedule(), [[1.0], [1.0]]), diverged)) is None


@hyperparameters
class Bounded:
    share: float = swept(0.9, "of one", at_least=0.8, below=1.0)
    learning_rate: float = swept(0.1, "step size", above=0.09, at_most=0.1)


def test_descend_keeps_to_the_bounds_of_a_field():
    strategy = adjust.descend("share", "learning_rate", metric="log_loss", step_size=0.3)
    baseline = Round("baseline", (Trial(Bounded(), {}, False),), (0.0,))
    for sign, share, rate in ((-1.0, (0.9999, 1.0), (0.1, 0.1)), (1.0, (0.8, 0.8), (0.09, 0.0900001))):
        gradient = Bounded(share=np.array([sign]), learning_rate=np.array([sign]))
        made = strategy((baseline, Round("why", (Trial(Bounded(), {}, False, gradient),), (0.0,)))).settings[0]
        check(made)
        assert share[0] <= made.share <= share[1] and rate[0] <= made.learning_rate <= rate[1]
        # At the bound, the slope cannot be followed.
        further = Round("why", (Trial(made, {}, False, gradient),), (0.0,))
        assert strategy((baseline, Round("why", (Trial(Bounded(), {}, False, gradient),), (0.0,)), further)) is None


def followed(strategy, n_rounds):
    """Returns the history of a synthetic study whose best rate is 0.013 with a falling schedule."""

    def score(setting):
        falls = setting.schedule == "linear"
        return -((np.log(setting.learning_rate / 0.013)) ** 2) - (not falls) if setting.learning_rate < 0.5 else -np.inf

    history = (BASELINE,)
    for _ in range(n_rounds):
        settings = strategy(history).settings
        history = (*history, made(settings, [score(setting) for setting in settings]))
    return history


RANGES = {"learning_rate": (1e-5, 1e3), "schedule": ["constant", "linear"]}


def test_tpe_learns_from_the_history_alone():
    history = followed(tune.tpe(n=8, seed=0, **RANGES), 6)
    assert followed(tune.tpe(n=8, seed=0, **RANGES), 6) == history
    assert max(history[-1].scores) > -0.5 and np.median(history[-1].scores) > np.median(history[1].scores)


def test_tpe_keeps_away_from_where_runs_diverge():
    """Two fifths of the range diverge. If these were reported as failed, Optuna would propose there two thirds of the time."""
    histories = [followed(tune.tpe(n=8, seed=seed, **RANGES), 8) for seed in range(8)]
    diverged = np.array([[np.isneginf(made.scores).mean() for made in history[1:]] for history in histories])
    assert diverged[:, 0].mean() > 0.3 and diverged[:, 2:].mean() < 0.2


def test_tpe_repeats_no_trial_and_ends_when_all_are_known():
    strategy = tune.tpe(n=4, schedule=["constant", "linear", "cosine", "step", "exponential", "none"])
    first = strategy((BASELINE,))
    second = strategy((BASELINE, made(first.settings)))
    assert len(first.settings) == 4 and len(second.settings) == 2 and not set(first.settings) & set(second.settings)
    assert strategy((BASELINE, made(first.settings), made(second.settings))) is None


def test_tpe_ignores_trials_outside_of_narrower_ranges():
    history = followed(tune.tpe(n=8, **RANGES), 2)
    narrow = tune.tpe(n=4, learning_rate=(1e-2, 1e-1), schedule=["linear"])(history)
    assert all(1e-2 <= s.learning_rate <= 1e-1 and s.schedule == "linear" for s in narrow.settings)


@pytest.mark.long
def test_tpe_resumes_in_a_storage_that_several_share(tmp_path, monkeypatch):
    seeds, original = itertools.count(), np.random.default_rng  # with a storage, draws differ from process to process
    monkeypatch.setattr(np.random, "default_rng", lambda seed: original(next(seeds) if seed is None else seed))
    storage = f"sqlite:///{tmp_path}/tune.db"
    strategies = [tune.tpe(n=4, storage=storage, name="rates", **RANGES) for _ in range(2)]
    histories = [followed(strategy, 3) for strategy in strategies]
    for strategy, history in zip(strategies, histories, strict=True):
        assert not strategy(history).replayable  # it reports its last round, and adds nothing twice
    told = optuna.load_study(storage=storage, study_name="rates").trials
    rates = sorted(s.hyperparameters.learning_rate for h in histories for made in h[1:] for s in made.trials)
    assert sorted(trial.params["learning_rate"] for trial in told) == rates and len(set(rates)) == 24
    assert {trial.state.name for trial in told} == {"COMPLETE"}  # no trial left open by an interruption
    # A third study starts from the trials of the others: its first round is not random.
    first = [tune.tpe(n=8, storage=storage, name="rates", **RANGES)((BASELINE,)) for _ in range(12)]
    by_chance = np.log(1e3 / 0.5) / np.log(1e3 / 1e-5)  # the diverging fraction of the range
    share = np.mean([s.learning_rate > 0.5 for proposal in first for s in proposal.settings])
    assert share < by_chance - 2 * np.sqrt(by_chance * (1 - by_chance) / 96)


def test_tpe_refuses_a_storage_that_does_not_fit(tmp_path):
    strategy = tune.tpe(n=1, storage=f"sqlite:///{tmp_path}/none/tune.db", name="rates", learning_rate=(1e-3, 1.0))
    with pytest.raises(ValueError, match="storage must be a database that Optuna can use; got sqlite"):
        strategy((BASELINE,))
    for secret in ("nowhere://me:hunter2@host/db", "nowhere://me:hun/t@er2@host/db", "nowhere://host?password=hunter2"):
        with pytest.raises(ValueError, match=r"got nowhere://.*\*\*\*") as caught:
            tune.tpe(n=1, storage=secret, name="rates", learning_rate=(1e-3, 1.0))((BASELINE,))
        assert "hun" not in str(caught.value) and "er2" not in str(caught.value)
    storage = f"sqlite:///{tmp_path}/tune.db"
    followed(tune.tpe(n=2, storage=storage, name="rates", **RANGES), 2)
    for others in ({"batch_size": (8, 64)}, {**RANGES, "learning_rate": (1e-2, 1e-1)}):
        with pytest.raises(ValueError, match="study rates in .* must have these ranges, got others"):
            tune.tpe(n=2, storage=storage, name="rates", **others)((BASELINE,))
    with pytest.raises(ValueError, match="name must be given with a storage"):
        tune.tpe(n=1, storage=storage, learning_rate=(1e-3, 1.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: adjust.descend(metric="log_loss"), "fields must name at least one"),
        (lambda: adjust.descend("knots", metric="log_loss", step_size=0), "step_size must be positive; got 0"),
        (lambda: tune.tpe(n=0, learning_rate=(1, 2)), "n must be 1 or more; got 0"),
        (lambda: adjust.grid(), "values must name at least one field"),
        (lambda: adjust.grid(learning_rate=[]), "values must name at least one field"),
        (lambda: adjust.random(n=0, learning_rate=(1, 2)), "n must be 1 or more; got 0"),
        (lambda: adjust.random(n=1), "ranges must name at least one field"),
        (lambda: adjust.random(n=1, learning_rate=(2, 1)), "the range of learning_rate must be (low, high)"),
        (lambda: adjust.random(n=1, schedule=[]), "the list of schedule must hold values"),
        (lambda: adjust.halving(n=4, eta=1, learning_rate=(1, 2)), "eta must be 2 or more; got 1"),
    ],
)
def test_strategies_refuse_values_without_meaning(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
