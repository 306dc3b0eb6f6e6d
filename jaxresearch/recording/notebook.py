"""A recorded run in one call, for notebooks."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxresearch import records
from jaxresearch.data import Dataset
from jaxresearch.execution import Progress
from jaxresearch.experiment import Experiment
from jaxresearch.recording.examples import examples_of
from jaxresearch.recording.guard import guarded
from jaxresearch.recording.initial import start_from
from jaxresearch.recording.results import result_of, write_result
from jaxresearch.recording.runs import Job, OnNonFinite, train
from jaxresearch.recording.saving import Recorder


def record(
    experiment: Experiment,
    hyperparameters: Any,
    dataset: Dataset,
    *,
    seeds: Sequence[int],
    directory: str | Path,
    collected: Dataset | None = None,
    evaluate_every: int | None = None,
    name: str = "notebook",
    save_every: int | float = 60.0,
    on_nonfinite: OnNonFinite = "stop",
    fail_fast: bool = False,
    init_from: str | Path | None = None,
    cipher: Any = None,
    track: Sequence[str] = (),
    observe: Callable[[Progress], None] = lambda progress: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> records.Recorded:
    """Carries out a run and returns its record; called again with the same arguments, it resumes the run bit for bit.

    The directory receives ``config.json``, ``environment.json``, ``metrics.jsonl``, ``checkpoints/``, ``result.json``. Everything
    that can fail is traced before anything is written, and the final state is saved before it is evaluated. A finished run is
    read back.

    Args:
        experiment: As declared.
        hyperparameters: The settings, the same for all seeds.
        dataset: Prepared data, from `jaxresearch.experiment.Experiment.prepare`.
        seeds: One run for each.
        directory: The run directory: new, empty, or of this run.
        collected: The data as collected, for the experiment's report, which is left out without it.
        evaluate_every: Steps between evaluations on the validation part; 0 for once per epoch, None for never.
        name: The experiment's name in the record.
        save_every: Seconds between two checkpoints; 0 saves as often as possible.
        on_nonfinite: What to do if a step is not finite: stop its seed with a diagnosis and train the others, or skip the
            step.
        fail_fast: Whether the first seed that diverges ends the run.
        init_from: Directory of another run; its final parameters initialise those of the same name.
        cipher: Encrypts the checkpoints; `jaxresearch.records.encryption.read_key` reads one.
        track: Any of tensorboard and mlflow.
        observe: Called after each chunk of steps.
        interrupted: Called after each chunk of steps; once it returns True, the run is saved and raises `Interrupted`.

    Returns:
        The record, as from `jaxresearch.records.read_run`; `jaxresearch.reports.page.show` displays it in a notebook.

    Raises:
        ValueError: If a setting is out of range, the experiment's own functions do not fit together, or the directory
            holds another run.
        NonFiniteError: Once all seeds have diverged, or the first with ``fail_fast``.
        Interrupted: If ``interrupted`` returned True; call again to resume.
        OSError: If the directory cannot be written.
        UnwrittenError: If the outcome or its result cannot be written; it holds the result.

    Example:
        >>> import tempfile
        >>> from jaxresearch import loading
        >>> house = loading.load("house_prices")
        >>> dataset = house.prepare(house.collect(house.source))
        >>> directory = Path(tempfile.mkdtemp()) / "run"
        >>> recorded = record(house, house.hyperparameters, dataset, seeds=range(3), directory=directory)
        >>> recorded.result["claim"]["verdict"], sorted(path.name for path in directory.glob("*.json*"))
        ('undecided', ['config.json', 'environment.json', 'metrics.jsonl', 'result.json'])
    """
    job = Job(
        experiment=experiment,
        hyperparameters=hyperparameters,
        dataset=dataset,
        seeds=tuple(seeds),
        evaluate_every=evaluate_every,
        collected=collected,
    )
    path = Path(directory)
    tracked = records.tracking(track, path, experiment=name)
    recorder = Recorder(save_every, cipher, tracked, observe, interrupted)
    config = {
        "experiment": name,
        "seeds": list(job.seeds),
        "folds": dataset.n_folds,
        "resplit": dataset.is_resplit,
        "evaluate_every": evaluate_every,
        "save_every": save_every,
        "on_nonfinite": on_nonfinite,
        "init_from": None if init_from is None else os.path.abspath(init_from),
        "encrypt_with": None if cipher is None else "cipher",
        "track": list(track),
        "hyperparameters": dataclasses.asdict(hyperparameters),
        "data_card": dataclasses.asdict(dataset.card),
        "parts": {part: dataset.sizes(part)[0] for part in dataset.parts()},
    }
    job.preflight()
    try:
        opened = records.open_directory(path, config, records.environment(seeds=job.seeds))
    except records.EndedError:
        recorded = records.read_run(path, cipher=cipher, experiment=experiment)
        if recorded.result.get("program") != job.digest:
            raise ValueError(
                f"the run in {path} has ended with another program or other data. Name another directory."
            ) from None
        return recorded
    program = job.digest  # without the initial parameters of another run
    with opened, guarded(opened):
        if init_from is not None:
            job = start_from(Path(init_from), job, opened, cipher=cipher)
        with tracked:
            trained = train(opened, job, recorder, on_nonfinite=on_nonfinite, fail_fast=fail_fast)
            undecided = None if init_from is None else "the run started from the parameters of another"
            if dataset.n_runs and not dataset.n_folds:
                undecided = (
                    f"the claim is about one training and test part, this run about {dataset.n_runs} {dataset.runs_of}"
                )
            about = examples_of(job, path)
            result = {**result_of(name, job, trained, undecided=undecided), **about, "program": program}
            if (unwritten := write_result(opened, result, trained)) is not None:
                raise unwritten
            tracked.end(result)
    return records.read_run(path, cipher=cipher, experiment=experiment)
