"""``jaxresearch predict DIR DATA``: predictions for new rows by the models of a run, from its directory alone."""

import sys
from collections.abc import Iterator
from pathlib import Path

from jaxresearch import records, statistics
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.flags import require_known, switched
from jaxresearch.cli.models import chosen, ensemble_of, file_in_folder
from jaxresearch.cli.session import configure, one_line
from jaxresearch.execution import Predictions

_OPTIONS = "--output FILE, --seeds A,B, --encrypt-with FILE, --experiment FILE and --unfinished"


def predict(words: list[str]) -> int:
    """Carries out ``jaxresearch predict WORDS...``; returns the exit code."""
    configure()
    with one_line(words[0], code=2):
        rest = list(words)
        options, unfinished = chosen(rest, example="predictions.csv"), switched(rest, "--unfinished")
        require_known("predict", rest, _OPTIONS)
        if len(rest) != 2:
            raise UsageError(
                f"predict needs a directory and data, got {' '.join(rest)}. Write: jaxresearch predict DIR DATA"
            )
        file = None if options.output is None else _file(options.output)
        directory = Path(rest[0])
        ensemble, _ = ensemble_of(directory, options, unfinished=unfinished)
        predictions = ensemble.predict(Path(rest[1]), seeds=options.seeds)
        content = records.written_predictions(predictions, ".csv" if file is None else file.suffix.lower())
        if file is not None:
            records.write_file(file, content)
    if file is None:
        sys.stdout.write(content.decode())
    lines = [*predictions.notes, *_score_lines(predictions)]
    if unfinished and not (directory / "result.json").is_file():
        lines.insert(0, f"the models are from step {ensemble.step:,} of an unfinished run")
    for line in lines:  # to standard error if the predictions may be piped
        print(line, file=sys.stderr if file is None else sys.stdout)
    if file is not None:
        print(f"predictions: {file}")
    return 0


def _file(output: str) -> Path:
    """Returns the file to write, after checking its suffix and its folder."""
    file = Path(output)
    if file.suffix.lower() not in records.ENDINGS:
        raise UsageError(
            f"--output must end in {', '.join(records.ENDINGS)}, got {output}. Write: --output predictions.csv"
        )
    return file_in_folder(output)


def _score_lines(predictions: Predictions) -> Iterator[str]:
    """Yields a line for each score: the ensemble's, and separately the range of those of its seeds."""
    n = len(predictions.seeds)
    for name, value in predictions.scores.get("ensemble", {}).items():
        if n == 1:
            yield f"{name}: {statistics.number_text(value)} (seed {predictions.seeds[0]})"
            continue
        alone = predictions.scores["seeds"][name]
        mean, low, high = map(statistics.number_text, (statistics.mean(alone), min(alone), max(alone)))
        singles = f"single seeds: mean {mean}, range {low} to {high}"
        yield f"{name}: {statistics.number_text(value)} (ensemble of {n}); {singles}"
    if n == 1:
        yield f"the spread over seeds is undefined, since only seed {predictions.seeds[0]} predicts"
