"""Train the settings of a sweep with every seed, except those on record."""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxresearch import execution, processes, records
from jaxresearch import experiment as experiments
from jaxresearch.adjust import Trial
from jaxresearch.data import Dataset
from jaxresearch.execution import Keeping, provenance
from jaxresearch.experiment import Experiment
from jaxresearch.interruption import Interrupted
from jaxresearch.recording.saving import Recorder, resumed
from jaxresearch.records import RunDirectory


def train_all(
    directory: RunDirectory,
    experiment: Experiment,
    settings: Sequence[Any],
    dataset: Dataset,
    recorder: Recorder,
    *,
    seeds: Sequence[int] | Sequence[Sequence[int]],
    evaluate_every: int | None = None,
) -> list[Trial]:
    """Returns the trials of all settings; an unfinished group resumes from its newest state.

    Args:
        directory: Gets ``trials.json``, and a folder of checkpoints for each group while it is trained.
        experiment: As declared.
        settings: Hyperparameters, one or more.
        dataset: Preprocessed data; settings are compared on its test part.
        recorder: How they are saved and observed.
        seeds: As for `jaxresearch.execution.execute_all`.
        evaluate_every: As for `jaxresearch.execution.execute_all`.

    Raises:
        Interrupted: After saving, if the recorder is interrupted.
        CheckpointError: As `jaxresearch.recording.train`.
    """
    digests = provenance.digests(experiment, settings, dataset, seeds=seeds, evaluate_every=evaluate_every)
    file, groups = records.TrialsFile(directory, experiment.hyperparameters), provenance.groups(settings)
    each, names = provenance.seeds_of(seeds, len(settings)), _names(settings, groups)
    for number, places in enumerate(groups):
        if all(digests[place] in file.known for place in places):
            continue
        chosen, program = [settings[place] for place in places], "".join(digests[place] for place in places)
        name, what = f"group-{number}", names[number]
        like = execution.blank_state(
            experiment, chosen[0], dataset, n_runs=len(chosen) * len(each[0]), evaluate_every=evaluate_every
        )
        checkpoints = records.Checkpoints(directory.folder(name), cipher=recorder.cipher)
        n_steps = experiments.plan(chosen[0], dataset.n_train).n_steps
        with resumed(checkpoints, like, recorder, n_steps=n_steps, program=lambda program=program: program) as found:
            trials = execution.execute_all(
                experiment,
                chosen,
                dataset,
                seeds=[each[place] for place in places],
                evaluate_every=evaluate_every,
                observe=lambda progress, what=what, observe=found.recorder.observe: observe(
                    progress._replace(what=what)
                ),
                start=found.start,
                keeping=Keeping(found.keeping.due, found.keeping.keep),  # trials are written instead of the final state
            )
        added = [trial._replace(digest=digests[place]) for place, trial in zip(places, trials, strict=True)]
        with contextlib.suppress(OSError):  # they are still returned, and written with the next group
            file.add(added)
            directory.remove(name)
        if processes.greatest(int(recorder.interrupted())):
            raise Interrupted
    # Settings that differ only in fields that their program does not read share a digest.
    return [file.known[d]._replace(hyperparameters=setting) for d, setting in zip(digests, settings, strict=True)]


def _names(settings: Sequence[Any], groups: list[list[int]]) -> list[str]:
    """Returns a name for each group: the number of different settings, and the fields in which it differs from the others."""
    firsts = [vars(settings[places[0]]) for places in groups]
    static = [field.name for field in dataclasses.fields(settings[0]) if field.metadata.get("static")]
    differing = [name for name in static if any(of_group[name] != firsts[0][name] for of_group in firsts)]
    names = []
    for number, (of_group, places) in enumerate(zip(firsts, groups, strict=True), start=1):
        own = " ".join(records.words_of({name: of_group[name] for name in differing}))
        n = len({settings[place] for place in places})  # a sweep trains the baseline twice
        count = f"{n} settings" if n > 1 else "1 setting"
        names.append(f"group {number} of {len(groups)} ({own}; {count})" if len(groups) > 1 else count)
    return names
