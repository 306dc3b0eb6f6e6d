"""``jaxresearch study``: the research loop, from the baseline to the best settings and the verdict on the claim."""

import dataclasses
import math
from typing import Any

import numpy as np

from jaxresearch import execution, recording, records, studies
from jaxresearch.cli import display
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.loaded import prepare_runs
from jaxresearch.cli.private import statement_of_study
from jaxresearch.cli.run import undecided
from jaxresearch.cli.session import Session, carry_out
from jaxresearch.cli.story import round_lines, story
from jaxresearch.execution import Outcome, Progress, provenance
from jaxresearch.interruption import Interrupted
from jaxresearch.recording import Job
from jaxresearch.reports import wording
from jaxresearch.reports.schema import privacy_lines
from jaxresearch.studies import Conclusion, Looks, Search
from jaxresearch.studies.plan import BASELINE, named


def study(name: str, words: list[str], *, file: str | None = None) -> int:
    """Carries out ``jaxresearch study NAME WORDS...``, its experiment loaded from a file, if given; returns the exit code."""
    return carry_out("study", name, words, _work, file=file)


def _work(session: Session) -> None:
    """Searches, trains the chosen settings with fresh seeds, writes the result and prints it."""
    with display.Display(display.console()) as shown:
        searched = _searched(session, shown)
        best = _final_job(session, searched.best)
        recorder = session.recorder(named(shown.show, "the chosen settings"), resuming=shown.resuming)
        trained = recording.train(session.directory, best, recorder)
        baseline = _baseline_outcome(session, best, shown)
    conclusion = Conclusion(*searched, trained.outcome, baseline)
    compared_by = studies.objective_of(session.job.experiment).metric
    result = {
        **recording.result_of(
            session.name,
            best,
            trained,
            undecided=undecided(session.options, session.declared),
            unclaimed=session.unclaimed,
            load_seconds=session.loaded.seconds,
            declared=session.declared.hyperparameters,
        ),
        **recording.examples_of(best, session.path, private=bool(session.options.private)),
        "hyperparameters": dataclasses.asdict(searched.best),
        "data_card": dataclasses.asdict(best.dataset.card),
        "compared_by": compared_by,
        "gain": _gain(best, conclusion, compared_by),
    }
    if session.options.private:
        result["privacy"] = statement_of_study(
            session.options, session.job.experiment, searched, of_search=session.job.dataset, of_result=best.dataset
        )
    text = story(session, conclusion, result)
    unwritten = recording.write_result(session.directory, result, trained, story=text)
    _print(session, conclusion, result)
    if unwritten is not None:
        raise unwritten


def _searched(session: Session, shown: display.Display) -> Search:
    """Returns the result of the search, from the record if it has ended."""
    file = records.StudyFile(session.directory, session.options.hyperparameters)
    if file.why is not None:
        _require_same_program(session, file)
        return Search(file.history, file.why, file.best)
    searched = studies.search(
        session.job.experiment,
        session.loaded.collected,
        budget=session.options.budget,
        history=file.history,
        known=file.known,
        looks=_looks(session),
        observe=_interrupting(shown.show, session.received),
        on_trials=file.add,
        on_round=file.keep,
    )
    searched = studies.confirm(
        session.job.experiment,
        session.loaded.collected,
        searched,
        budget=session.options.budget,
        looks=_looks(session),
        observe=_interrupting(shown.show, session.received),
    )
    file.close(*searched)  # from here on the test part is read: nothing is adjusted any more
    return searched


def _require_same_program(session: Session, file: records.StudyFile) -> None:
    """Raises if the chosen settings come from another program: then the search cannot count as that of this experiment."""
    job = session.job
    (now,) = provenance.digests(
        *(job.experiment, [file.best], job.dataset), seeds=job.seeds, evaluate_every=job.evaluate_every
    )
    if now not in {trial.digest for one in file.history for trial in one.trials}:
        raise UsageError(
            f"the program of the experiment has changed since the search in {session.path} ended, and the test part may have "
            f"been read. Restore it, rerun with another --directory, or continue with the recorded copy: "
            f"{records.resume_command(session.path)}"
        )


def _looks(session: Session) -> Looks | None:
    """Returns how the runs of a study use validation data."""
    fraction = session.options.validation
    return Looks(fraction, session.options.evaluate_every) if isinstance(fraction, float) else None


def _final_job(session: Session, best: Any) -> Job:
    """Returns the final training: the chosen settings with fresh seeds, on all training data."""
    seeds = session.options.fresh_seeds
    asked = dataclasses.replace(session.options, seeds=seeds)  # each draws its own --train-examples
    collected, dataset = prepare_runs(session.job.experiment, asked, session.cipher, session.loaded.whole)
    return dataclasses.replace(session.job, hyperparameters=best, dataset=dataset, seeds=seeds, collected=collected)


def _baseline_outcome(session: Session, best: Job, shown: display.Display) -> Outcome | None:
    """Returns the outcome of the baseline with the same seeds; None if it was chosen."""
    if best.hyperparameters == session.options.hyperparameters:
        return None
    return execution.execute(
        best.experiment,
        session.options.hyperparameters,
        best.dataset,
        seeds=best.seeds,
        evaluate_every=best.evaluate_every,
        observe=_interrupting(named(shown.show, BASELINE), session.received),
    )


def _interrupting(observe: Any, received: list[int]) -> Any:
    """Returns the observer that raises `Interrupted` after a signal."""

    def watch(progress: Progress) -> None:
        if received:
            raise Interrupted
        observe(progress)

    return watch


def _gain(best: Job, conclusion: Conclusion, metric: str) -> dict[str, Any] | None:
    """Returns the difference of the chosen from the baseline on the test part, paired by seed and example."""
    if conclusion.baseline is None:
        return None
    pair = (conclusion.outcome.metrics[metric], conclusion.baseline.metrics[metric])
    if not np.isfinite(pair).all():
        return None
    found = studies.gain(conclusion.outcome, conclusion.baseline, metric, dataset=best.dataset)
    ci95, p = [found.low, found.high], None if math.isnan(found.p) else found.p
    return {"metric": f"test/{metric}", "mean": found.mean, "ci95": ci95, "over": found.over, "p": p}


def _print(session: Session, conclusion: Conclusion, result: dict[str, Any]) -> None:
    """Prints the rounds, the gain and the result."""
    console = display.console()
    headings = wording.round_headings(result["compared_by"])
    display.print_table(console, headings, round_lines(session.job.experiment, conclusion))
    console.print(f"The search ended because {conclusion.why}.", soft_wrap=True)
    if result["gain"] is not None:
        console.print(f"Gain: {wording.gain_line(result['gain'])}.", soft_wrap=True)
    display.print_result(result, session.path, class_names=session.job.dataset.card.class_names)
    for name, line in privacy_lines(result["privacy"]) if "privacy" in result else ():
        console.print(f"{name}: {line}", soft_wrap=True)
