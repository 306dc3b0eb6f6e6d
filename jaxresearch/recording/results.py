"""``result.json``: the metrics with their intervals, the verdict on the claim, if any, and timings."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxresearch import algorithms, data, records, statistics
from jaxresearch import experiment as experiments
from jaxresearch.data import Dataset
from jaxresearch.execution import Outcome
from jaxresearch.experiment import Experiment
from jaxresearch.recording.guard import UnwrittenError
from jaxresearch.recording.influences import counted
from jaxresearch.recording.runs import Job, Trained
from jaxresearch.records import RunDirectory
from jaxresearch.statistics import Claim

_UNSAVED = "result-unsaved.json"
_MOST_NAMED = 3  # seeds in a reason


def result_of(
    name: str,
    job: Job,
    trained: Trained,
    *,
    undecided: str | None = None,
    unclaimed: str | None = None,
    load_seconds: float | None = None,
    smoke: bool = False,
    declared: Any = None,
) -> dict[str, Any]:
    """Returns the content of ``result.json``.

    Args:
        name: Of the experiment, or the path of its file.
        job: What was trained.
        trained: Its outcome.
        undecided: Why this run cannot decide the claim, or None.
        unclaimed: Why the experiment's claim was left out, or None.
        load_seconds: Seconds of loading the data, if known.
        smoke: Whether it is a smoke run.
        declared: Hyperparameters as in the experiment's file; those of the job's experiment by default.

    Raises:
        Exception: Whatever the experiment's report raises.
    """
    outcome, n_folds = trained.outcome, job.dataset.n_folds
    metrics, counts = _summaries(job, outcome), counted(job.dataset)
    plan = experiments.plan(job.hyperparameters, job.dataset.n_train, evaluate_every=job.evaluate_every)
    return {
        "experiment": Path(name).stem,
        "question": job.experiment.question,
        "seeds": list(job.seeds),
        "n_folds": n_folds,
        "metrics": metrics,
        **counts,
        "examples": trained.examples,
        "claim": _decided(job, outcome, metrics, undecided, _changed(job, declared)),
        "unclaimed": unclaimed,
        "steps": outcome.step,
        "steps_per_epoch": job.dataset.n_train // plan.batch_size if plan.batch_size else None,
        "best_step": _best_steps(outcome, plan.evaluate_every),
        "seconds": {**({} if load_seconds is None else {"load": load_seconds}), **outcome.seconds},
        "examples_per_second": outcome.examples_per_second,
        "n_compilations": outcome.n_compilations,
        "resumed_from": outcome.resumed_from,
        "smoke": smoke,
        "nonfinite": trained.events,
        "diverged": [job.seeds[one.run] for one in sorted(outcome.diverged)],
        "report": _report(job.experiment, job, outcome.state),
    }


def write_result(
    directory: RunDirectory, result: dict[str, Any], trained: Trained, *, story: str | None = None
) -> UnwrittenError | None:
    """Writes ``result.json``, which marks the end of a run; returns the error of a failed write, or None.

    If the outcome could not be saved, the run has not ended, and its result is in ``result-unsaved.json``.

    Args:
        directory: Of the run.
        result: From `result_of`.
        trained: The training behind the result.
        story: ``study.md`` of a study, which is written first.
    """
    unwritten, name = [*trained.unsaved], _UNSAVED if trained.unsaved else "result.json"
    try:
        if story is not None:
            directory.write_text_file("study.md", story)
        directory.write(name, result)
    except OSError as error:
        return UnwrittenError("; ".join([*unwritten, f"{error}; the result was printed only"]), result)
    if unwritten:
        return UnwrittenError("; ".join([*unwritten, f"the result is in {name}"]), result)
    (directory.path / _UNSAVED).unlink(missing_ok=True)
    return None


def _decided(
    job: Job, outcome: Outcome, metrics: dict[str, Any], undecided: str | None, changed: str
) -> dict[str, Any] | None:
    """Returns the claim with its verdict and the reason; None without a claim."""
    claim = job.experiment.claim
    if claim is None:
        return None
    summary = metrics[claim.metric]
    undecided = undecided or _of_other_folds(claim, job.dataset.n_folds)
    missing = _missing(claim.metric, summary, job, outcome)
    verdict, because = _verdict(claim, summary, undecided, counted(job.dataset), missing, changed)
    return {**dataclasses.asdict(claim), "verdict": verdict, "because": because}


def _best_steps(outcome: Any, evaluate_every: int | None) -> list[int | None] | None:
    """Returns the step of each run's best validation; None for an algorithm that does not track it."""
    looks = algorithms.best_look(outcome.state)
    if looks is None or evaluate_every is None:
        return None
    return [min(look * evaluate_every, outcome.step) if look else None for look in np.asarray(looks).tolist()]


def _report(experiment: Experiment, job: Job, state: Any) -> str | None:
    """Returns the experiment's report on its trained models, if it has one."""
    if experiment.report is None or job.collected is None:
        return None
    return experiment.report_on(job.hyperparameters, jax.device_get(state), job.collected, job.dataset)


def _of_other_folds(claim: Claim, n_folds: int) -> str | None:
    """Returns why these folds cannot decide the claim, or None."""
    claimed, actual = (f"{n} folds" if n else "the test part" for n in (claim.n_folds, n_folds))
    return None if claimed == actual else f"the claim is about {claimed}, this run about {actual}"


def _summaries(job: Job, outcome: Outcome) -> dict[str, Any]:
    """Returns the summary of each metric of the test part."""
    claim, dataset, groups, summaries = job.experiment.claim, job.dataset, data.groups_of_test(job.dataset), {}
    runs, ratio = (
        ("folds", None) if dataset.n_folds else ("splits", _ratio(dataset)) if dataset.is_resplit else ("seeds", None)
    )
    for name, values in outcome.metrics.items():
        about = claim.about if claim is not None and name == claim.evaluated else None
        influences = data.without_padding(dataset, outcome.influences.get(name)) if runs == "seeds" else None
        summaries[f"test/{name}"] = statistics.summary(
            values, influences, groups=groups, runs=runs, ratio=ratio, about=about
        )
    return summaries


def _ratio(dataset: Dataset) -> float:
    """Returns the number of test examples per training example of runs with their own splits."""
    return sum(dataset.sizes("test")) / sum(dataset.sizes("train"))


def _changed(job: Job, declared: Any) -> str:
    """Returns the settings that differ from the experiment's file, as the end of a sentence."""
    declared = vars(job.experiment.hyperparameters if declared is None else declared)
    changed = {name: value for name, value in vars(job.hyperparameters).items() if value != declared[name]}
    texts = [f"{name} {records.value_text(value)}" for name, value in changed.items()]
    return f"; with {', '.join(texts)}" if texts else ""


def _missing(metric: str, summary: dict[str, Any], job: Job, outcome: Outcome) -> str:
    """Returns why a metric has no mean: which seeds diverged and when, or for which it is undefined."""
    kind = "fold" if job.dataset.n_folds else "seed"
    diverged = [f"{kind} {job.seeds[one.run]} diverged at step {one.step + 1:,}" for one in sorted(outcome.diverged)]
    undefined = [str(seed) for seed, value in zip(job.seeds, summary["values"], strict=True) if value is None]
    named = diverged or undefined
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    names = ", ".join(named[:_MOST_NAMED]) + more
    return names if diverged else f"{metric} is undefined for {kind}{'s' if len(named) > 1 else ''} {names}"


def _verdict(
    claim: Claim, summary: dict[str, Any], undecided: str | None, counts: dict[str, Any], missing: str, changed: str
) -> tuple[statistics.Verdict, str]:
    """Returns the verdict on the claim, and a short reason."""
    n, over = len(summary["values"]), statistics.decided_by(claim.about, tuple(summary["intervals"]))
    if undecided is not None:
        return "undecided", undecided
    if summary["mean"] is None:
        return "undecided", missing
    if n == 1:
        return "undecided", f"one seed; at least {statistics.FEWEST_SEEDS} seeds are needed to decide a claim"
    if over is None:
        return (
            "undecided",
            "the claim is about new examples, and this metric ignores data['weights']: no interval over examples is known",
        )
    if None in summary["intervals"][over]:
        return "undecided", f"the interval over {over} is undefined: too few examples, or no finite derivative"
    mean, *ends = statistics.estimate_texts(summary["mean"], *summary["intervals"][over])
    because = f"mean {mean}, 95 % interval {' to '.join(ends)} {statistics.over_text(over, n, **counts)}{changed}"
    if summary["standard_deviation"] == 0 and over == "seeds":
        because = f"{mean} with each of {n} seeds{changed}"
    elif len(set(summary["intervals"][over])) == 1:
        return "undecided", f"{mean} in all {n} runs and without spread over {over}: no interval is known"
    if n < statistics.FEWEST_SEEDS:
        kind = over if over in ("folds", "splits") else "seeds"
        return "undecided", f"{because}; at least {statistics.FEWEST_SEEDS} {kind} are needed to decide a claim"
    low, high = summary["intervals"][over]
    return statistics.verdict((low, high), claim), because
