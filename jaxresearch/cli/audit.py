"""``jaxresearch audit``: a lower bound of epsilon from attacks on private runs, beside the claim."""

import dataclasses
import functools
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxresearch import catalogue, devices, execution, privacy, records, sweeps
from jaxresearch import experiment as experiments
from jaxresearch.cli import display, interrupts
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.loaded import Loaded
from jaxresearch.cli.options import Options
from jaxresearch.cli.private import mechanism_of, privately
from jaxresearch.cli.session import configure, one_line, read
from jaxresearch.execution.compilation import CompiledFunction, Grouping
from jaxresearch.experiment import Experiment
from jaxresearch.privacy import Mechanism, canaries
from jaxresearch.privacy import audit as bounds
from jaxresearch.records import RunDirectory
from jaxresearch.reports.roc import roc
from jaxresearch.scale import summary as summaries

_CANARIES = 1000
_CONFIDENCE = 0.95  # that both bounds hold
_OF_EACH = 1 - (1 - _CONFIDENCE) / 2
_KEYS = 4  # of the initial state, of many runs, of the coins and of the one run


class Audit(NamedTuple):
    """What is audited: sizes, the claim and the options."""

    experiment: Experiment
    options: Options
    loaded: Loaded
    mechanism: Mechanism
    n_canaries: int
    n_guesses: int

    @property
    def is_gaussian(self) -> bool:
        """Whether the claim has the trade-off curve of a Gaussian mechanism."""
        return self.mechanism.rate == 1


class Scores(NamedTuple):
    """Scores of the runs with the canary, of those without it, and of the canaries of the one run with their coins."""

    with_canary: np.ndarray
    without: np.ndarray
    of_one_run: np.ndarray
    included: np.ndarray


def audit(name: str, words: list[str]) -> int:
    """Carries out ``jaxresearch audit NAME WORDS...``; returns the exit code, 1 if a bound exceeds the claim."""
    configure()
    with one_line(name, code=2):
        asked = _asked(*read("audit", name, words))
        path = _free_directory(asked.options.directory)
        claimed = privacy.epsilon(asked.mechanism).pld
        _print_claim(asked, claimed)
    with one_line(name, code=1):
        scores = _scores(asked)
        many, one = _bounds(asked, scores)
        is_refuted = max(many.epsilon, one.epsilon) > claimed
        most = _print_bounds(asked, many, one)
        held_out = (scores.with_canary[1::2, many.column], scores.without[1::2, many.column])
        delta = asked.mechanism.delta
        picture = roc(*held_out, many, epsilon=claimed, delta=delta, is_gaussian=asked.is_gaussian)
        record = _record(name, asked, many, one, is_refuted=is_refuted)
        with interrupts.saving():
            path = _written(path, name, record, scores, picture)
    print(_verdict(claimed, max(many.epsilon, one.epsilon), most=most))
    print(f"run directory: {path}")
    return 1 if is_refuted else 0


def _asked(experiment: Experiment, options: Options, loaded: Loaded) -> Audit:
    """Returns what is audited, after tracing all that can fail."""
    h, dataset = options.hyperparameters, loaded.dataset
    private = privately(experiment, options, secret=None)
    execution.preflight(private, h, dataset, seeds=(0,), collected=loaded.collected)
    execution.require_mean(experiment, h, dataset, name="--private")
    mechanism = mechanism_of(options)(experiments.program(private, dataset).plan(h), dataset.n_train)
    least = bounds.fewest_runs(delta=mechanism.delta, confidence=_OF_EACH)
    if options.runs < least:
        raise UsageError(f"runs must be at least {least} for any bound, got {options.runs}. Pass --runs 500.")
    n_parameters = summaries.summary(private, h, dataset).n_parameters
    for what, n in (("examples", dataset.n_train), ("parameters", n_parameters)):
        if options.canaries is not None and options.canaries > n:
            raise UsageError(
                f"canaries must be at most {n}, the number of {what}, got {options.canaries}. Leave it out."
            )
    n_canaries = options.canaries or max(min(_CANARIES, dataset.n_train // 2, n_parameters), 1)
    n_guesses = options.guesses or -(-n_canaries // 2)
    if n_guesses > n_canaries:
        raise UsageError(
            f"guesses must be at most {n_canaries}, the number of canaries, got {n_guesses}. Leave it out."
        )
    asked = Audit(experiment, options, loaded, mechanism, n_canaries, n_guesses)
    program = _program(asked, 1)
    key, state = jax.eval_shape(lambda: jax.random.key(0)), jax.eval_shape(lambda: program.init(jax.random.key(0), h))
    jax.eval_shape(_evidence(asked, 1), key, state, dataset.train, np.ones(1, bool))
    return asked


def _program(asked: Audit, n_canaries: int) -> experiments.Program:
    """Returns the program of runs with canaries."""
    planted = canaries.with_canaries(
        asked.experiment, mechanism_of(asked.options), n_canaries=n_canaries, name="--private"
    )
    return experiments.program(planted, asked.loaded.dataset)


def _evidence(asked: Audit, n_canaries: int) -> Callable[..., Any]:
    """Returns the function of a whole run with canaries."""
    options, program = asked.options, _program(asked, n_canaries)
    return functools.partial(
        canaries.evidence, program=program, hyperparameters=options.hyperparameters, view=options.observe
    )


def _observed(asked: Audit, state: Any, keys: Any, included: np.ndarray) -> np.ndarray:
    """Returns what each run reveals about its canaries, with as many runs at a time as fit into memory."""
    evidence, axes, at_once = _evidence(asked, included.shape[1]), (0, None, None, 0), asked.options.at_once

    def runs(n: int | None) -> Callable[..., Any]:
        swept = sweeps.sweep(lambda *arguments: evidence(*arguments), axes, at_once=n)
        return lambda keys, state, data, included: swept(keys, state, data, included)

    n_each = devices.runs_per_device(len(included))
    grouping = Grouping(n_each, runs) if at_once is None else None
    compiled = CompiledFunction(runs(None if at_once is None else min(at_once, n_each)), grouping=grouping)
    return np.asarray(compiled(keys, state, asked.loaded.dataset.train, included))


def _scores(asked: Audit) -> Scores:
    """Returns the scores of all runs, which start from one state."""
    n, options = asked.options.runs, asked.options
    init_key, many_key, coin_key, one_key = jax.random.split(jax.random.key(options.audit_seed), _KEYS)
    state = _program(asked, 1).init(init_key, options.hyperparameters)
    has_canary = np.arange(2 * n) >= n
    with display.working(f"training {2 * n:,} runs"):
        found = _observed(asked, state, jax.random.split(many_key, 2 * n), has_canary[:, None])[:, 0]
    included = np.asarray(jax.random.bernoulli(coin_key, 0.5, (asked.n_canaries,)))
    with display.working("training the run with many canaries"):
        of_one = _observed(asked, state, one_key[None], included[None])[0]
    scored = canaries.scores(found, asked.mechanism)
    return Scores(scored[has_canary], scored[~has_canary], canaries.scores(of_one, asked.mechanism)[:, 0], included)


def _bounds(asked: Audit, scores: Scores) -> tuple[bounds.ManyRuns, bounds.OneRun]:
    """Returns both bounds."""
    options = {"delta": asked.mechanism.delta, "confidence": _OF_EACH}
    many = bounds.many_runs(scores.with_canary, scores.without, is_gaussian=asked.is_gaussian, **options)
    return many, bounds.one_run(scores.of_one_run, scores.included, n_guesses=asked.n_guesses, **options)


def _free_directory(path: Path | None) -> Path | None:
    """Returns the path of a directory; raises, before anything is trained, if it cannot hold an audit."""
    if path is not None:
        RunDirectory(path).discard()
    return path


def _written(path: Path | None, name: str, record: dict[str, Any], scores: Scores, picture: bytes) -> Path:
    """Writes the files of an audit, and returns their directory."""
    default = Path("runs") / f"{Path(name).stem}-audit-{datetime.now():%Y%m%d-%H%M%S}"
    with RunDirectory.unused(default) if path is None else RunDirectory(path) as directory:
        try:
            directory.write_arrays("audit.npz", scores._asdict())
            records.write_file(directory.path / "audit.png", picture)
            directory.write("audit.json", record)
        except BaseException:
            directory.discard()
            raise
        return directory.path


def _record(name: str, asked: Audit, many: bounds.ManyRuns, one: bounds.OneRun, *, is_refuted: bool) -> dict[str, Any]:
    """Returns the content of ``audit.json``."""
    options = asked.options
    settings = ("private", "runs", "observe", "audit_seed", "data", "target", "split_seed")
    return {
        "experiment": catalogue.located(name),
        **{setting: getattr(options, setting) for setting in settings},
        "hyperparameters": dataclasses.asdict(options.hyperparameters),
        "privacy": privacy.statement(asked.mechanism),
        "confidence": {"both_bounds": _CONFIDENCE, "each_bound": _OF_EACH},
        "many_runs": many._asdict(),
        "one_run": one._asdict(),
        "refuted": is_refuted,
        "environment": records.environment(seeds=(options.audit_seed,)),
    }


def _print_claim(asked: Audit, claimed: float) -> None:
    """Prints what is claimed, and what will be trained."""
    delta, n = asked.mechanism.delta, asked.options.runs
    print(f"claim: epsilon {claimed:.4g} at delta {delta:g}, for one training example, zero-out")
    print(
        f"training {n:,} runs with a canary and {n:,} without it, then one with {asked.n_canaries:,} canaries",
        flush=True,
    )


def _verdict(claimed: float, found: float, *, most: float) -> str:
    """Returns the verdict on a claim from the larger bound, and the largest that such runs can show."""
    if found > claimed:
        return "verdict: refuted. These runs reveal more than is claimed: look for a fault in the noise, clipping or sampling."
    if most <= claimed:
        return (
            f"verdict: not refuted. So few runs could not have refuted the claim: without errors, they show at most {most:.4g}. "
            "Pass more --runs."
        )
    return "verdict: not refuted. This proves no smaller epsilon: a stronger attack might show more."


def _print_bounds(asked: Audit, many: bounds.ManyRuns, one: bounds.OneRun) -> float:
    """Prints both bounds; returns the largest that either could be, without errors."""
    delta = asked.mechanism.delta
    most = bounds.largest_bound(asked.options.runs, delta=delta, is_gaussian=asked.is_gaussian, confidence=_OF_EACH)
    curve = ", by the trade-off curve of a Gaussian mechanism" if asked.is_gaussian else ""
    missed = f"{many.false_negatives} of {many.n_with} false negatives"
    errors = f"{many.false_positives} of {many.n_without} false positives, {missed}"
    print(f"many runs: epsilon of at least {many.epsilon:.4g} ({errors}{curve}; {most:.4g} without errors)")
    guesses = (
        f"{one.n_correct} of {one.n_guesses} guesses right on whether a canary was trained on, for the clearest of "
        f"{one.n_canaries} canaries"
    )
    perfect = np.arange(one.n_canaries) % 2 == 0
    right = bounds.one_run(perfect * 1.0, perfect, n_guesses=one.n_guesses, delta=delta, confidence=_OF_EACH).epsilon
    print(f"one run: epsilon of at least {one.epsilon:.4g} ({guesses}; {right:.4g} if all were right)")
    print(f"confidence: {_CONFIDENCE:.4g} that both bounds hold, {_OF_EACH:.4g} for each")
    return max(most, right)
