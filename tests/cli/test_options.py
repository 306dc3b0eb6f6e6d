"""The words of a command line: from them to options, and back as a directory is gone on with."""

import dataclasses
from pathlib import Path

import pytest

from jaxresearch import loading
from jaxresearch.cli.axes import parse_sweep
from jaxresearch.cli.options import UsageError, parse, parse_study
from jaxresearch.cli.resume import words_in
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.reports.wording import words_of


@hyperparameters
class Settings:
    learning_rate: float = swept(0.1, "step size")
    nesterov: bool = static(False, "look ahead")
    centred: bool = static(True, "subtract the mean")
    widths: tuple[int, ...] = static((8,), "of layers")
    batch_size: int = static(16, "examples a step")
    epochs: int = static(20, "passes")


@pytest.fixture(scope="module")
def line():
    mnist = loading.load("mnist", directory=Path(__file__).parents[2] / "experiments")
    return dataclasses.replace(mnist, hyperparameters=Settings())


@pytest.mark.parametrize(
    ("words", "nesterov", "centred"),
    [([], False, True), (["--no-centred", "--nesterov"], True, False), (["--centred", "--no-nesterov"], False, True)],
)
def test_a_boolean_is_switched_on_and_off_whatever_its_default(line, words, nesterov, centred):
    settings = parse(line, words, prog="run").hyperparameters
    assert (settings.nesterov, settings.centred) == (nesterov, centred)


OTHERS = "--train-examples 40 --init-from runs/other --data my.npz --track mlflow tensorboard --on-nonfinite skip"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--no-centred", "--nesterov", "--save-every", "0", "--learning-rate", "0"],
        ["--folds", "3", *OTHERS.split()],
        ["--seeds", "3", "--smoke", "--target", "kind", "--encrypt-with", "key"],
    ],
)
def test_words_in_gives_the_options_again(line, words):
    options = parse(line, [*words, "--directory", "out"], prog="run")
    assert parse(line, words_in(dataclasses.asdict(options), Path("out")), prog="run") == options


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folds", "-3"], "folds must be 2 or more, or 0 for none; got -3. Ask for 10."),
        (["--folds", "1"], "folds must be 2 or more, or 0 for none; got 1"),
        (
            ["--folds", "10", "--seeds", "3"],
            "seeds must be left out with folds; got both. Run i of --folds 10 has seed i.",
        ),
        (["--seeds=10", "--folds=10"], "seeds must be left out with folds; got both"),
    ],
)
def test_folds_are_two_or_more_and_stand_without_seeds(line, words, message):
    with pytest.raises(UsageError, match=message):
        parse(line, words, prog="run")
    assert parse(line, ["--folds", "0", "--seeds", "3"], prog="run").seeds == 3


def test_words_in_of_a_study_are_those_that_it_has(line):
    options, budget = parse_study(line, ["--directory", "out", "--no-centred", "--seeds", "4"], prog="study")
    config = {"study": budget._asdict(), **dataclasses.asdict(options)}
    words = [*words_in(config, Path("out")), *words_of(config["study"])]
    assert parse_study(line, words, prog="study") == (options, budget) and budget.seeds == options.seeds == 4


def test_a_flag_takes_no_word_for_its_value_in_a_sweep(line):
    options, axes = parse_sweep(line, ["--nesterov", "--learning-rate", "0.1,0.2", "--widths=4"], prog="sweep")
    assert axes == {"learning_rate": [0.1, 0.2]}
    assert options.hyperparameters.nesterov and options.hyperparameters.widths == (4,)
    with pytest.raises(UsageError, match="Missing value for argument '--learning-rate'"):
        parse_sweep(line, ["--learning-rate", "--epochs", "3"], prog="sweep")


def test_an_option_that_a_command_has_not_is_told(line):
    with pytest.raises(UsageError, match="option must be one that study has; got --smoke, which it has not. Leave it"):
        parse_study(line, ["--smoke"], prog="study")
