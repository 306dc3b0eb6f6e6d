"""``jaxresearch explain DIR``: why a trained run predicts what it predicts, as a record and a section of its report."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch import records
from jaxresearch.cli import display
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.explained import explained
from jaxresearch.cli.flags import require_known, taken
from jaxresearch.cli.interrupts import saving
from jaxresearch.cli.reopened import reopened, there
from jaxresearch.cli.report import NAME, logits_of, predicted_of
from jaxresearch.cli.resume import config_in
from jaxresearch.cli.session import configure, one_line
from jaxresearch.cli.subject import INFLUENCES, METHODS, Asked, subject_of
from jaxresearch.explain.named import require_method
from jaxresearch.reports.page import page

_OPTIONS = (
    "--method NAME, --examples N, --influence exact|tracin|none, --target CLASS, --layer NAME, --baseline X, --seed N and "
    "--experiment FILE"
)


def explain(words: list[str]) -> int:
    """Carries out ``jaxresearch explain WORDS...``; returns the exit code."""
    configure()
    with one_line(words[0], code=2):
        path, asked, experiment = _parsed(words)
        config_in(path)  # raises unless the configuration is complete
        run = records.read_run(path)
        with there(run) as absolute:
            with display.working("reading the data and the models"):
                opened = reopened(absolute, experiment)
                models = opened.models()
                subject = subject_of(opened, models, asked)
            with display.working("predicting the test part"):
                logits = logits_of(opened, models)
            content = explained(subject, logits)
            predicted = predicted_of(opened, None if models.diverged else logits)
        with saving(), records.RunDirectory.again(path) as directory:
            directory.write(records.EXPLANATIONS, content)
            directory.write_text_file(NAME, page(run, predicted=predicted))
    lines = [] if opened.line is None else [opened.line]
    for line in (*lines, f"explanations: {path / records.EXPLANATIONS}", f"report: {path / NAME}"):
        display.console().print(line, soft_wrap=True)
    return 0


def _parsed(words: list[str]) -> tuple[Path, Asked, str | None]:
    """Returns the directory, what is asked, and the experiment's file or None."""
    rest = list(words)
    method, layer = taken(rest, "--method", "a method", "saliency"), taken(rest, "--layer", "a layer", "Conv_0")
    influence, target = taken(rest, "--influence", "a method", "tracin"), taken(rest, "--target", "a class", "CLASS")
    baseline, file = (
        taken(rest, "--baseline", "a number or a file", "0.5"),
        taken(rest, "--experiment", "a file", "my.py"),
    )
    examples = _whole("--examples", taken(rest, "--examples", "a number", "8"), default=8, at_least=1)
    seed = _whole("--seed", taken(rest, "--seed", "a number", "0"), default=0, at_least=0)
    require_known("explain", rest, _OPTIONS)
    if len(rest) != 1:
        raise UsageError(
            f"explain needs one directory, got {' '.join(rest) or 'none'}. Write: jaxresearch explain DIR --examples 8"
        )
    if method is not None:
        require_method(method, methods=METHODS)
    if influence not in (None, *INFLUENCES):
        raise UsageError(
            f"--influence must be {', '.join(INFLUENCES[:-1])} or {INFLUENCES[-1]}, got {influence}. Leave it out."
        )
    asked = Asked(method, examples, influence, target, layer, _baseline(baseline), seed)
    return Path(rest[0]), asked, file and os.path.abspath(file)


def _whole(option: str, written: str | None, *, default: int, at_least: int) -> int:
    """Returns the value of an option that takes a whole number."""
    if written is None:
        return default
    if not written.isdecimal() or not at_least <= int(written) < 2**32:
        raise UsageError(
            f"{option} must be a whole number, {at_least} or more, got {written}. Write: {option} {default}"
        )
    return int(written)


def _baseline(written: str | None) -> Any:
    """Returns a number, the array of a file, or a name as it is written (of a token)."""
    if written is None:
        return None
    if written.endswith(".npy"):
        if not Path(written).is_file():
            raise UsageError(
                f"--baseline must be a number, a token or a file, got {written}, which does not exist. Correct it."
            )
        return np.load(written, allow_pickle=False)
    try:
        return float(written)
    except ValueError:
        return written
