"""Command-line arguments: parsed into options, and restored when a directory is resumed."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from jaxresearch import loading
from jaxresearch.cli.axes import spelled, words_of_axes
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.options import DECLARED, Options, names_of
from jaxresearch.cli.parsing import parse
from jaxresearch.cli.resume import words_in
from jaxresearch.cli.run import undecided
from jaxresearch.cli.session import _config
from jaxresearch.cli.spelling import seeds_text
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.studies import Budget


@hyperparameters
class Settings:
    learning_rate: float = swept(0.1, "step size")
    nesterov: bool = static(False, "look ahead")
    centred: bool = static(True, "subtract the mean")
    widths: tuple[int, ...] = static((8,), "of layers")
    dropout: float | None = static(None, "fraction dropped")
    name: str = static("plain", "any text")
    batch_size: int = static(16, "examples per step")
    epochs: int = static(20, "passes over the data")


@pytest.fixture(scope="module")
def line():
    mnist = loading.load("mnist", directory=Path(__file__).parents[2] / "experiments")
    return dataclasses.replace(mnist, hyperparameters=Settings())


@pytest.fixture(scope="module")
def card(line):
    return line.collect("ames", target=None)


@pytest.mark.parametrize(
    ("words", "nesterov", "centred"),
    [([], False, True), (["--no-centred", "--nesterov"], True, False), (["--centred", "--no-nesterov"], False, True)],
)
def test_a_boolean_is_switched_on_and_off_whatever_its_default(line, words, nesterov, centred):
    settings = parse(line, words).hyperparameters
    assert (settings.nesterov, settings.centred) == (nesterov, centred)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("3", (0, 1, 2)), ("3,7,11", (3, 7, 11)), ("7,", (7,)), ("7,3", (7, 3)), ("0,1", (0, 1)), ("1", (0,))],
)
def test_seeds_are_explicit_once_they_are_read(line, text, seeds):
    assert parse(line, ["--seeds", text]).seeds == seeds
    assert parse(line, ["--seeds", seeds_text(seeds)]).seeds == seeds
    assert seeds_text(seeds) == ("2" if text == "0,1" else text)


@pytest.mark.parametrize(
    ("words", "seeds", "fresh"),
    [
        ([], (0, 1, 2), tuple(range(3, 13))),
        (["--seeds", "5", "--fresh-seeds", "2"], (0, 1, 2, 3, 4), (5, 6)),
        (["--seeds", "9,4", "--fresh-seeds", "2"], (9, 4), (10, 11)),
        (["--fresh-seeds", "20,30"], (0, 1, 2), (20, 30)),
    ],
)
def test_fresh_seeds_follow_those_of_the_search(line, words, seeds, fresh):
    options = parse(line, words, command="study")
    assert (options.seeds, options.fresh_seeds) == (seeds, fresh)
    assert options.budget == Budget(10, 3600.0, seeds, fresh)
    if not words:
        assert options.budget == Budget()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0"], "seeds must be 1 or more, got 0. Pass --seeds 10 for a narrow interval."),
        (["--seeds", "-2"], "seeds must be 1 or more, got -2"),
        (["--seeds", "3,3"], "seeds must be distinct, got 3,3. Write each once."),
        (["--seeds", "3,-1"], "seeds must be between 0 and 4294967295, got -1. Pass --seeds 10 for 0 to 9."),
        (["--seeds", "1,x"], "--seeds must be N or A,B,C, got 1,x. Write, for instance: --seeds 5"),
        (["--seeds", ""], "--seeds must be N or A,B,C, got nothing. Write, for"),
        (["--validation", "some"], "--validation must be FRACTION or own, got some. Write, for"),
        (["--types", "age=number,zip"], "--types must be COLUMN=KIND,..., got age=number,zip. Write, for"),
        (["--folds", "-3"], "folds must be 2 or more, or 0 for none, got -3. Pass --folds 10."),
        (["--folds", "1"], "folds must be 2 or more, or 0 for none, got 1"),
        (
            ["--folds", "10", "--seeds", "3"],
            "seeds and folds are mutually exclusive, got both. Run i of --folds 10 has seed i.",
        ),
        (["--seeds=10", "--folds=10"], "seeds and folds are mutually exclusive, got both"),
        (
            ["--types", "day=drop", "--group", "day"],
            "group must name a column that is read, got day with the type drop. Leave day=drop out: the column is no feature.",
        ),
        (["--types", "day=drop", "--time", "day"], "time must name a column that is read, got day with the type drop."),
        (
            ["--split-seed", "3", "--time", "day"],
            "split_seed and time are mutually exclusive, got both. The last examples",
        ),
        (["--contiguous", "--split-seed", "3"], "split_seed and contiguous are mutually exclusive, got both. The last"),
        (["--save-every", "inf"], "save_every must be 0 or more seconds and finite, got inf. Pass 60."),
        (["--learning-rat", "1"], "run has no option --learning-rat. Did you mean --learning-rate?"),
        (
            ["--learning-rate"],
            "--learning-rate must be a number, got nothing. Write, for instance: --learning-rate 0.1",
        ),
        (
            ["--learning-rate", "fast"],
            "--learning-rate must be a number, got fast. Write, for instance: --learning-rate 0.1",
        ),
        (["--mesh", "x"], "--mesh must be AXIS=N,..., got x. Write, for instance: --mesh data=2"),
        (["--types", "x"], "--types must be COLUMN=KIND,..., got x. Write, for instance: --types age=number"),
        (["--epochs", "2.5"], "--epochs must be a whole number, got 2.5. Write, for instance: --epochs 20"),
        (["--epochs=3", "--epochs=x"], "--epochs must be a whole number, got x. Write, for instance: --epochs 20"),
        (
            ["--widths", "3.5x2"],
            "--widths must be whole numbers with x between them, got 3.5x2. Write, for instance: --widths 8",
        ),
        (["--dropout", "x"], "--dropout must be a number or None, got x. Write, for instance: --dropout 0.1"),
        (
            ["--image-size", "2.5"],
            "--image-size must be a whole number or None, got 2.5. Write, for instance: --image-size 10",
        ),
        (
            ["--task", "foo"],
            "--task must be classification, regression or None, got foo. Write, for instance: --task class",
        ),
        (["--task", "clasification"], "got clasification. Did you mean 'classification'?"),
        (
            ["--track", "foo"],
            "--track must be one or more of tensorboard, mlflow, got foo. Write, for instance: --track tens",
        ),
        (["--directory"], "--directory must be followed by a path, got nothing. Write, for instance: --directory"),
        (["--smoke", "true"], "--smoke must stand without a value, got --smoke true. Write: --smoke"),
        (["--smoke=true"], "--smoke must stand without a value, got --smoke true. Write: --smoke"),
        (["extra"], "every value must follow its option, got 'extra' without one. See --help."),
        (["--rounds", "3"], "run has no option --rounds, which belongs to study. Leave it out."),
    ],
)
def test_a_mistake_is_one_line_that_names_the_remedy(line, words, message):
    with pytest.raises(UsageError) as caught:
        parse(line, words)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--learning-rate 1e-4:1e-1:5",
            "learning_rate must be one value in a run, got --learning-rate 1e-4:1e-1:5. "
            "To compare values: jaxresearch sweep mine --learning-rate 1e-4:1e-1:5",
        ),
        ("--learning-rate 1:2", "a range must be low:high:n or low:high:log:n, got --learning-rate 1:2. Write, for"),
        (
            "--epochs 3,4",
            "epochs must be one value in a run, got --epochs 3,4. To compare values: jaxresearch sweep mine --epo",
        ),
        ("--epochs 3 4", "got --epochs 3 4. To compare values: jaxresearch sweep mine --epochs 3,4"),
        ("--dropout=0.1,0.2", "dropout must be one value in a run, got --dropout 0.1,0.2."),
        (
            "--widths 8:16:2",
            "a range must be of a float hyperparameter, got --widths 8:16:2. Write a list: --widths A,B",
        ),
        ("--nesterov yes", "nesterov must be true or false, got --nesterov yes. Write --nesterov or --no-nesterov."),
        ("-learning-rate 1", "run has no option -learning-rate. Write --learning-rate."),
        ("--seed 3", "run has no option --seed. Did you mean --seeds?"),
        ("--tracebak", "run has no option --tracebak. Did you mean --traceback?"),
        ("--lr 3", "run has no option --lr. The hyperparameters are --learning-rate, --nesterov,"),
    ],
)
def test_a_spelling_that_a_run_lacks_is_explained(line, words, message):
    with pytest.raises(UsageError) as caught:
        parse(line, words.split(), prog="jaxresearch run mine")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("--widths 32,64", {"widths": (32, 64)}),
        ("--widths=32x64", {"widths": (32, 64)}),
        ("--widths 32 64", {"widths": (32, 64)}),
        ("--nesterov true --centred=False", {"nesterov": True, "centred": False}),
        ("--name a,b:c", {"name": "a,b:c"}),
        ("--dropout None --learning-rate -1e-3", {"dropout": None, "learning_rate": -1e-3}),
    ],
)
def test_a_value_of_a_run_may_be_spelled_in_several_ways(line, words, found):
    settings = parse(line, words.split()).hyperparameters
    assert {name: getattr(settings, name) for name in found} == found


@pytest.mark.parametrize(
    ("words", "axes"),
    [
        ("--widths 32,64", {"widths": [(32,), (64,)]}),
        ("--widths 32x32,128", {"widths": [(32, 32), (128,)]}),
        ("--nesterov true,false", {"nesterov": [True, False]}),
        ("--dropout 0.1:0.3:3", {"dropout": [0.1, 0.2, 0.3]}),
        ("--dropout None,0.2 --widths 4x4 --nesterov true", {"dropout": [None, 0.2]}),
    ],
)
def test_a_list_is_of_settings_in_a_sweep(line, words, axes):
    options = parse(line, words.split(), command="sweep")
    assert options.axes == axes
    assert parse(line, words_of_axes(options.axes), command="sweep").axes == axes


@pytest.mark.parametrize(
    ("declared", "words", "types"),
    [
        (None, [], ()),
        ({"id": "drop"}, [], (("id", "drop"),)),
        ({"id": "drop", "zip": "number"}, ["--types", "zip=category,age=number"],
         (("id", "drop"), ("zip", "category"), ("age", "number"))),
        ({"weight, in g": "number"}, ["--types", "a=b=drop,c, d=id"],
         (("weight, in g", "number"), ("a=b", "drop"), ("c, d", "id"))),
    ],
)  # fmt: skip
def test_types_of_the_command_line_win_by_column(line, card, declared, words, types):
    experiment = dataclasses.replace(line, types=declared)
    options = parse(experiment, [*words, "--directory", "out"])
    assert options.types == types and options.reading.get("types", {}) == dict(types)
    config = json.loads(json.dumps(_config("line", options, card, None), default=str))
    assert parse(experiment, words_in(config, Path("out"))) == options
    undeclared = dataclasses.replace(line, types=None)  # the record suffices
    assert parse(undeclared, words_in(config, Path("out"))).types == types


PROMISED = {"epsilon": 3, "delta": 1e-5, "clip": 0.5}


@pytest.mark.parametrize(
    ("words", "command", "private"),
    [
        ([], "run", (("epsilon", "3"), ("delta", "1e-05"), ("clip", "0.5"))),
        (["--private", "noise=1,delta=1e-6,clip=2"], "run", (("noise", "1"), ("delta", "1e-6"), ("clip", "2"))),
        (["--private", "none"], "run", ()),
        ([], "plan", ()),
    ],
)
def test_an_experiment_declares_its_privacy(line, card, words, command, private):
    experiment = dataclasses.replace(line, private=PROMISED)
    options = parse(experiment, words, command=command)
    assert options.private == private
    if command == "run":
        options = parse(experiment, [*words, "--directory", "out"])
        config = json.loads(json.dumps(_config("line", options, card, None), default=str))
        for declared in (experiment, line):  # the record suffices
            assert parse(declared, words_in(config, Path("out"))) == options


@pytest.mark.parametrize(
    ("words", "because"),
    [
        ([], None),
        (["--private", "epsilon=3.0,delta=1e-5,clip=2"], None),
        (["--private", "none"], "training with epsilon 3, delta 1e-05, this run has --private none"),
        (["--private", "epsilon=8,delta=1e-5,clip=0.5"], "this run has --private epsilon=8,delta=1e-5,clip=0.5"),
        (["--private", "noise=1,delta=1e-5,clip=0.5"], "this run has --private noise=1,delta=1e-5,clip=0.5"),
    ],
)
def test_a_claim_about_privacy_needs_that_privacy(line, words, because):
    experiment = dataclasses.replace(line, private=PROMISED)
    found = undecided(parse(experiment, words), experiment)
    assert found is None if because is None else because in found
    assert undecided(parse(line, words), line) is None


def test_folds_are_as_many_seeds(line):
    assert parse(line, ["--folds", "3"]).seeds == (0, 1, 2)
    assert parse(line, ["--folds", "0", "--seeds", "3"]).seeds == (0, 1, 2)


def test_each_option_is_declared_once_with_its_commands():
    assert {*DECLARED} == {field.name for field in dataclasses.fields(Options)} - {"command", "hyperparameters", "axes"}
    own = {
        "run": {"folds", "init_from", "on_nonfinite", "fail_fast", "track"},
        "study": {"rounds", "seconds", "fresh_seeds"},
    }
    for command, others in (("run", "study"), ("sweep", "study"), ("study", "run")):
        assert not own.get(others, set()) & {*names_of(command)}
    assert "smoke" not in names_of("study") and "validation" in names_of("study")


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("study", ["--smoke"], "study has no option --smoke, which belongs to run and sweep. Leave it out."),
        ("sweep", ["--learning-rate", "1,2", "--on-nonfinite", "skip"], "sweep has no option --on-nonfinite, which"),
        ("sweep", ["--track", "mlflow"], "sweep has no option --track, which belongs to run. Leave it out."),
    ],
)
def test_an_option_of_another_command_is_refused(line, command, words, message):
    with pytest.raises(UsageError, match=message):
        parse(line, words, command=command)


OTHERS = "--train-examples 40 --init-from runs/other --data my.npz --track mlflow tensorboard --on-nonfinite skip"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("run", []),
        ("run", ["--no-centred", "--nesterov", "--save-every", "0", "--learning-rate", "0"]),
        ("run", ["--folds", "3", *OTHERS.split()]),
        ("run", ["--seeds", "3", "--smoke", "--target", "kind", "--encrypt-with", "key"]),
        ("run", ["--seeds", "7,", "--validation", "0.1", "--evaluate-every", "30"]),
        ("run", ["--seeds", "3,8", "--validation", "own"]),
        ("run", ["--types", "age=number,zip=category,a=b=drop", "--task", "regression", "--group", "patient"]),
        (
            "sweep",
            ["--learning-rate", "0.1,0.2", "--test-fraction", "0.3", "--split-seed", "4", "--stream"],
        ),
        ("run", ["--contiguous", "--folds", "4", "--fail-fast", "--accumulate", "4"]),
        ("run", ["--resplit", "--seeds", "3,8", "--train-examples", "40", "--group", "patient"]),
        ("study", ["--time", "day", "--test", "later.csv", "--image-size", "32"]),
        (
            "sweep",
            ["--seeds", "4,9", "--widths", "16,8x8", "--learning-rate", "1e-4:1e-2:log:3", "--validation", "0.2"],
        ),
        ("sweep", ["--learning-rate", "0.1:0.1:1", "--smoke"]),
        ("study", ["--no-centred", "--seeds", "4,6", "--fresh-seeds", "8", "--rounds", "2", "--seconds", "5"]),
    ],
)
def test_words_in_a_configuration_give_the_options_again(line, card, command, words):
    options = parse(line, [*words, "--directory", "out"], command=command)
    config = json.loads(json.dumps(_config("line", options, card, None), default=str))
    assert parse(line, words_in(config, Path("out")), command=command) == options


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--learning-rate", "1e-1:1e-4:log:4"], "a range must increase, got --learning-rate 1e-1:1e-4:log:4"),
        (["--learning-rate", "1e-4:1e-1:log:0"], "a range must have at least 1 value, got 0 in --learning-rate"),
        (["--learning-rate", "0:1:log:3"], "a log range must start above 0, got --learning-rate 0:1:log:3"),
        (
            ["--learning-rate", "1:2"],
            "a range must be low:high:n or low:high:log:n, got --learning-rate 1:2. Write, for instance: --learning-rate 1:2:log",
        ),
        (
            ["--learning-rate", "low:high:8"],
            "got --learning-rate low:high:8. Write, for instance: --learning-rate 1e-4:1e-1:log:8",
        ),
        (
            ["--learning-rate", "1e-4-1e-1"],
            "a range must be low:high:n or low:high:log:n, got --learning-rate 1e-4-1e-1. Write, for instance: --learning-rate "
            "1e-4:1e-1:log:8",
        ),
        (
            ["--learning-rate", "0.1..0.5"],
            "got --learning-rate 0.1..0.5. Write, for instance: --learning-rate 0.1:0.5:log:8",
        ),
        (
            ["--learning-rate", "1e-4", "to", "1"],
            "got --learning-rate 1e-4 to 1. Write, for instance: --learning-rate 1e-4:1",
        ),
        (
            ["--learning-rate", ".1-.5-8"],
            "got --learning-rate .1-.5-8. Write, for instance: --learning-rate .1:.5:log:8",
        ),
        (
            ["--epochs", "1-5"],
            "a range must be of a float hyperparameter, got --epochs 1-5. Write a list: --epochs A,B",
        ),
        (["--learning-rate", "1:2:lin:3"], "a range must be low:high:n or low:high:log:n"),
        (["--learning-rate", "1e-3,1e-3"], "a list must have distinct values, got --learning-rate 1e-3,1e-3"),
        (
            ["--epochs", "1:5:3"],
            "a range must be of a float hyperparameter, got --epochs 1:5:3. Write a list: --epochs A,B",
        ),
        (
            ["--learning-rate", "0.1,", "0.2"],
            "a list of values must be one word, got --learning-rate 0.1, 0.2. Write: --",
        ),
        (["--learning-rate", "0.1", "0.2"], "one word, got --learning-rate 0.1 0.2. Write: --learning-rate 0.1,0.2"),
        (
            ["--widths", "8,16", "4"],
            "must be one word, with x between the entries of a setting, got --widths 8,16 4. Write",
        ),
        (["--centred", "yes,no"], "centred must be true or false, got --centred yes. Write --centred or --no-centred."),
        (["--learning-rat", "1,2"], "sweep has no option --learning-rat. Did you mean --learning-rate?"),
        (
            ["--learning-rate", "1e-3"],
            "a sweep must vary at least one hyperparameter, got none. Write: --learning-rate 1e-4",
        ),
        (["--learning-rate", "--epochs", "3"], "--learning-rate must be a number, got nothing. Write"),
        ([], "a sweep must vary at least one hyperparameter, got none"),
    ],
)
def test_a_mistake_in_what_a_sweep_varies_is_one_line(line, words, message):
    with pytest.raises(UsageError) as caught:
        parse(line, words, command="sweep")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_flag_takes_no_word_for_its_value_in_a_sweep(line):
    options = parse(line, ["--nesterov", "--learning-rate", "0.1,0.2", "--widths=4"], command="sweep")
    assert options.axes == {"learning_rate": [0.1, 0.2]}
    assert options.hyperparameters.nesterov and options.hyperparameters.widths == (4,)


@pytest.mark.parametrize("command", ["run", "sweep"])
@pytest.mark.parametrize(
    ("words", "written", "advice"),
    [
        (["[128,64]"], "[128,64]", "--widths 128x64"),
        (["(128,", "64)"], "(128, 64)", "--widths 128x64"),
        (["[]"], "[]", "--widths with nothing after it"),
    ],
)
def test_brackets_around_a_tuple_are_refused(command, words, written, advice):
    kinds, prog = {"widths": tuple[int, ...]}, f"jaxresearch {command} mnist"
    with pytest.raises(UsageError) as raised:
        spelled(kinds, ["--widths", *words], prog=prog, read=lambda name, given: given)
    assert str(raised.value) == f"widths must be written without brackets, got --widths {written}. Write: {advice}"


@pytest.mark.parametrize("command", ["run", "sweep"])
@pytest.mark.parametrize("written", ["32,x", "32x", "x32", "32,,64", "32 ,64"])
def test_a_missing_entry_of_a_tuple_is_refused(line, command, written):
    message = f"widths must have a number on each side of x or a comma, got --widths {written}. Write, for instance: "
    with pytest.raises(UsageError, match=re.escape(message)):
        parse(line, ["--widths", *written.split()], command=command)
