"""Runs with separate data: a subset per seed (--train-examples), a split per seed (--resplit)."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxresearch import loading
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.loaded import load_data
from jaxresearch.cli.parsing import parse

pytestmark = pytest.mark.long

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
N = 120
RULES = {"class": [], "group": ["--group", "patient"], "fraction": ["--test-fraction", "0.3"]}
OWN = {"few": ["--train-examples", "40"], "resplit": ["--resplit"], "both": ["--resplit", "--train-examples", "40"]}


@pytest.fixture
def rows(folder, edit):
    """An experiment on numbered rows in groups of four, split separately for each seed."""
    lines = [f"{i},p{i // 4},{3 * i + 0.5}" for i in range(N)]
    (folder / "line.csv").write_text("row,patient,y\n" + "\n".join(lines) + "\n")
    return loading.load(str(folder / "line.py"))


def loaded(rows, folder, *words, command="run", to_choose=False):
    options = parse(rows, ["--data", str(folder / "line.csv"), *words], command=command)
    return load_data(rows, options, None, to_choose=to_choose)


def rows_of(dataset):
    """Returns the rows of each part of one run, from the standardised column that numbers them."""
    scale, mean = (np.squeeze(dataset.fitted["inputs"]["row"][name]) for name in ("scale", "mean"))
    named = {}
    for name, part in dataset.parts().items():
        rows = part["inputs"][:, dataset.card.feature_names.index("row")] * scale + mean
        counted = part.get("weights", np.ones(len(rows))) > 0
        named[name] = np.round(rows[counted]).astype(int).tolist()
    return named


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("looks", [[], ["--validation", "0.25"]], ids=["", "looks"])
def test_data_of_a_seed_do_not_depend_on_the_others(rows, folder, own, rule, looks):
    of_seeds = {}
    for seeds in ("7,3", "3,", "0,3,11,7"):
        dataset = loaded(rows, folder, "--seeds", seeds, *OWN[own], *RULES[rule], *looks).dataset
        numbers = [int(seed) for seed in seeds.split(",") if seed]
        assert dataset.n_runs == len(numbers) and dataset.n_folds == 0 and len(dataset.fitted) == len(numbers)
        for place, seed in enumerate(numbers):
            parts = rows_of(dataset.of_run(place))
            # All groups have the same size here, so that no training part is cut to the length of another.
            assert of_seeds.setdefault(seed, parts) == parts
            flat = [row for part in parts.values() for row in part]
            assert len({*flat}) == len(flat)
            if rule == "group":
                groups = [{row // 4 for row in part} for part in parts.values()]
                assert sum(map(len, groups)) == len(set.union(*groups))
    assert len({str(parts["train"]) for parts in of_seeds.values()}) == 4
    assert (len({str(parts["test"]) for parts in of_seeds.values()}) == 1) == (own == "few")


@pytest.mark.parametrize("rule", RULES)
def test_the_split_of_a_seed_is_that_of_its_split_seed(rows, folder, rule):
    split = loaded(rows, folder, "--seeds", "7,3", "--resplit", *RULES[rule])
    assert split.dataset.is_resplit and split.dataset.shared == ()
    for place, seed in enumerate((7, 3)):
        alone = loaded(rows, folder, "--split-seed", str(seed), *RULES[rule]).dataset
        assert rows_of(split.dataset.of_run(place)) == rows_of(alone)
        fitted = split.dataset.fitted[place]["targets"]
        np.testing.assert_array_equal(fitted["mean"], alone.fitted["targets"]["mean"])


def test_what_is_fitted_is_that_of_the_examples_of_each_seed(rows, folder):
    dataset = loaded(rows, folder, "--train-examples", "40", "--seeds", "4,1").dataset
    assert dataset.runs_of == "subsets" and dataset.n_train == 40
    for place in range(2):
        y = 3 * np.array(rows_of(dataset.of_run(place))["train"]) + 0.5
        np.testing.assert_allclose(np.squeeze(dataset.fitted[place]["targets"]["mean"]), y.mean(), rtol=1e-12)
        np.testing.assert_allclose(np.squeeze(dataset.fitted[place]["targets"]["scale"]), y.std(), rtol=1e-12)


@pytest.fixture
def pictures(folder):
    """The options that select a set of images with its own test part."""
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1)).astype(np.uint8)
    labels = np.arange(60) % 3
    parts = {"x_train": images[:48], "y_train": labels[:48], "x_test": images[48:], "y_test": labels[48:]}
    np.savez(folder / "my.npz", **parts)
    return ["--data", str(folder / "my.npz"), "--train-examples", "24"]


@pytest.mark.parametrize("stream", [[], ["--stream"]], ids=["memory", "stream"])
def test_a_test_part_that_all_seeds_have_is_kept_once(pictures, stream):
    mnist = loading.load("mnist", directory=EXPERIMENTS)
    dataset = load_data(mnist, parse(mnist, [*pictures, "--seeds", "3", *stream]), None).dataset
    assert dataset.shared == ("test",) and dataset.test["inputs"].shape == (12, 8, 8, 1)
    assert dataset.train["inputs"].shape == (3, 24, 8, 8, 1) and dataset.sizes("test") == (12, 12, 12)
    assert dataset.of_run(2).test["inputs"] is dataset.test["inputs"]


@pytest.mark.long
@pytest.mark.parametrize("stream", [[], ["--stream"]], ids=["memory", "stream"])
def test_a_seed_trains_on_its_subset_whatever_others_run(command, pictures, folder, stream):
    words = [*pictures, *stream, "--hidden", "4", "--epochs", "2", "--batch-size", "8"]
    for name, seeds in (("out", "3"), ("alone", "1,")):
        done = command("run", EXPERIMENTS / "mnist.py", *words, "--seeds", seeds, "--directory", folder / name)
        assert done.returncode == 0 and "24 of the training part, drawn at random, anew for each seed" in done.stdout
    values, (of_one,) = (read(folder / name)["metrics"]["test/log_loss"]["values"] for name in ("out", "alone"))
    assert len({*values}) == 3 and values[1] == pytest.approx(of_one, rel=1e-5)  # float32


def read(directory, name="result.json"):
    return json.loads((directory / name).read_text())


@pytest.mark.long
def test_a_run_over_splits_records_its_numbers_of_examples(here, folder):
    done = here("run", "line.py", "--resplit", "--seeds", "7,3,0", "--epochs", "4", "--directory", "out")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    result, config = read(folder / "out"), read(folder / "out", "config.json")
    assert config["resplit"] and result["resplit"] and result["runs_of"] == "splits" and result["n_folds"] == 0
    assert result["n_train"] == [160] * 3 and result["n_test"] == [40] * 3 and config["parts"]["test"] == 40
    assert "20 % of the examples, drawn at random, anew for each seed (also its split seed)" in done.stdout
    assert "needs at " in done.stdout  # the verdict states the bound
    assert "the claim is about one test part, this run about 3 splits of the data)" in done.stdout
    one = here("run", "line.py", "--split-seed", "3", "--seeds", "3,", "--epochs", "4", "--directory", "one")
    assert one.returncode == 0, one.stderr
    values, (of_one,) = (read(folder / name)["metrics"]["test/mse"]["values"] for name in ("out", "one"))
    assert len({*values}) == 3 and values[1] == pytest.approx(of_one, rel=1e-5)  # float32


def test_splits_by_group_have_test_parts_of_their_own_sizes(rows, folder, here):
    (folder / "line.csv").write_text(
        "patient,x,y\n" + "".join(f"p{int(i**0.7)},{i % 11},{i}.5\n" for i in range(N))
    )  # groups of several sizes
    done = here("run", "line.py", "--group", "patient", "--resplit", "--epochs", "2", "--directory", "out")
    assert done.returncode == 0, done.stderr
    result = read(folder / "out")
    assert len({*result["n_test"]}) > 1 and len({*result["n_train"]}) == 1
    assert all(n_train + n_test <= N for n_train, n_test in zip(result["n_train"], result["n_test"], strict=True))
    for seed, n_test in enumerate(result["n_test"]):
        alone = loaded(rows, folder, "--group", "patient", "--split-seed", str(seed)).dataset
        assert n_test == len(alone.test["targets"])


@pytest.mark.long
@pytest.mark.parametrize("own", OWN)
def test_runs_with_data_of_their_own_are_resumed(here, interrupted_here, folder, own):
    words = ["run", "line.py", *OWN[own], "--seeds", "4,2", "--epochs", "5", "--validation", "0.25"]
    done = interrupted_here(2, *words, "--directory", "out")
    assert done.returncode == 75, done.stderr
    done = here("resume", "out")
    assert done.returncode == 0 and read(folder / "out")["resumed_from"] > 0, done.stderr
    whole = here(*words, "--directory", "whole")
    assert whole.returncode == 0, whole.stderr
    assert read(folder / "out")["metrics"] == read(folder / "whole")["metrics"]
    assert here("report", "out").returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folds", "3"], "resplit and folds are mutually exclusive, got both. Folds test each example once"),
        (
            ["--time", "x"],
            "resplit and time are mutually exclusive, got both. The last examples are held out, not drawn",
        ),
        (["--contiguous"], "resplit and contiguous are mutually exclusive, got both. The last examples are held out"),
        (["--test", "line.csv"], "resplit and test are mutually exclusive, got both. The rows of the second file are"),
        (["--split-seed", "2"], "resplit and split_seed are mutually exclusive, got both. Seed i is the split seed"),
    ],
)
def test_what_leaves_nothing_to_draw_is_refused(here, refused, words, message):
    refused(here("run", "line.py", "--resplit", *words), message)


@pytest.mark.parametrize("name", ["sweep", "study"])
def test_settings_are_not_compared_over_splits(here, refused, name):
    refused(here(name, "line.py", "--resplit"), f"{name} has no option --resplit, which belongs to run. Leave it out.")


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        (
            "mnist",
            [],
            "resplit must have a test part to draw, got mnist, which has its own. Leave it out: all seeds share it.",
        ),
        ("mnist", ["--seeds", "5,6"], "resplit must have a test part to draw, got mnist, which has its own."),
        ("house_prices", [], "resplit must have a test part to draw, got ames, which holds none out. Leave it out."),
        ("genome", ["--data", "chr3"], "which holds out its last examples. Leave it out."),
    ],
)
def test_data_that_are_not_drawn_from_are_refused(name, words, message):
    experiment = loading.load(name, directory=EXPERIMENTS)
    with pytest.raises(UsageError, match=message):
        load_data(experiment, parse(experiment, ["--resplit", *words]), None)


def test_settings_are_compared_on_examples_that_all_seeds_share(rows, folder):
    words = ["--train-examples", "40", "--learning-rate", "0.1,0.2", "--seeds", "3"]
    made = loaded(rows, folder, *words, command="sweep", to_choose=True)
    assert made.dataset.n_runs == 0 and made.dataset.n_train == 36 and len(made.whole.train["targets"]) == 96


@pytest.mark.long
def test_a_study_concludes_with_a_subset_for_each_fresh_seed(here, folder):
    words = ["--train-examples", "60", "--seeds", "2", "--fresh-seeds", "8,9", "--rounds", "1", "--epochs", "3"]
    done = here("study", "line.py", *words, "--directory", "out")
    assert done.returncode == 0, done.stderr
    again = here("run", "line.py", "--train-examples", "60", "--seeds", "8,9", "--epochs", "3", "--directory", "again")
    assert again.returncode == 0, again.stderr
    results = [read(folder / name) for name in ("out", "again")]
    assert results[0]["metrics"] == results[1]["metrics"] and results[0]["runs_of"] == "subsets"
    assert results[0]["test_part"] == results[1]["test_part"] and results[1]["test_reads"] == 2
