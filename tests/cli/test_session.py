"""Shared by run, sweep and study: a mistake is reported in one line before training, and leaves nothing behind."""

import pytest

from jaxresearch import data

WORDS = {"run": [], "sweep": ["--learning-rate", "0.1,0.2"], "study": []}
STEP = """
plain = algorithm
def algorithm(h, card, plan, fitted):
    made = plain(h, card, plan, fitted)
    def step(state, batch, key):
        state, values = made.step(state, batch, key)
        return state, {**values, "errors": batch["targets"][:, 0]}
    return made._replace(step=step)
"""
VECTOR = """
plain = algorithm
def algorithm(h, card, plan, fitted):
    made = plain(h, card, plan, fitted)
    return made._replace(evaluate=lambda state, data, key: {"r2": jnp.zeros(3), "mse": jnp.zeros(())})
"""
FAIL = "def report(h, state, collected, dataset):\n    return 1 / 0\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("losses.half_squared_error,", "lambda outputs, targets: outputs @ targets,")], "line.py failed at line 18"),
        ([(STEP,)], "metrics of a step must be scalars, got errors of shape (16,)"),
        ([("test/r2", "test/r3")], "claim must be about one of test/mse, test/r2, got 'test/r3'"),
        ([(VECTOR,)], "claim must be about a scalar metric (test/mse), got 'test/r2' of shape (3,)"),
        ([(FAIL,)], "failed at line 26: 'return 1 / 0': ZeroDivisionError: division by zero"),
    ],
)
def test_whatever_can_fail_is_one_line_before_training(here, edit, refused, changes, message):
    for change in changes:
        edit(*change)
    errors = set()
    for name, words in WORDS.items():
        done = here(name, "line.py", *words)
        refused(done, message)
        errors.add(done.stderr)
    assert len(errors) == 1, errors


SWEPT = "width is swept and traced, so a size, an if or NumPy cannot use the value. Declare width = static(...), or"
WIDTH = ("degree: int = static(1", "width: int = swept(1")
MODEL, START = "models.linear(card.n_features, 1)", "    return training.supervised("


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # Refused by this package without the name of a field.
        pytest.param(MODEL, "models.linear(card.n_features, h.width)", marks=pytest.mark.raises),
        (MODEL, "models.linear(card.n_features, int(h.width))"),
        (MODEL, "models.linear(card.n_features, range(9)[h.width])"),
        (START, f"    if h.width > 1:\n        pass\n{START}"),
        (START, f"    jnp.zeros(h.width)\n{START}"),
        (START, f"    import numpy as np; np.sqrt(h.width)\n{START}"),
    ],
)
def test_a_swept_value_where_python_needs_one_names_its_field(here, edit, refused, old, new):
    edit(*WIDTH)
    edit(old, new)
    done = here("run", "line.py")
    refused(done, SWEPT)
    assert "experiment file line.py failed at line 1" in done.stderr


def test_an_if_on_an_array_is_explained(here, edit, refused):
    edit(
        "losses.half_squared_error,", "lambda outputs, targets: outputs[:, 0] if outputs.sum() > 0 else targets[:, 0],"
    )
    refused(
        here("run", "line.py"), "it can be neither a size nor the condition of an if. Compute with jnp.where, or take"
    )


@pytest.mark.long
@pytest.mark.parametrize("metrics", ["{}", "{'energy': values['loss']}"])
def test_a_step_needs_no_metric_named_loss(here, edit, folder, metrics):
    edit(STEP.replace('{**values, "errors": batch["targets"][:, 0]}', metrics))
    words = ["--epochs", "3", "--seeds", "2", "--validation", "0.1"]
    done = here("run", "line.py", *words, "--directory", "out")
    assert done.returncode == 0 and "epoch 3/3 · " in done.stdout and not done.stderr, done.stderr
    assert ("train energy 0." in done.stdout) == ("energy" in metrics)
    done = here("report", "out")
    assert done.returncode == 0 and (">energy<" in (folder / "out/report.html").read_text()) == ("energy" in metrics)
    done = here("sweep", "line.py", "--learning-rate", "0.1,0.2", *words, "--directory", "swept")
    assert done.returncode == 0 and (folder / "swept/sweep.png").exists(), done.stderr


OF_EXPERIMENT = "algorithm=algorithm, "


@pytest.mark.raises
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "def algorithm(h, card, plan, fitted):",
            "def algorithm(h, card):",
            "algorithm must take (h, card, plan, fitted), got (h, card). Change its arguments. (experiment file line.py, line",
        ),
        (
            "report = None",
            "def report(h, state): pass",
            "report must take (h, state, collected, dataset), got (h, state)",
        ),
        (
            "report = None",
            "def report(*_): return 3",
            "report must return a string or None, got int. Return an f-string.",
        ),
        (
            "losses.half_squared_error,",
            "lambda outputs: outputs,",
            "loss must take (outputs, targets), got (outputs). Change",
        ),
        ("adjust.grid(learning_rate=[0.05, 0.2])", "lambda: None", "adjust must take (history), got ()."),
        ("adjust.grid(learning_rate=[0.05, 0.2])", "3", "adjust must be a function of (history), got int. Pass"),
        (
            OF_EXPERIMENT,
            f"{OF_EXPERIMENT}collect=lambda source: 1, ",
            "collect must take (source, *, target), got (source).",
        ),
        (OF_EXPERIMENT, f"{OF_EXPERIMENT}preprocess=data.load, ", "preprocess must be a Preprocessor, got function."),
        (
            OF_EXPERIMENT,
            f"{OF_EXPERIMENT}preprocess=data.Preprocessor(apply=lambda fitted, part: part), ",
            "apply must take (fitted, part, *, training), got (fitted, part).",
        ),
    ],
)
def test_a_function_of_other_arguments_is_refused(here, edit, refused, old, new, message):
    edit(old, new)
    refused(here("run", "line.py"), message)


@pytest.mark.parametrize("name", WORDS)
def test_traceback_shows_the_traceback(here, edit, name):
    edit("losses.half_squared_error,", "lambda outputs, targets: outputs @ targets,")
    done = here(name, "line.py", *WORDS[name], "--traceback")
    assert done.returncode == 2
    assert done.stderr.startswith("Traceback") and "line 18, in <lambda>" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("jaxresearch: experiment file line.py failed at line 18")


@pytest.mark.parametrize("name", WORDS)
def test_stopped_needs_validation_data(here, edit, refused, name):
    edit("    return training", "    return algorithms.stopped(training")
    edit("mean_squared_error()},\n    )", 'mean_squared_error()},\n    ), metric="mse", patience=2)')
    done = here(name, "line.py", *WORDS[name])
    refused(done, "validation data must be given to an algorithm that reacts to it")
    assert "Pass --validation 0.1." in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--validation", "own"],
            "validation must be a fraction for line, which has no validation part, got own. Pass --validation 0.1.",
        ),
        (["--validation", "1.5"], "validation must be own or between 0 and 1, got 1.5. Pass --validation 0.1."),
        (["--evaluate-every", "5"], "evaluate_every needs validation data, got 5. Pass --validation 0.1."),
        (["--validation", "0.1", "--evaluate-every", "-5"], "evaluate_every must be 0 or more steps, got -5"),
        (
            ["--train-examples", "10"],
            "batch_size must be between 1 and 10, the examples of the training part, got the default 16. Pass --batch-size 4.",
        ),
        (["--batch-size", "161"], "batch_size must be between 1 and 160, got 161. Pass"),
        (["--learning-rate", "-1"], "learning_rate (step size) must be above 0"),
        (["--directory", "line.py"], "directory must be new or empty, got line.py. Name another with --directory."),
        (["--directory", "line.py/below"], "directory must be writable, got line.py/below"),
        (["--encrypt-with", "nothing"], "encrypt_with must name a readable key file, got nothing"),
        (["--data", "lines.csv"], "data must be a bundled name, tfds:NAME, a database or a path that exists"),
    ],
)
def test_a_mistake_in_the_options_is_one_line(here, refused, words, message):
    refused(here("run", "line.py", *words), message)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        (
            "sweep",
            ["--learning-rate", "0.1,0.2", "--validation", "own"],
            "a fraction in a sweep, which compares settings on",
        ),
        (
            "study",
            ["--validation", "own"],
            "validation must be a fraction in a study, which compares settings on the data's own validation part, got own. Pass",
        ),
        (
            "run",
            ["--folds", "4", "--validation", "own"],
            "validation must be a fraction of each fold's training part, got own",
        ),
        ("sweep", ["--batch-size", "145,16"], "batch_size must be between 1 and 144, got 145"),
        ("study", ["--batch-size", "150"], "held out to compare settings."),
        ("study", ["--rounds", "0"], "rounds must be positive and finite, got 0"),
        ("study", ["--seconds", "inf"], "seconds must be positive and finite, got inf"),
        ("study", ["--seeds", "3", "--fresh-seeds", "2,3"], "fresh_seeds must not be among seeds, got 2 in both"),
        ("run", ["--track", "paper"], "paper"),
        ("run", ["--train-examples", "160"], "train_examples must be below 160, got 160. Leave it out to use all."),
    ],
)
def test_options_that_do_not_go_together_are_one_line(here, refused, name, words, message):
    refused(here(name, "line.py", *words), message)


def test_a_study_needs_adjust(here, edit, refused):
    edit("    adjust=adjust.grid(learning_rate=[0.05, 0.2]),\n", "")
    done = here("study", "line.py")
    refused(done, "experiment must declare adjust for a study, got line.py without it. Write: adjust=adjust.grid(...)")


def test_a_directory_of_the_user_is_left_as_it_was(here, edit, folder):
    (folder / "mine").mkdir()
    edit("losses.half_squared_error,", "losses.half_squared_errors,")
    done = here("run", "line.py", "--directory", "mine")
    assert done.returncode == 2 and "losses.half_squared_errors" in done.stderr
    assert not any((folder / "mine").iterdir())


def test_a_hyperparameter_must_not_have_the_name_of_an_option(here, edit, refused):
    edit("    degree: int = static(1", "    rounds: int = static(1")
    done = here("run", "line.py")
    refused(done, "hyperparameters must not be named like options, got 'rounds'. Rename it.")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('    epochs: int = static(20, "passes over the data", at_least=1)\n', "", "must have a static field 'epochs'"),
        ("batch_size: int = static(", "batch_size: int = swept(", "must have a static field 'batch_size'"),
        ("@hyperparameters\n", "", "must be an instance of a class decorated with @hyperparameters, got Line"),
        (
            "report = None",
            "data.load('nowhere.csv')",
            f"The bundled names are {', '.join(data.BUNDLED)}. (experiment file line.py, line 24)",
        ),
        ("import optax", "import optaks", "failed at line 3: 'import optaks': ModuleNotFoundError"),
    ],
)
def test_an_experiment_that_cannot_serve_is_one_line(here, edit, refused, old, new, message):
    edit(old, new)
    refused(here("run", "line.py"), message)


def test_collect_gets_a_cipher_only_if_it_takes_one(here, edit, refused, folder):
    (folder / "key").write_bytes(bytes(32))
    edit(
        "def collect(source, *, target=None):\n    from jaxresearch import data\n    return data.load('line.csv', target='y')\n"
    )
    edit("report=report,", "report=report, collect=collect,")
    words = ["run", "line.py", "--data", "tfds:mnist", "--target", "y", "--encrypt-with", "key"]
    refused(
        here(*words),
        "collect must take cipher for this command, got one that does not. Write:",
        kept=("line.py", "line.csv", "key"),
    )
    edit("target=None):", "target=None, cipher=None):\n    assert cipher is not None")
    done = here(*words, "--epochs", "1", "--seeds", "1", "--directory", "out")
    assert done.returncode == 0, done.stderr
