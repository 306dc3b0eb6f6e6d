"""Trained models, loaded from their run directory alone, predict as in the evaluation."""

import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxresearch import algorithms, data, execution, losses, metrics, models, recording, records, training
from jaxresearch.experiment import Experiment
from jaxresearch.fields import text
from jaxresearch.hyperparameters import hyperparameters, static
from jaxresearch.statistics import Claim

pytestmark = pytest.mark.long

SPECIES = ("adelie", "chinstrap", "gentoo")


@hyperparameters
class Small:
    """Sizes of all experiments in this file."""

    batch_size: int = static(16, "examples per step")
    epochs: int = static(2, "passes over the data")


def classifier(h, card, plan, fitted, *, decay=None):
    """Returns a small classifier with batch statistics, with averaged weights if a decay is given."""
    model = models.mlp(card.n_features, (8,), card.n_classes, batch_norm=True)
    loss, optimizer = losses.softmax_cross_entropy_with_integer_labels, training.gradient_descent(0.1)
    made = training.supervised(model, loss, optimizer=optimizer, metrics=metrics.classification(card))
    return made if decay is None else algorithms.averaged(made, decay=decay)


def regressor(h, card, plan, fitted):
    """Returns a linear model, evaluated in the units of its target."""
    return training.supervised(
        models.linear(card.n_features, 1),
        losses.half_squared_error,
        optimizer=training.gradient_descent(0.1),
        metrics={"r2": metrics.r2()},
        invert=functools.partial(data.standard.invert, fitted),
    )


def bag(h, card, plan, fitted):
    """Returns sums over words."""

    def init(key):
        return {"weights": jax.random.normal(key, (len(card.vocabulary), card.n_classes))}, {}

    model = models.Model(init, lambda params, state, ids, key=None: (params["weights"][ids].sum(axis=1), state))
    loss = losses.softmax_cross_entropy_with_integer_labels
    optimizer = training.gradient_descent(0.1)
    return training.supervised(model, loss, optimizer=optimizer, metrics=metrics.classification(card))


def experiment(algorithm, metric="test/accuracy", **asked):
    claim = Claim(text="something", metric=metric, about="these examples", at_least=0.5)
    return Experiment(question="?", claim=claim, source="here", hyperparameters=Small(), algorithm=algorithm, **asked)


def birds(n=80):
    """Returns the rows of a table with numbers, categories, dates and missing cells, without its header."""
    draw = np.random.default_rng(0)
    lines = []
    for row in range(n):
        mass = "" if row % 9 == 3 else f"{3000 + 400 * (row % 3) + draw.integers(300)}"
        island = ("biscoe", "dream", "torgersen", "")[draw.integers(4)]
        lines.append([f"b{row}", mass, island, f"2020-01-{1 + row % 28:02}", SPECIES[row % 3], f"{row / 7 + 100:.3f}"])
    return lines


HEADER = ["bird", "mass", "island", "seen", "species", "length"]


def write(path, lines, header=HEADER, *, without=()):
    kept = [place for place, name in enumerate(header) if name not in without]
    rows = [",".join(line[place] for place in kept) for line in [header, *lines]]
    path.write_text("\n".join(rows) + "\n")
    return path


def recorded(made, dataset, folder, *, seeds=(0, 1, 2), **asked):
    """Returns the record of a run, and the outcome that it evaluated."""
    recording.record(made, made.hyperparameters, dataset, seeds=seeds, directory=folder / "run", **asked)
    return records.read_run(folder / "run", experiment=made, cipher=asked.get("cipher"))


def softmax(logits):
    return np.asarray(jax.nn.softmax(np.asarray(logits, np.float32), axis=-1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def table(folder):
    """A run on a deleted table, its dataset, and its rows without targets in a different order."""
    path = write(folder / "birds.csv", birds(), without=("length",))
    collected = data.load(str(path), target="species", types={"bird": "drop"})
    made = experiment(classifier)
    dataset = made.prepare(collected)
    run = recorded(made, dataset, folder)
    path.unlink()
    order = [3, 5, 1, 0, 2]  # seen, length, mass, bird, island
    lines = [[line[place] for place in order] for line in birds()]
    new = write(folder / "new.csv", lines, [HEADER[place] for place in order])
    return run, dataset, new


def test_predictions_of_a_table_are_those_of_the_evaluation(table):
    run, dataset, new = table
    whole = run.predict(new)
    assert whole.class_names == SPECIES and not whole.scores and whole.columns.keys() == {"bird", "length"}
    assert whole.columns["bird"][:2] == ["b0", "b1"] and whole.by_seed.shape == (3, 80, 3)
    # The rows of the test part, located by their features.
    rows = run.model.prepared(new).test["inputs"]
    places = [int(np.flatnonzero((rows == features).all(axis=1))[0]) for features in dataset.test["inputs"]]
    outputs = execution.predict(run.experiment, run.experiment.hyperparameters, dataset, run.state)
    np.testing.assert_array_equal(
        execution.predictions(outputs, dataset.card, seeds=run.seeds).by_seed, whole.by_seed[:, places]
    )
    for place, seed in enumerate(run.seeds):
        of_seed = jax.tree.map(lambda leaf, place=place: leaf[place], run.state)
        direct = run.model.algorithm(place).predict(of_seed, dataset.test["inputs"])
        np.testing.assert_allclose(whole.by_seed[place, places], softmax(direct), atol=1e-6)  # in different batch sizes
        accuracy = (whole.by_seed[place, places].argmax(axis=-1) == dataset.test["targets"]).mean()
        assert accuracy == pytest.approx(run.values("test/accuracy")[seed], abs=1e-6)


def test_the_ensemble_averages_seeds_and_is_scored_separately(table, tmp_path):
    run, _, _ = table
    labelled = run.predict(write(tmp_path / "labelled.csv", birds()))
    np.testing.assert_allclose(labelled.ensemble, labelled.by_seed.mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(labelled.spread, labelled.by_seed.std(axis=0, ddof=1), rtol=1e-12)
    true = np.array([SPECIES.index(line[4]) for line in birds()])
    chosen = labelled.ensemble.argmax(axis=-1)
    assert labelled.labels.tolist() == [SPECIES[place] for place in chosen]
    assert labelled.scores["ensemble"]["accuracy"] == pytest.approx((chosen == true).mean(), abs=1e-6)
    log_loss = -np.log(labelled.ensemble[np.arange(80), true]).mean()
    assert labelled.scores["ensemble"]["log_loss"] == pytest.approx(log_loss, rel=1e-5)
    alone = [(one.argmax(axis=-1) == true).mean() for one in labelled.by_seed]
    assert labelled.scores["seeds"]["accuracy"] == pytest.approx(alone, abs=1e-6)
    one = run.predict({name: [cell] for name, cell in zip(HEADER, birds()[0], strict=True)}, seeds=[1])
    np.testing.assert_array_equal(one.by_seed[0], labelled.by_seed[1, :1])
    assert np.isnan(one.spread).all() and one.seeds == (1,)


def test_values_unseen_in_training_are_unknown_and_noted(table):
    run, _, _ = table
    held = {"mass": ["3100"] * 4, "island": ["atlantis", "", "NA", "dream"], "seen": ["2020-01-05"] * 3 + [""]}
    made = run.predict(held)
    np.testing.assert_array_equal(made.by_seed[:, 0], made.by_seed[:, 1])  # unknown, as a missing one
    np.testing.assert_array_equal(made.by_seed[:, 0], made.by_seed[:, 2])
    assert made.notes == (
        "column island has 1 cell with a category unseen in training, such as 'atlantis' in row 1: treated as missing",
        "column seen has 1 cell empty, but had none in training",
    )


REFUSED = {
    "a column": (
        "mas,island,seen\n1,dream,2020-01-01\n",
        "must have the columns .*, got no 'mass'. Did you mean 'mas'?",
    ),
    "a unit": (
        "mass,island,seen\n$5,dream,2020-01-01\n",
        "column mass must be without a unit, as in training, got numbers in",
    ),
    "a number": ("mass,island,seen\nlight,dream,2020-01-01\n", "column mass must hold numbers.*, got 'light' in row 1"),
    "a date": (
        "mass,island,seen\n5,dream,1 May 2020\n",
        "column seen must be dates written as YYYY-MM-DD, got '1 May 2020'",
    ),
    "a class": (
        "mass,island,seen,species\n5,dream,2020-01-01,emu\n",
        "species must be one of the classes adelie.*, got 'emu'",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_rows_of_another_form_are_refused_by_name(table, tmp_path, what):
    content, message = REFUSED[what]
    (tmp_path / "new.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        table[0].predict(tmp_path / "new.csv")


def test_values_are_in_the_units_of_the_target(folder, tmp_path):
    path = write(tmp_path / "birds.csv", birds(), without=("bird", "species"))
    made = experiment(regressor, metric="test/r2")
    dataset = made.prepare(data.load(str(path), target="length"))
    run = recorded(made, dataset, tmp_path)
    outputs = execution.predict(made, made.hyperparameters, dataset, run.state)
    whole = run.predict(path)
    lengths = np.array([float(line[5]) for line in birds()])
    error = np.abs(whole.ensemble[:, 0] - lengths).mean()
    assert whole.scores["ensemble"]["mean_absolute_error"] == pytest.approx(error, rel=1e-6)
    assert 100 < whole.ensemble.mean() < 112 and outputs.mean() == pytest.approx(whole.ensemble.mean(), abs=1)
    assert "was read by the run" in whole.notes[0]


@pytest.fixture(scope="module")
def images(folder):
    """Averaged weights and batch statistics, trained on images in folds."""
    draw = np.random.default_rng(0)
    inputs, targets = draw.integers(0, 256, (60, 4, 4, 1)).astype(np.uint8), np.arange(60) % 2
    np.savez(folder / "images.npz", x=inputs, y=targets)
    return data.load(str(folder / "images.npz")), inputs, targets


@pytest.mark.parametrize("decay", [None, 0.5], ids=["last", "averaged"])
@pytest.mark.parametrize("n_folds", [0, 3])
def test_predictions_of_images_are_those_of_the_evaluation(images, tmp_path, n_folds, decay):
    collected, inputs, targets = images
    made = experiment(functools.partial(classifier, decay=decay))
    dataset = made.prepare(collected)
    if n_folds:
        folds = [made.prepare(data.fold(collected, place, n_folds=n_folds)) for place in range(n_folds)]
        dataset = data.stacked(folds)
    run = recorded(made, dataset, tmp_path, seeds=range(3))
    outputs = execution.predict(made, made.hyperparameters, dataset, run.state)
    predicted = run.predict(inputs)
    assert run.params["Dense_0"]["kernel"].shape == (3, 16, 8)
    for place in range(3):
        test = dataset.of_run(place).test["inputs"]
        found = [int(np.flatnonzero((inputs == image).all(axis=(1, 2, 3)))[0]) for image in test]
        of_test = execution.predictions(outputs, dataset.card, seeds=run.seeds).by_seed[place]
        np.testing.assert_array_equal(predicted.by_seed[place, found], of_test)
        accuracy = (of_test.argmax(axis=-1) == targets[found]).mean()
        assert accuracy == pytest.approx(run.values("test/accuracy")[place], abs=1e-6)
    np.testing.assert_array_equal(run.predict(inputs[..., 0]).by_seed, predicted.by_seed)
    with pytest.raises(ValueError, match="^inputs must be uint8, as in training, got float64. Convert them."):
        run.predict(inputs / 255)
    with pytest.raises(
        ValueError, match=r"^inputs must be of shape \(n, 4, 4, 1\), as in training, got \(n, 4, 5, 1\)."
    ):
        run.predict(np.zeros((2, 4, 5, 1), np.uint8))
    with pytest.raises(ValueError, match="^rows must hold an array .*, as the training data did, got a table."):
        run.predict({"a": [1]})


def test_columns_are_a_tree_as_in_training(tmp_path):
    """A preprocessor may map over them; what it looks up and the rows lack is named, and other mistakes stay KeyErrors."""

    def apply(fitted, part, *, training):
        columns = jax.tree.map(lambda values: np.nan_to_num(values).astype(np.float32), part["inputs"])
        return {**part, "inputs": np.stack([columns[name] for name in asked], axis=1)}

    path = write(tmp_path / "birds.csv", birds(), without=("bird", "island", "seen"))
    made = experiment(classifier, preprocess=data.Preprocessor(apply=apply))
    asked = ["length", "mass"]
    run = recorded(made, made.prepare(data.load(str(path), target="species")), tmp_path)
    assert run.predict(path).by_seed.shape == (3, 80, 3)
    asked[0] = "height"
    with pytest.raises(KeyError, match="^'height'$"):
        run.predict(path)


def test_folds_keep_what_was_fitted_to_each(tmp_path):
    path = write(tmp_path / "birds.csv", birds(), without=("bird", "species"))
    made, collected = experiment(regressor, metric="test/r2"), data.load(str(path), target="length")
    folds = [made.prepare(data.fold(collected, place, n_folds=4)) for place in range(4)]
    run = recorded(made, data.stacked(folds), tmp_path, seeds=range(4))
    outputs = execution.predict(made, made.hyperparameters, data.stacked(folds), run.state)
    predicted = run.predict(path)
    lengths = np.array([float(line[5]) for line in birds()])
    assert len({float(fold.fitted["targets"]["mean"].item()) for fold in folds}) == 4
    for place, fold in enumerate(folds):
        raw = data.standard.invert(fold.fitted, np.asarray(fold.test["targets"]))[:, 0]
        found = [int(np.argmin(abs(lengths - length))) for length in raw]
        np.testing.assert_array_equal(predicted.by_seed[place, found], outputs[place, : len(found)])


@pytest.mark.parametrize("n_folds", [0, 3])
def test_predictions_of_texts_are_those_of_the_evaluation(tmp_path, n_folds):
    words = ["the ion binds", "a protein moves", "an ion channel opens", "cells of the membrane"]
    texts = [f"{words[row % 4]} {'abcdefgh'[row % 8]} x{row % 5} in place number {row}" for row in range(64)]
    lines = [[words, "mf" if row % 2 else "cc"] for row, words in enumerate(texts)]
    path = write(tmp_path / "terms.csv", lines, ["definition", "branch"])
    collected = data.load(str(path), target="branch", types={"definition": "text"})
    made = experiment(bag, preprocess=text.word_ids("definition", n_most=20, length=8))
    dataset = made.prepare(collected)
    if n_folds:
        dataset = data.stacked([made.prepare(data.fold(collected, place, n_folds=n_folds)) for place in range(n_folds)])
    run = recorded(made, dataset, tmp_path)
    outputs = execution.predict(made, made.hyperparameters, dataset, run.state)
    predicted = run.predict({"definition": [line[0] for line in lines]})
    for place in range(3):
        ids = run.model.prepared({"definition": [line[0] for line in lines]}).of_run(place).test["inputs"]
        test = dataset.of_run(place).test["inputs"]
        found = [int(np.flatnonzero((ids == row).all(axis=1))[0]) for row in test]
        of_test = execution.predictions(outputs, dataset.card, seeds=run.seeds).by_seed[place]
        np.testing.assert_array_equal(predicted.by_seed[place, found], of_test)
    with pytest.raises(ValueError, match="^data must have the column definition|got no 'definition'"):
        run.predict({"note": ["the ion"]})


def test_an_encrypted_run_needs_its_key(images, tmp_path):
    from jaxresearch.records.encryption import Cipher

    cipher, made = Cipher(os.urandom(32)), experiment(classifier)
    run = recorded(made, made.prepare(images[0]), tmp_path, cipher=cipher, seeds=(0,))
    assert run.predict(images[1]).by_seed.shape == (1, 60, 2)
    with pytest.raises(ValueError, match="fitted.npz.sealed is encrypted. Pass its key: --encrypt-with KEYFILE"):
        records.read_run(tmp_path / "run", experiment=made).predict(images[1])
    with pytest.raises(ValueError, match="fitted.npz was altered, or encrypted with another key"):
        records.read_run(tmp_path / "run", experiment=made, cipher=Cipher(bytes(32))).predict(images[1])


def test_what_preprocessing_fitted_is_verified(table, tmp_path, flip_a_bit):
    run, _, new = table
    shutil.copytree(run.path, tmp_path / "run")
    with np.load(tmp_path / "run" / records.FITTED) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(tmp_path / "run" / records.FITTED, **{**arrays, '["inputs", "mass", "mean"]': np.array(1.0)})
    copy = records.read_run(tmp_path / "run", experiment=run.experiment)
    with pytest.raises(ValueError, match="fitted.npz was altered: its SHA-256 does not match. Restore it."):
        copy.predict(new)
    np.savez(tmp_path / "run" / records.FITTED, **arrays)
    flip_a_bit(tmp_path / "run" / "checkpoints" / str(max(map(int, os.listdir(tmp_path / "run" / "checkpoints")))))
    with pytest.raises(ValueError, match="no checkpoint of .* can be used: .* is altered. Restore it from a copy."):
        copy.predict(new)
    assert not (tmp_path / "run" / "quarantine").exists()  # the directory is unchanged


def test_seeds_that_diverged_have_no_predictions(table):
    run, _, new = table
    model = run.model._replace(diverged=(1,))
    with pytest.raises(ValueError, match="^seeds must not have diverged to predict, got 1. Leave it out: --seeds 0,2"):
        model.predict(new)
    np.testing.assert_array_equal(model.predict(new, seeds=[0, 2]).by_seed, run.predict(new, seeds=[0, 2]).by_seed)


def test_an_unfinished_run_predicts_only_if_asked(images, tmp_path):
    made = experiment(functools.partial(classifier, decay=0.9))
    dataset = made.prepare(images[0])
    recorded(made, dataset, tmp_path, seeds=(0, 1))
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(
        ValueError,
        match="the run in .* must have ended, got an unfinished one. Resume it: .*, or use its newest ",
    ):
        records.read_ensemble(tmp_path / "run", experiment=made)
    # The intermediate state, where the average does not yet replace the parameters.
    like = execution.blank_state(made, made.hyperparameters, dataset, n_runs=2)
    checkpoints = records.Checkpoints(tmp_path / "run")
    final = checkpoints.read(like)
    about = {"fitted": final.about["fitted"]}
    on_the_way = final.state._replace(inner=jax.tree.map(np.zeros_like, final.state.inner))
    checkpoints.write(final.step + 1, on_the_way, about=about)
    ensemble = records.read_ensemble(tmp_path / "run", experiment=made, unfinished=True)
    assert ensemble.step == final.step + 1
    for averaged, used in zip(
        jax.tree.leaves(final.state.average[0].params), jax.tree.leaves(ensemble.params), strict=True
    ):
        np.testing.assert_array_equal(averaged, used)


def test_an_algorithm_without_predict_is_refused_by_name(table):
    def blind(h, card, plan, fitted):
        return classifier(h, card, plan, fitted)._replace(predict=None)

    run, _, new = table
    model = run.model._replace(experiment=dataclasses.replace(run.experiment, algorithm=blind))
    with pytest.raises(
        ValueError,
        match="^algorithm must have predict to use its models, got .*blind without it. Write: algorithm._replace",
    ):
        model.predict(new)


def test_a_card_of_a_record_is_the_card_that_was_written(table):
    run, dataset, _ = table
    assert records.card_of(json.loads((run.path / "config.json").read_text())["data_card"]) == dataset.card
    assert dataset.card.feature_dtype == "float32"


# Calls artefacts in a process without this package: only JAX, NumPy and the schema beside the file.
CALLER = """
import hashlib, json, pathlib, sys
import jax, numpy as np
folder = pathlib.Path(sys.argv[1])
for file in sorted(folder.glob("*.stablehlo")):
    schema = json.loads((folder / f"{file.name}.json").read_text())
    content = file.read_bytes()
    assert hashlib.sha256(content).hexdigest() == schema["sha256"]
    given = np.load(folder / f"{file.stem}.npz")
    columns = schema["inputs"].get("columns")
    inputs = {one["name"]: given[one["name"]] for one in columns} if columns else given["inputs"]
    outputs = jax.export.deserialize(bytearray(content)).call(inputs)
    np.savez(folder / f"{file.stem}.out.npz", **outputs)
assert not any(name.split(".")[0] == "jaxresearch" for name in sys.modules)
"""


def exported(folder, model, name, inputs):
    """Writes the artefact of an ensemble and the inputs that it is called with; returns its schema."""
    beside = records.write_export(records.stablehlo(model), folder / f"{name}.stablehlo")
    np.savez(folder / f"{name}.npz", **inputs)
    return json.loads(beside.read_text())


@pytest.fixture(scope="module")
def artefacts(table, images, folder):
    """Artefacts of runs of all kinds, called in another process: the predictions of the run and of the artefact, by name."""
    out, (run, _, new), (collected, pixels, _) = folder / "out", table, images
    out.mkdir()
    rows = data.new_rows(new, run.model.dataset.card)
    typed = {name: values.astype(np.int32 if name == "island" else np.float32) for name, values in rows.inputs.items()}
    expected, schemas = {"table": run.predict(new)}, {"table": exported(out, run.model, "table", typed)}
    made = experiment(functools.partial(classifier, decay=0.5))
    folds = data.stacked([made.prepare(data.fold(collected, place, n_folds=3)) for place in range(3)])
    run = recorded(made, folds, out / "images")
    expected["images"], schemas["images"] = run.predict(pixels), exported(out, run.model, "images", {"inputs": pixels})
    path = write(out / "lengths.csv", birds(), without=("bird", "species"))
    made, collected = experiment(regressor, metric="test/r2"), data.load(str(path), target="length")
    folds = data.stacked([made.prepare(data.fold(collected, place, n_folds=3)) for place in range(3)])
    run = recorded(made, folds, out / "values")
    expected["values"], schemas["values"] = run.predict(path), exported(out, run.model, "values", typed)
    done = subprocess.run([sys.executable, "-c", CALLER, str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: (expected[name], np.load(out / f"{name}.out.npz"), schemas[name]) for name in expected}


@pytest.mark.parametrize("name", ["table", "images", "values"])
def test_an_artefact_gives_what_the_run_predicts(artefacts, name):
    expected, found, schema = artefacts[name]
    what = "values" if name == "values" else "probabilities"
    scale = expected.ensemble.std()  # values are of float32: 1e-7 of a hundred
    np.testing.assert_allclose(found[what], expected.ensemble, atol=1e-5 * scale, rtol=1e-5)
    np.testing.assert_allclose(found["spread"], expected.spread, atol=1e-4 * scale)
    assert schema["platforms"] == ["cpu", "cuda", "tpu"] and schema["class_names"] == [*expected.class_names]
    assert schema["outputs"][what] == {"shape": ["n", expected.ensemble.shape[1]], "dtype": "float32"}


def test_a_schema_describes_how_words_are_encoded(artefacts):
    columns = {column["name"]: column for column in artefacts["table"][2]["inputs"]["columns"]}
    assert columns["island"]["levels"] == ["biscoe", "dream", "torgersen"] and columns["island"]["missing"] == -1
    assert columns["seen"]["unit"] == "days since 1970-01-01" and columns["mass"]["missing"] == "nan"
    assert artefacts["images"][2]["inputs"] == {"array": {"shape": ["n", 4, 4, 1], "dtype": "uint8"}, "prepared": False}


def test_texts_are_prepared_outside_of_an_artefact(tmp_path):
    lines = [[f"an ion {'abcdefgh'[row % 8]} number {row}", "mf" if row % 2 else "cc"] for row in range(48)]
    path = write(tmp_path / "terms.csv", lines, ["definition", "branch"])
    collected = data.load(str(path), target="branch", types={"definition": "text"})
    made = experiment(bag, preprocess=text.word_ids("definition", n_most=20, length=8))
    run = recorded(made, made.prepare(collected), tmp_path, seeds=(0, 1))
    artefact = records.stablehlo(run.model)
    described = artefact.schema["inputs"]
    assert described["prepared"] and described["array"] == {"shape": ["n", 8], "dtype": "int32"}
    assert described["vocabulary"] == run.model.dataset.card.vocabulary
    ids = run.model.prepared(path).test["inputs"]
    found = jax.export.deserialize(bytearray(artefact.content)).call(ids)["probabilities"]
    np.testing.assert_allclose(found, run.predict(path).ensemble, atol=1e-6)
    # Each fold encodes words differently, so one encoding can only serve one fold.
    folds = [made.prepare(data.fold(collected, place, n_folds=2)) for place in range(2)]
    (tmp_path / "folds").mkdir()
    run = recorded(made, data.stacked(folds), tmp_path / "folds", seeds=(0, 1))
    with pytest.raises(
        ValueError, match="^folds must share their preprocessing to be exported together, got 2 .* --seeds 0"
    ):
        records.stablehlo(run.model)
    found = jax.export.deserialize(bytearray(records.stablehlo(run.model, seeds=[1]).content))
    ids = run.model.prepared(path).of_run(1).test["inputs"]
    np.testing.assert_allclose(found.call(ids)["probabilities"], run.predict(path).by_seed[1], atol=1e-6)


def test_logarithms_in_the_preprocessing_are_exported(tmp_path):
    """The function is compared on positive numbers, where nothing is known about the columns."""

    def apply(fitted, part, *, training):
        xp = part["inputs"]["mass"].__array_namespace__()
        logs = [xp.log(xp.where(xp.isnan(column), 3500.0, column)) for column in part["inputs"].values()]
        return {**part, "inputs": xp.stack(logs, axis=1).astype(np.float32)}

    path = write(tmp_path / "birds.csv", birds(), without=("bird", "island", "seen"))
    made = experiment(classifier, preprocess=data.Preprocessor(apply=apply))
    run = recorded(made, made.prepare(data.load(str(path), target="species")), tmp_path)
    artefact = records.stablehlo(run.model)
    assert [column["name"] for column in artefact.schema["inputs"]["columns"]] == ["mass", "length"]
    columns = data.new_rows(path, run.model.dataset.card).inputs
    given = {name: values.astype(np.float32) for name, values in columns.items()}
    found = jax.export.deserialize(bytearray(artefact.content)).call(given)["probabilities"]
    np.testing.assert_allclose(found, run.predict(path).ensemble, atol=1e-5)


def test_a_target_that_float32_cannot_hold_is_not_exported(tmp_path):
    seconds = [[*line[:5], f"{1_600_000_000 + row}"] for row, line in enumerate(birds())]
    path = write(tmp_path / "late.csv", seconds, without=("bird", "species"))
    made = experiment(regressor, metric="test/r2")
    run = recorded(made, made.prepare(data.load(str(path), target="length")), tmp_path, seeds=(0,))
    assert run.predict(path).ensemble.mean() == pytest.approx(1_600_000_040, abs=40)
    with pytest.raises(
        ValueError, match="^an exported function must reproduce the run's predictions, got .* for 1.6e.09"
    ):
        records.stablehlo(run.model)


def test_inputs_that_float32_cannot_hold_are_not_exported(tmp_path):
    """Seconds since 1970, of which float32 keeps every 128th: a row of missing cells does not show it."""
    lines = [[f"{1_600_000_000 + row}", f"{row / 7}"] for row in range(80)]
    path = write(tmp_path / "late.csv", lines, ["when", "length"])
    made = experiment(regressor, metric="test/r2")
    run = recorded(made, made.prepare(data.load(str(path), target="length")), tmp_path, seeds=(0,))
    with pytest.raises(
        ValueError, match="^an exported function must .*, got values .*: float32 has too few digits for"
    ):
        records.stablehlo(run.model)


def test_a_spread_of_another_formula_is_not_exported(table, monkeypatch):
    deviation = jax.numpy.std
    monkeypatch.setattr(jax.numpy, "std", lambda values, axis, ddof: 2 * deviation(values, axis=axis, ddof=ddof))
    with pytest.raises(
        ValueError, match="^an exported function must reproduce the run.s predictions, got spread .* for "
    ):
        records.stablehlo(table[0].model)


def test_arrays_are_exported_by_their_paths(images, tmp_path):
    from safetensors.numpy import load

    made = experiment(functools.partial(classifier, decay=0.5))
    run = recorded(made, made.prepare(images[0]), tmp_path)
    artefact = records.safetensors(run.model, seeds=[2, 0])
    arrays = load(artefact.content)
    np.testing.assert_array_equal(arrays["params/Dense_0/kernel"], run.params["Dense_0"]["kernel"][[2, 0]])
    average = run.state.average[0]
    statistics = jax.tree.leaves(average.model_state)
    saved = [array for name, array in sorted(arrays.items()) if name.startswith("model_state/")]
    assert len(saved) == len(statistics) == 2
    for array, expected in zip(saved, statistics, strict=True):
        np.testing.assert_array_equal(array, expected[[2, 0]])
    assert artefact.schema["seeds"] == [2, 0] and artefact.schema["tensors"].keys() == arrays.keys()


def test_every_network_of_a_state_is_exported(images, tmp_path):
    """Two, as of a GAN, whose averages are those that are evaluated; not the copies that wrappers keep."""
    from safetensors.numpy import load

    def algorithm(*args):
        made = classifier(*args)

        def init(key):
            return {name: made.init(own) for name, own in zip("ab", jax.random.split(key), strict=True)}

        def step(state, batch, key):
            (a, metrics), (b, _) = (made.step(state[name], batch, key) for name in "ab")
            return {"a": a, "b": b}, metrics

        evaluate = lambda state, batch, key: made.evaluate(state["a"], batch, key)  # noqa: E731
        both = training.Algorithm(init, step, evaluate, lambda state, inputs: made.predict(state["b"], inputs))
        return algorithms.averaged(both, decay=0.5)

    made = experiment(algorithm)
    run = recorded(made, made.prepare(images[0]), tmp_path, seeds=(0, 1))
    arrays = load(records.safetensors(run.model).content)
    for place, name in enumerate("ab"):
        part = run.state.inner[name]
        np.testing.assert_array_equal(arrays[f"params/{place}/Dense_0/kernel"], part.params["Dense_0"]["kernel"])
        assert len([one for one in arrays if one.startswith(f"model_state/{place}/")]) == 2
    assert len({name.split("/")[1] for name in arrays if name.startswith("params/")}) == 2
    assert not np.array_equal(arrays["params/0/Dense_0/kernel"], arrays["params/1/Dense_0/kernel"])
