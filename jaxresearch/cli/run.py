"""``jaxresearch run``: train, evaluate, decide the claim if there is one."""

from jaxresearch import recording
from jaxresearch.cli import display
from jaxresearch.cli.options import Options
from jaxresearch.cli.session import Session, carry_out
from jaxresearch.cli.spelling import private_text
from jaxresearch.experiment import Experiment
from jaxresearch.recording import runs
from jaxresearch.records.commands import flag

_OF_TEST_PART = ("test", "test_fraction", "split_seed", "group", "time", "contiguous")


def run(name: str, words: list[str], *, file: str | None = None) -> int:
    """Carries out ``jaxresearch run NAME WORDS...``, its experiment loaded from a file, if given; returns the exit code."""
    return carry_out("run", name, words, _work, file=file)


def _work(session: Session) -> None:
    """Trains, writes the result and prints it."""
    options, job = session.options, session.job
    runs_are = "folds" if options.folds else "seeds"
    with display.Display(display.console(), runs=runs_are) as shown, session.tracked as tracked:
        recorder = session.recorder(shown.show, resuming=shown.resuming)
        handling = {"on_nonfinite": options.on_nonfinite, "fail_fast": options.fail_fast}
        trained = runs.train(session.directory, job, recorder, **handling)
        result = recording.result_of(
            session.name,
            job,
            trained,
            undecided=undecided(options, session.declared),
            unclaimed=session.unclaimed,
            load_seconds=session.loaded.seconds,
            smoke=options.smoke,
            declared=session.declared.hyperparameters,
        ) | recording.examples_of(job, session.path, smoke=options.smoke, private=bool(options.private))
        if options.private:
            result["privacy"] = session.config["privacy"]
        unwritten = recording.write_result(session.directory, result, trained)
        if unwritten is None:
            tracked.end(result)
    display.print_result(result, session.path, class_names=job.dataset.card.class_names)
    if unwritten is not None:
        raise unwritten


def undecided(options: Options, declared: Experiment) -> str | None:
    """Returns why a run with these options cannot decide the claim, if it cannot."""
    if options.smoke:
        return "a smoke run decides nothing"
    if options.resplit:
        return f"the claim is about one test part, this run about {len(options.seeds)} splits of the data"
    if options.train_examples is not None:
        return f"the claim is about all training examples, this run about {options.train_examples}"
    if options.init_from is not None:
        return "the claim is about training from scratch, this run started from the parameters of another"
    declared_types = declared.types or {}
    if columns := [name for name, kind in options.types if declared_types.get(name) != kind]:
        return f"the claim is about the columns as its experiment reads them, this run changes {', '.join(columns)} by --types"
    if options.image_size is not None:
        return "the claim is about images as its experiment reads them, this run resizes them by --image-size"
    asked, promised = dict(options.private), declared.private or {}
    if any(float(asked.get(name, "nan")) != promised[name] for name in ("epsilon", "delta") if name in promised):
        about = ", ".join(f"{name} {value:g}" for name, value in promised.items() if name != "clip")
        return f"the claim is about training with {about}, this run has --private {private_text(options.private)}"
    if changed := [name for name in _OF_TEST_PART if getattr(options, name) not in (None, "", False, 0)]:
        return f"the claim is about the experiment's own test part, this run changes it by {flag(changed[0])}"
    return None
