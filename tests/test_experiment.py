"""Declaring an experiment: hyperparameters that are checked, files that are blamed for their own lines."""

import dataclasses
import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import data, experiment, loading
from jaxresearch.cli.options import Options
from jaxresearch.hyperparameters import check, hyperparameters, static, swept
from jaxresearch.studies import Budget

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@hyperparameters
class Settings:
    """Settings of the tests."""

    learning_rate: float = swept(0.1, "step size", above=0)
    momentum: float = swept(0.9, "share kept", at_least=0, below=1)
    batch_size: int = static(8, "examples a step", at_least=1)
    epochs: int = static(2, "passes", at_least=1, at_most=100)
    hidden: tuple[int, ...] = static((4,), "widths", at_least=1)
    schedule: str = static("constant", "shape")


def test_swept_fields_are_leaves_and_static_ones_are_not():
    assert jax.tree.leaves(Settings()) == [0.1, 0.9]
    traces = []

    @jax.jit
    def rate(settings):
        traces.append(1)
        return settings.learning_rate * settings.batch_size

    for value in (0.1, 0.2, 0.3):
        assert np.isclose(rate(Settings(learning_rate=value)), value * 8)
    assert len(traces) == 1
    rate(Settings(batch_size=4))
    assert len(traces) == 2
    many = jax.vmap(rate)(Settings(learning_rate=jnp.arange(3.0), momentum=jnp.zeros(3)))
    np.testing.assert_allclose(many, [0, 8, 16])


def test_hyperparameters_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().learning_rate = 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0}, "learning_rate must be above 0; got 0. It is: step size"),
        ({"learning_rate": -1e-3}, "learning_rate must be above 0; got -0.001"),
        ({"learning_rate": float("nan")}, "learning_rate must be finite; got nan"),
        ({"learning_rate": float("inf")}, "learning_rate must be finite; got inf"),
        ({"momentum": 1.0}, "momentum must be below 1; got 1.0"),
        ({"momentum": -0.1}, "momentum must be at least 0; got -0.1"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"epochs": 101}, "epochs must be at most 100; got 101"),
        ({"hidden": (4, 0)}, r"hidden must be at least 1; got \(4, 0\)"),
    ],
)
def test_check_names_field_rule_and_value(changes, message):
    with pytest.raises(ValueError, match=message):
        check(Settings(**changes))


def test_check_passes_the_plain_settings():
    check(Settings())


def _small(n=64):
    inputs = np.random.default_rng(0).random((n, 28, 28, 1)).astype(np.float32)
    return {"inputs": inputs, "targets": (np.arange(n) % 10).astype(np.int32)}


CARD = data.DataCard(name="a", source="b", class_names=tuple("0123456789"), feature_shape=(28, 28, 1))


@pytest.mark.long
def test_program_of_the_mnist_experiment_is_pure_and_composes():
    mnist = loading.load("mnist", directory=EXPERIMENTS)
    settings = dataclasses.replace(mnist.hyperparameters, epochs=2, batch_size=16)
    program = experiment.program(mnist, CARD)
    assert experiment.n_steps(settings, 64) == 8

    @jax.jit
    def whole(key, settings, data):
        return program.run(key, settings, data)

    @jax.jit
    def in_two(key, settings, data):
        state = program.init(key, settings, data)
        state, first = program.advance(key, settings, state, data, 3)
        state, second = program.advance(key, settings, state, data, 5)
        return state, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)

    a, b = whole(jax.random.key(0), settings, _small()), in_two(jax.random.key(0), settings, _small())
    assert [x.tobytes() for x in map(np.asarray, jax.tree.leaves(a))] == [
        x.tobytes() for x in map(np.asarray, jax.tree.leaves(b))
    ]
    derivative = jax.jit(jax.grad(lambda s: program.run(jax.random.key(0), s, _small())[1]["loss"][-1]))(settings)
    assert np.isfinite(derivative.learning_rate) and derivative.learning_rate != 0
    values = program.evaluate(settings, a[0], _small())
    assert set(values) == {"accuracy", "macro_f1", "macro_recall", "log_loss"}


def test_a_batch_size_of_0_is_the_whole_data_bit_for_bit():
    mnist = loading.load("mnist", directory=EXPERIMENTS)
    program, made = experiment.program(mnist, CARD), []
    for size in (0, 64):
        settings = dataclasses.replace(mnist.hyperparameters, epochs=3, batch_size=size)
        assert experiment.batch_size(settings, 64) == 64 and experiment.n_steps(settings, 64) == 3
        state, history = jax.jit(program.run)(jax.random.key(0), settings, _small())
        assert history["loss"].shape == (3,)
        made.append([np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((state, history))])
    assert made[0] == made[1]
    assert experiment.n_steps(settings, 640) == 30  # 64 stays 64, whatever the data


@pytest.mark.parametrize(("size", "n_examples"), [(-1, 64), (65, 64), (0, 0)])
def test_a_batch_that_does_not_fit_is_refused(size, n_examples):
    with pytest.raises(
        ValueError, match=f"batch_size must be from 1 to the number of examples, {n_examples}; got {size}"
    ):
        experiment.n_steps(Settings(batch_size=size), n_examples)


def test_linear_schedule_falls_to_zero():
    mnist = loading.load("mnist", directory=EXPERIMENTS)
    settings = dataclasses.replace(mnist.hyperparameters, epochs=4, batch_size=16, schedule="linear")
    program = experiment.program(mnist, CARD)
    _, history = jax.jit(program.run)(jax.random.key(0), settings, _small())
    rule = mnist.optimizer(settings, 16)
    state, sizes = rule.init(jnp.zeros(())), []
    for _ in range(17):
        update, state = rule.update(jnp.ones(()), state)
        sizes.append(-float(update))
    np.testing.assert_allclose(sizes, 1e-3 * (1 - np.arange(17) / 16), atol=1e-8)
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import jax\nx = undefined + 1\n", r"failed at line 2: 'x = undefined \+ 1': NameError: name 'undefined'"),
        ("def broken(:\n", r"failed at line 1: 'def broken\(:': invalid syntax"),
        ("import no_such_module\n", "failed at line 1: 'import no_such_module': ModuleNotFoundError"),
        ("def inner():\n    return 1 / 0\ninner()\n", "failed at line 2: 'return 1 / 0': ZeroDivisionError"),
        (
            "from jaxresearch import models\n\nmodels.mlp(0, (), 1)\n",
            r"^n_features must be .* \(experiment file .*mine\.py, line 3\)$",
        ),
        ("raise ValueError('rows must be 3; got 2.')\n", r"^rows must be 3; got 2\. \(experiment file .*, line 1\)$"),
        ("raise ValueError\n", "failed at line 1: 'raise ValueError': ValueError: $"),
        ("int('x')\n", r"failed at line 1: \"int\('x'\)\": ValueError: invalid literal"),
        ("x = 1\n", "must assign an Experiment to the name 'experiment'; it does not"),
        ("experiment = 3\n", "must assign an Experiment to the name 'experiment'; it does not"),
    ],
)
def test_a_file_with_an_error_is_blamed_for_its_own_line(tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        loading.load(str(tmp_path / "mine.py"))
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_told_the_nearest(tmp_path):
    (tmp_path / "mnist.py").write_text("")
    (tmp_path / "housing.py").write_text("")
    with pytest.raises(FileNotFoundError, match="got 'mnits'. Did you mean 'mnist'"):
        loading.load("mnits", directory=tmp_path)
    with pytest.raises(FileNotFoundError, match="There are: housing, mnist"):
        loading.load("zzz", directory=tmp_path)


def test_two_files_of_one_name_are_two_experiments(tmp_path):
    text = (EXPERIMENTS / "mnist.py").read_text()
    for folder, bound in (("a", "0.9804"), ("b", "0.5")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(text.replace("at_least=0.9804", f"at_least={bound}"))
    loaded = [loading.load(str(tmp_path / folder / "mine.py")) for folder in "ab"]
    assert [one.claim.at_least for one in loaded] == [0.9804, 0.5]


def test_the_reserved_names_are_the_options_of_every_run():
    of_run = {field.name for field in dataclasses.fields(Options)} - {"hyperparameters"}
    assert of_run | set(Budget._fields) == experiment.RUN_OPTIONS


def test_an_experiment_is_about_one_screen():
    source = inspect.getsource(inspect.getmodule(experiment)) and (EXPERIMENTS / "mnist.py").read_text()
    assert len(source.splitlines()) < 100
