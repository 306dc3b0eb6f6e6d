"""Every kind of data in every command that trains: split as requested, fitted on training rows alone, in its own units.

What a command fits is compared with NumPy on the raw rows, which each kind of data can identify.
"""

import contextlib
import csv
import datetime
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from jaxresearch import data
from jaxresearch.experiment import Experiment
from jaxresearch.fields import dna

pytestmark = pytest.mark.long

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
N, N_TEST = 80, 16
ODD = 67  # a row with a unique level, or the longest sequence; among the last in the file and the latest
EMPTY = 3  # a row with a missing cell

AREAS = np.array([50.0 + 37 * i % 101 for i in range(N)])
DAYS = np.array([37 * i % N for i in range(N)])  # row 67 is the latest
PATIENTS = np.arange(N) // 4
COLOURS = np.array(["teal" if i == ODD else ("blue", "red")[i % 2] for i in range(N)])
PRICES = 150_000.5 + 1_500 * AREAS + 90 * np.arange(N)
KINDS_OF_ROWS = np.array(["ab"[i % 2] for i in range(N)])
DEFINITIONS = [f"word{i} common {'alpha binding' if i % 2 else 'beta transport'} word{i // 3}x" for i in range(N)]
_LETTERS = ["".join("ACGT"[i // 4**k % 4] for k in range(4)) for i in range(N)]
SEQUENCES = [_LETTERS[i] + "ACGTTGCA"[i % 5 :] * 20 for i in range(N)]
SEQUENCES = [one[: 60 if i == ODD else 24 + i % 19] for i, one in enumerate(SEQUENCES)]
GENOME = "".join(SEQUENCES)

STUDIED = """
import dataclasses
from jaxresearch import adjust, loading

plain = loading.load({path!r})
experiment = dataclasses.replace(plain, adjust=adjust.grid(learning_rate=[0.02, 0.03]))
"""
VALUES = """
import functools, json
import jax.numpy as jnp
import numpy as np
from jaxresearch import adjust, data, execution, losses, metrics, models, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

@hyperparameters
class Values:
    learning_rate: float = swept(0.1, "step size", above=0)
    batch_size: int = static(0, "examples per step; 0: all", at_least=0)
    epochs: int = static(400, "passes over the data", at_least=1)

def algorithm(h, card, plan, fitted):
    def init(key):
        return {"weights": jnp.zeros((card.n_features, 1)), "bias": jnp.zeros((1, 1))}, {}

    def apply(params, model_state, inputs, key=None):
        return inputs @ params["weights"] + params["bias"], model_state

    return training.supervised(
        models.Model(init, apply), losses.half_squared_error, optimizer=training.gradient_descent(h.learning_rate),
        metrics={"rmse": metrics.root_mean_squared_error()}, estimator=plan.estimator,
        invert=functools.partial(data.standard.invert, fitted),
    )

def report(h, state, collected, dataset):
    return json.dumps(execution.predict(experiment, h, dataset, state)[..., 0].tolist())

experiment = Experiment(
    question="What is it worth?", claim=Claim(text="to 1,000 USD", metric="test/rmse", about="these examples", at_most=1000.0),
    hyperparameters=Values(), source="sales.csv", target="price", algorithm=algorithm, report=report,
    adjust=adjust.grid(learning_rate=[1e-29]),
)
"""


def table(path, **columns):
    """Writes a table with a group and a date in each row."""
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(int(day)) for day in DAYS]
    columns = {**columns, "patient": [f"p{i}" for i in PATIENTS], "day": days}
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join(",".join(map(str, row)) for row in (columns, *rows)) + "\n")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with small files of every kind."""
    folder = tmp_path_factory.mktemp("kinds")
    areas = ["" if i == EMPTY else area for i, area in enumerate(AREAS)]
    rows = {"row": range(N), "area": areas, "colour": COLOURS}
    table(folder / "sales.csv", **rows, price=PRICES)
    table(folder / "later.csv", **{**rows, "colour": ["pink" if i < 2 else "red" for i in range(N)]}, price=PRICES + 1)
    table(folder / "kinds.csv", **rows, kind=KINDS_OF_ROWS)
    texts = ["" if i == EMPTY else text for i, text in enumerate(DEFINITIONS)]
    table(folder / "texts.csv", definition=texts, kind=KINDS_OF_ROWS)
    table(folder / "dna.csv", sequence=SEQUENCES, kind=KINDS_OF_ROWS)
    for i in range(N):
        pixels = np.full((8, 8), 100 + i, np.uint8)
        pixels[0, 0] = i
        (folder / "pictures" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "pictures" / "ab"[i % 2] / f"{i:03}.png")
    (folder / "genome.fa").write_text(f">one\n{GENOME}\n>short\nACGT\n")
    (folder / "values.py").write_text(VALUES)
    return folder


def rows_of_column(part):
    return part["inputs"]["row"].astype(int).tolist()


def rows_of_text(part):
    found = [re.match(r"word(\d+) ", text) for text in part["inputs"]["definition"]]
    return [int(one[1]) if one else EMPTY for one in found]


def rows_of_dna(part):
    return [_LETTERS.index(str(sequence)[:4]) for sequence in part["inputs"]["sequence"]]


def rows_of_pictures(part):
    return part["inputs"][:, 0, 0, 0].astype(int).tolist()


def scales(values):
    return {"mean": np.mean(values), "scale": np.std(values)}


def by_hand_of_columns(rows):
    """Returns the expected estimates of `data.standard`, from the raw table alone."""
    areas = np.where(np.array(rows) == EMPTY, np.nan, AREAS[rows])
    median = np.nanmedian(areas)
    known = [level in COLOURS[rows] for level in ("blue", "red", "teal")]
    of_area = {"median": median, **scales(np.where(np.isnan(areas), median, areas)), "has_missing": True}
    of_row = {"median": np.median(rows), **scales(rows), "has_missing": False}
    return {"inputs": {"row": of_row, "area": of_area, "colour": {"is_known": known}}}


def by_hand_of_sales(rows):
    return {**by_hand_of_columns(rows), "targets": scales(PRICES[rows])}


def by_hand_of_texts(rows):
    counts = Counter(word for i in rows if i != EMPTY for word in DEFINITIONS[i].split())
    return {"words": sorted(counts, key=lambda word: (-counts[word], word))}


def by_hand_of_dna(rows):
    return {"length": -(-max(len(SEQUENCES[i]) for i in rows) // 3) * 3}


def by_hand_of_pictures(rows):
    return {"inputs": {}}


class Kind(NamedTuple):
    """A kind of data: its experiment, its options, its rows, and what is fitted to some of them."""

    experiment: str
    words: str
    rows: Callable[..., list[int]]
    by_hand: Callable[..., dict]


SMALL = "--batch-size 20 --width 4 --n-layers 1 --n-heads 1 --n-members 1"
KINDS = {
    "sales": Kind("house_prices", "--data sales.csv --target price --features all", rows_of_column, by_hand_of_sales),
    "classes": Kind("mnist", "--data kinds.csv --target kind --hidden 4", rows_of_column, by_hand_of_columns),
    "pictures": Kind("mnist", "--data pictures --hidden 4", rows_of_pictures, by_hand_of_pictures),
    "texts": Kind("abstract_sorting", "--data texts.csv --target kind --batch-size 20", rows_of_text, by_hand_of_texts),
    "dna": Kind("genome", f"--data dna.csv --target kind {SMALL}", rows_of_dna, by_hand_of_dna),
}
COMMANDS = {
    "run": ("run", "--smoke --seeds 1"),
    "folds": ("run", "--folds 4 --epochs 1"),
    "sweep": ("sweep", "--smoke --seeds 1 --learning-rate 0.01,0.02"),
    "study": ("study", "--seeds 1 --fresh-seeds 1 --rounds 2 --epochs 1"),
}
RULES = {
    "class": "",
    "group": "--group patient",
    "time": "--time day",
    "stretch": "--contiguous",
}


class Call(NamedTuple):
    """A call of an experiment's preprocessor, and its result."""

    collected: data.Dataset
    made: data.Dataset


@pytest.fixture
def prepared(monkeypatch):
    """All calls of a preprocessor."""
    calls, plain = [], Experiment.prepare

    def prepare(self, collected):
        calls.append(Call(collected, plain(self, collected)))
        return calls[-1].made

    monkeypatch.setattr(Experiment, "prepare", prepare)
    return calls


@pytest.fixture
def carry_out(command, written, prepared, tmp_path):
    """Runs a command on a kind of data with a split rule; its directory is ``out``."""

    def carry_out(kind, asked, rule="class", *more):
        name, words = COMMANDS[asked]
        experiment = EXPERIMENTS / f"{KINDS[kind].experiment}.py"
        if asked == "study":
            (tmp_path / "studied.py").write_text(STUDIED.format(path=str(experiment)))
            experiment = tmp_path / "studied.py"
        asked_for = f"{KINDS[kind].words} {words} {RULES[rule]}".split()
        return command(name, experiment, *asked_for, *more, "--directory", tmp_path / "out", cwd=written)

    return carry_out


def read(path):
    return json.loads(path.read_text())


def assert_fitted(fitted, expected):
    """Asserts that the fitted values equal those computed by hand, entry by entry."""
    for name, entry in expected.items():
        if isinstance(entry, dict):
            assert_fitted(fitted[name], entry)
        elif name == "words":
            assert fitted[name].tolist() == entry
        else:
            np.testing.assert_allclose(np.squeeze(fitted[name]), entry, rtol=1e-12)  # both in float64


def assert_divided(kind, rule, call):
    """Asserts that two parts follow the rule that split them; returns their rows."""
    train, test = (KINDS[kind].rows(part) for part in (call.collected.train, call.collected.test))
    assert train and test and not {*train} & {*test}
    if rule == "group":
        assert not {*PATIENTS[train]} & {*PATIENTS[test]}
    if rule == "time":
        assert DAYS[train].max() < DAYS[test].min()
    if rule == "stretch":
        order = [*range(0, N, 2), *range(1, N, 2)] if kind == "pictures" else [*range(N)]  # of files, class by class
        places = [order.index(row) for row in (*train, *test)]
        assert places == sorted(places)
    return train, test


GRID = [
    pytest.param(kind, asked, rule, marks=[] if asked == "run" and kind != "dna" else pytest.mark.long)
    for kind in KINDS
    for asked in COMMANDS
    for rule in RULES
    if rule == "class" or (kind, rule) not in (("pictures", "group"), ("pictures", "time"))
    if asked == "run" or rule == "class" or (kind == "sales" and (asked, rule) != ("folds", "time"))
]


SIZES = {
    "texts": ("words", 64, 5002),
    "dna": ("length", 20, 66),
}  # depends on the fold; tokens per example, and in total


@pytest.mark.parametrize(("kind", "asked", "rule"), GRID)
def test_a_command_divides_as_asked_and_fits_training_rows_alone(carry_out, prepared, tmp_path, kind, asked, rule):
    done = carry_out(kind, asked, rule)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    config = read(tmp_path / "out" / "config.json")
    assert config["data_card"]["split"]["by"] == rule
    assert config["data_card"]["split"]["column"] == {"group": "patient", "time": "day"}.get(rule)
    divided = [
        assert_divided(kind, rule if asked != "folds" or rule == "group" else "class", call) for call in prepared
    ]
    for call, (train, _) in zip(prepared, divided, strict=True):
        assert_fitted(call.made.fitted, KINDS[kind].by_hand(train))
    seen = [{*train} | {*test} for train, test in divided]
    if asked == "run":
        assert seen == [{*range(N)}] and config["parts"] == {"train": N - N_TEST, "test": N_TEST}
    if asked == "folds":
        assert len(divided) == 4 and sorted(row for _, test in divided for row in test) == [*range(N)]
    if asked == "sweep":
        assert len(seen) == 1 and len(seen[0]) == N - N_TEST and sum(config["parts"].values()) == N - N_TEST
        rows = [*csv.DictReader((tmp_path / "out" / "sweep.csv").read_text().splitlines())]
        rates = [row["learning_rate"] for row in rows if row["baseline"] == "False"]
        assert rates == ["0.01", "0.02"] and {row["diverged"] for row in rows} == {"False"}
    if asked == "study":
        *searched, (train, test) = divided  # the last is the final training, on all but the test part
        assert len(train) == N - N_TEST and len(test) == N_TEST and searched
        assert all({*one} | {*other} == {*train} for one, other in searched)
    if asked != "sweep":
        with np.load(tmp_path / "out" / "fitted.npz") as arrays:
            kept = data.nested(dict(arrays))
        of_runs = list(kept.values()) if asked == "folds" else [kept]
        for fitted, (train, _) in zip(of_runs, divided[-len(of_runs) :], strict=True):
            assert_fitted(fitted, KINDS[kind].by_hand(train))
        if asked == "folds" and kind in SIZES:  # still trained side by side
            name, *sizes = SIZES[kind]
            assert len({np.size(one[name]) if name == "words" else int(one[name]) for one in of_runs}) > 1
            assert [*config["data_card"]["feature_shape"], len(config["data_card"]["vocabulary"])] == sizes
        metrics = read(tmp_path / "out" / "result.json")["metrics"]
        assert np.isfinite([np.mean(one["values"]) for one in metrics.values()]).all()


def rmse_of_the_mean(call):
    """Returns the deviations of the test prices from the mean of the training prices, in USD."""
    train, test = (rows_of_column(part) for part in (call.collected.train, call.collected.test))
    return np.sqrt(np.mean((PRICES[test] - PRICES[train].mean()) ** 2))


UNITS = [
    pytest.param(asked, rule, marks=[] if asked == "run" else pytest.mark.long)
    for asked in COMMANDS
    for rule in RULES
    if (asked, rule) != ("folds", "time")
]


@pytest.mark.parametrize(("asked", "rule"), UNITS)
def test_metrics_of_a_regression_are_in_its_own_units(command, written, prepared, tmp_path, asked, rule):
    """Weights start at zero and their steps are negligible, so the prediction is the mean of the training rows."""
    name, words = {**COMMANDS, "sweep": ("sweep", "--smoke --seeds 1 --learning-rate 1e-30,2e-30")}[asked]
    more = [] if asked == "sweep" else ["--learning-rate", "1e-30"]
    words = f"values.py {words} {RULES[rule]}".split()
    done = command(name, *words, *more, "--directory", tmp_path / "out", cwd=written)
    assert done.returncode == 0, done.stderr
    if asked == "sweep":
        rows = csv.DictReader((tmp_path / "out" / "sweep.csv").read_text().splitlines())
        swept = [row for row in rows if row["baseline"] == "False"]
        measured, calls = [float(row["rmse"]) for row in swept], [prepared[0]] * 2
    else:
        measured = read(tmp_path / "out" / "result.json")["metrics"]["test/rmse"]["values"]
        calls = prepared if asked == "folds" else prepared[-1:]
    expected = [rmse_of_the_mean(call) for call in calls]
    np.testing.assert_allclose(measured, expected, rtol=1e-5)  # float32, of values near 200,000 as deviations of 50,000
    assert min(measured) > 10_000


def test_predictions_of_a_regression_are_in_its_own_units(command, written, prepared, tmp_path):
    done = command("run", "values.py", "--seeds", "1", "--directory", tmp_path / "out", cwd=written)
    assert done.returncode == 0, done.stderr
    (call,), result = prepared, read(tmp_path / "out" / "result.json")
    predicted, prices = np.array(json.loads(result["report"])), PRICES[rows_of_column(call.collected.test)]
    assert predicted.shape == (1, N_TEST)
    rmse = np.sqrt(np.mean((predicted[0] - prices) ** 2))
    np.testing.assert_allclose(result["metrics"]["test/rmse"]["values"], [rmse], rtol=1e-4)  # float32
    assert rmse < 0.05 * PRICES.std()


@pytest.mark.long
def test_a_level_that_a_fold_lacks_is_unknown_in_it(carry_out, prepared):
    done = carry_out("sales", "folds")
    for place, (collected, made) in enumerate(prepared):
        levels = [name.startswith("colour=") for name in made.card.feature_names]
        is_held_out = ODD in rows_of_column(collected.test)
        part, row = (
            ("test" if is_held_out else "train"),
            rows_of_column(collected.test if is_held_out else collected.train),
        )
        encoded = getattr(made, part)["inputs"][row.index(ODD)][levels]
        assert encoded.tolist() == [0, 0, 0 if is_held_out else 1]
        line = f"note: fold {place}: levels that no training example has are encoded as unknown: colour (1 of 3)"
        assert (line in done.stdout) == is_held_out
    assert "missing cells: 1 of area\n" in done.stdout and "folds: 4, drawn at random\n" in done.stdout


def test_a_level_of_a_second_table_is_unknown_with_a_note(carry_out, prepared):
    done = carry_out("sales", "run", "class", "--test", "later.csv")
    assert done.returncode == 0, done.stderr
    assert "note: levels that no training example has are encoded as unknown: colour (1 of 4)\n" in done.stdout
    assert "missing cells: 2 of area\n" in done.stdout and "data: sales: 80 training, 80 test examples" in done.stdout
    (call,) = prepared
    levels = [name.startswith("colour=") for name in call.made.card.feature_names]
    assert call.made.test["inputs"][:3, levels].sum(axis=1).tolist() == [0, 0, 1]


@pytest.mark.long
@pytest.mark.parametrize("asked", ["run", "folds", "sweep"])
def test_windows_of_a_genome_share_no_base_with_those_held_out(command, written, prepared, tmp_path, asked):
    name, words = COMMANDS[asked]
    words = f"--data genome.fa {SMALL} {words}".split()
    done = command(name, EXPERIMENTS / "genome.py", *words, "--directory", tmp_path / "out", cwd=written)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert len(prepared) == (4 if asked == "folds" else 1)
    for call in prepared:
        parts = (call.collected.train["inputs"], call.collected.test["inputs"])
        train, test = (np.array([GENOME.index(dna.letters(window)) for window in part]) for part in parts)
        assert len(train) and len(test) and np.abs(train[:, None] - test[None]).min() >= 60
    assert read(tmp_path / "out" / "config.json")["data_card"]["split"]["by"] == "stretch"


REFUSED = {
    "folds by time": ("sales", "folds", "time", "", "data of sales must not be folded, since it is split by time"),
    "a seed by time": (
        "sales",
        "run",
        "time",
        "--split-seed 3",
        "split_seed and time are mutually exclusive, got both",
    ),
    "a seed of stretches": (
        "dna",
        "run",
        "stretch",
        "--split-seed 3",
        "split_seed and contiguous are mutually exclusive",
    ),
    "two rules": ("sales", "run", "time", "--group patient", "group and time are mutually exclusive, got both"),
    "groups of pictures": (
        "pictures",
        "run",
        "group",
        "",
        "group must be a column of pictures besides the target, got data that is not a table",
    ),
    "times of pictures": (
        "pictures",
        "run",
        "time",
        "",
        "time must be a column of pictures besides the target, got data that is not a table",
    ),
    "a target of pictures": ("pictures", "run", "class", "--target kind", "target must come with a table"),
    "an unknown group": ("texts", "run", "class", "--group patients", "Did you mean 'patient'?"),
    "times that are words": ("sales", "run", "class", "--time colour", "time must be a column of dates or numbers"),
    "words as values": ("sales", "run", "class", "--target colour", "target colour must be numbers, got"),
    "values as classes": ("classes", "run", "class", "--data sales.csv --target price", "target price must be classes"),
    "numbers as texts": (
        "texts",
        "run",
        "class",
        "--data sales.csv --target colour",
        "must have the column definition",
    ),
    "texts as numbers": (
        "classes",
        "run",
        "class",
        "--data texts.csv",
        "column 'definition' must be numbers, dates or",
    ),
    "numbers as dna": ("dna", "run", "class", "--data kinds.csv", "data must have the column sequence"),
    "texts as dna": ("dna", "run", "class", "--data texts.csv", "data must have the column sequence"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_means_nothing_is_refused_in_one_line(carry_out, tmp_path, name):
    kind, asked, rule, more, message = REFUSED[name]
    done = carry_out(kind, asked, rule, *more.split())
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", ["--group patient", "--time day", "--contiguous", "--test-fraction 0.5"])
def test_a_genome_is_divided_by_its_own_rule_alone(command, written, tmp_path, words):
    words = ["--data", "genome.fa", *words.split(), "--directory", tmp_path / "out"]
    done = command("run", EXPERIMENTS / "genome.py", *words, cwd=written)
    message = f"split must be left out with a genome, got {written / 'genome.fa'}"
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


IMAGES = "data must be images, got a table with the columns "
OTHERS = {
    "a table for mlps": ("random_labels", "--data kinds.csv --target kind", IMAGES + "row, area, colour"),
    "texts for mlps": ("mislabelled", "--data texts.csv --target kind", IMAGES + "definition"),
    "a database for images": (
        "chest_xray",
        "--data sqlite:rows.db --query select --target kind",
        IMAGES + "row, area",
    ),
    "rows for images": ("chest_xray", "--data rows.npz", "data must be images, got arrays of shape (3,)"),
    "dna for scattering": ("private_mnist", "--data dna.csv --target kind", IMAGES + "sequence"),
    "a table for a network": ("private_network", "--data kinds.csv --target kind", IMAGES + "row, area, colour"),
    "other columns": ("credit", "--data kinds.csv --target kind", "data must have the columns age, duration_months"),
    "pictures as columns": ("credit", "--data pictures", "pictures is not a table. Use a table."),
    "columns of nobody": (
        "private_credit",
        "--data kinds.csv --target kind",
        "data must have the columns age, personal_",
    ),
    "arrays as applicants": ("private_credit", "--data rows.npz", "rows is not a table. Use a table."),
    "arrays as scenarios": (
        "lane_change",
        "--data rows.npz",
        "must be a CSV file of scenarios, got one that is no text",
    ),
    "values for classes": (
        "drug_discovery",
        "--data sales.csv --target price",
        ": the task is classification. Choose another target or experiment.",
    ),
    "another task": (
        "drug_discovery",
        "--data sales.csv --target price --task regression",
        "task must be classification for this experiment, got regression. Choose another experiment.",
    ),
    "another column": (
        "drug_discovery",
        "--data kinds.csv --target kind",
        "data must have the column smiles; those of kinds are row, area, colour, patient, day. Rename it in the data, or",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_data_of_another_kind_are_refused_in_one_line(command, written, tmp_path, name):
    with contextlib.closing(sqlite3.connect(written / "rows.db")) as database:
        database.execute("create table if not exists rows (row real, area real, kind text)")
        database.executemany("insert into rows values (?, ?, ?)", [(i, i / 2, "ab"[i % 2]) for i in range(N)])
        database.commit()
    np.savez(written / "rows.npz", x=np.random.default_rng(0).normal(size=(N, 3)), y=np.arange(N) % 2)
    experiment, words, message = OTHERS[name]
    words = [word.replace("select", "select * from rows") for word in words.split()]
    done = command("run", EXPERIMENTS / f"{experiment}.py", *words, "--directory", tmp_path / "out", cwd=written)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()
