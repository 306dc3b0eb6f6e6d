"""``jaxresearch explain``: sections of the report and their numbers, on data whose truth is known."""

import json
import shutil
from unittest import mock

import numpy as np
import pytest

from jaxresearch import execution, records
from jaxresearch.cli import explained, subject

pytestmark = pytest.mark.long

EXPERIMENT = """
from jaxresearch import data, losses, metrics, models, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept

@hyperparameters
class Small:
    learning_rate: float = swept(0.3, "step size", above=0)
    batch_size: int = static(20, "examples per step", at_least=1)
    epochs: int = static(12, "passes over the data", at_least=1)

def algorithm(h, card, plan, fitted):
    values = not card.class_names
    return training.supervised(
        models.mlp(card.n_features, (8,), 1 if values else card.n_classes, activation="tanh"),
        losses.squared_error if values else losses.softmax_cross_entropy_with_integer_labels,
        optimizer=training.gradient_descent(h.learning_rate), estimator=plan.estimator,
        metrics={"r2": metrics.r2()} if values else metrics.classification(card),
        invert=lambda outputs: data.standard.invert(fitted, outputs),
    )

experiment = Experiment(
    question="Which?", hyperparameters=Small(), source="images.npz", algorithm=algorithm
)
"""

TEXTS = """
from jaxresearch import losses, metrics, models, training
from jaxresearch.experiment import Experiment
from jaxresearch.fields import text
from jaxresearch.hyperparameters import hyperparameters, static, swept

@hyperparameters
class Words:
    learning_rate: float = swept(0.5, "step size", above=0)
    batch_size: int = static(20, "examples per step", at_least=1)
    epochs: int = static(20, "passes over the data", at_least=1)

def algorithm(h, card, plan, fitted):
    sizes = models.TransformerSizes(context=6, width=8, n_layers=1, n_heads=1, padding=len(card.vocabulary) - 1)
    return training.supervised(
        models.classifier(len(card.vocabulary), card.n_classes, sizes),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=training.gradient_descent(h.learning_rate), estimator=plan.estimator, metrics=metrics.classification(card),
    )

experiment = Experiment(
    question="Which word?", hyperparameters=Words(), source="texts.csv", target="label", types={"words": "text"},
    task="classification", preprocess=text.word_ids("words", n_most=8, length=6), algorithm=algorithm,
)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with an experiment, a table of which one column decides, and images of which one half does."""
    folder, random = tmp_path_factory.mktemp("explain"), np.random.default_rng(0)
    (folder / "small.py").write_text(EXPERIMENT)
    size, colour, noise = random.normal(size=300), random.choice(["red", "blue"], 300), random.normal(size=300)
    label = np.where(size + (colour == "red") + random.normal(0, 0.3, 300) > 0.5, "yes", "no")
    rows = zip(size, colour, noise, label, strict=True)
    (folder / "table.csv").write_text(
        "size,colour,noise,label\n" + "".join(f"{a:.3f},{b},{c:.3f},{d}\n" for a, b, c, d in rows)
    )
    images = random.integers(0, 100, (300, 6, 6)).astype(np.uint8)
    targets = random.integers(0, 2, 300)
    images[targets == 1, :, :3] += 60
    targets[::25] = 1 - targets[::25]  # mistakes
    np.savez(folder / "images.npz", inputs=images, targets=targets)
    return folder


@pytest.fixture(scope="module")
def trained(command, folder):
    """Trains on the table, and on the images, and explains both."""
    for name, words in {"t": ("--data", "table.csv", "--target", "label"), "i": ()}.items():
        for command_words in (("run", "small.py", "--seeds", "3", "--directory", name, *words), ("explain", name)):
            done = command(*command_words, cwd=folder)
            assert done.returncode == 0, done.stderr
        assert done.stdout == f"explanations: {name}/explain.json\nreport: {name}/report.html\n"
    return folder


def content_of(directory):
    return json.loads((directory / "explain.json").read_text())


def test_the_columns_that_decide_are_important(trained):
    content = content_of(trained / "t")
    importance = content["importance"]
    of_column = dict(zip(importance["columns"], importance["mean"], strict=True))
    assert content["kind"] == "columns" and content["seeds"] == [0, 1, 2] and importance["unit"] == "log loss"
    assert of_column["size"] > of_column["colour"] > 5 * abs(of_column["noise"])
    low, high = importance["ci95"][0][0], importance["ci95"][1][0]
    assert low < of_column["size"] < high and importance["over"] == "seeds" and np.shape(importance["values"]) == (3, 3)
    page = (trained / "t" / "report.html").read_text()
    assert '<p class="note">For comparison, always the most frequent class (no): accuracy 0.' in page
    assert "Columns that matter" in page and "rise of the log loss when permuted" in page
    assert "What predictions rest on" not in page  # rows have no map


def test_attributions_lie_where_the_classes_differ(trained):
    content = content_of(trained / "i")
    section = content["attributions"]
    assert content["kind"] == "images" and section["method"] == "integrated_gradients" and len(section["examples"]) == 8
    sizes = abs(np.array([one["values"] for one in section["examples"]]))
    assert sizes.shape == (8, 6, 6) and sizes[..., :3].mean() > 2 * sizes[..., 3:].mean()
    mistakes = [one for one in section["examples"] if one["is_mistake"]]
    assert mistakes and all(one["predicted"] != one["true"] for one in mistakes)
    assert all(one["predicted"] == one["true"] for one in section["examples"] if not one["is_mistake"])


def test_attacks_start_at_the_accuracy_of_the_run(trained):
    for name in ("t", "i"):
        result, robustness = (
            json.loads((trained / name / "result.json").read_text()),
            content_of(trained / name)["robustness"],
        )
        values = np.array(robustness["values"])
        np.testing.assert_allclose(values[:, 0], result["metrics"]["test/accuracy"]["values"], atol=1e-6)  # 60 examples
        assert (np.diff(values, axis=1) <= 1e-6).all() and values[:, -1].mean() < values[:, 0].mean()


def test_influence_is_exact_and_of_the_right_sign(trained):
    """Training examples with the label of the mistake lower its loss; those with the predicted one raise it."""
    influence = content_of(trained / "i")["influence"]
    assert influence["method"] == "exact"
    for mistake in influence["mistakes"]:
        assert mistake["raised"] and all(one["influence"] > 0 for one in mistake["raised"])
        assert all(one["influence"] < 0 for one in mistake["lowered"])
        targets = [one["target"] for one in mistake["raised"]]
        assert targets.count(mistake["predicted"]) >= 3


def test_examples_are_named_by_the_rows_of_the_file(trained):
    lines = (trained / "table.csv").read_text().splitlines()[1:]
    mistakes = content_of(trained / "t")["influence"]["mistakes"]
    shown = [one for mistake in mistakes for one in (mistake, *mistake["raised"], *mistake["lowered"])]
    assert len(shown) > 4 and all(one["name"].startswith("row ") for one in shown)
    for one in shown:
        size, colour, *_ = lines[int(one["name"].removeprefix("row ")) - 1].split(",")
        cells = dict(one["cells"])
        assert float(cells["size"]) == float(size) and cells["colour"] == colour


def test_the_test_part_is_predicted_once(command, trained, monkeypatch):
    def refused(subject):
        raise AssertionError("predicted once more")

    calls, predict = [], execution.predict
    monkeypatch.setattr(explained, "_outputs", refused)
    monkeypatch.setattr(execution, "predict", lambda *words, **more: calls.append(1) or predict(*words, **more))
    shutil.copytree(trained / "t", trained / "once")
    done = command("explain", "once", "--influence", "none", cwd=trained)
    assert done.returncode == 0 and len(calls) == 1, done.stderr
    assert content_of(trained / "once")["importance"] == content_of(trained / "t")["importance"]


def test_the_options_choose_what_is_explained(command, trained):
    words = ("--method", "occlusion", "--examples", "3", "--influence", "tracin", "--target", "1", "--seed", "5")
    np.save(trained / "black.npy", np.zeros((6, 6), np.uint8))  # as the images, which have no channel
    words += ("--baseline", "black.npy")
    shutil.copytree(trained / "i", trained / "other")
    done = command("explain", "other", *words, cwd=trained)
    assert done.returncode == 0, done.stderr
    content = content_of(trained / "other")
    assert content["attributions"]["method"] == "occlusion" and len(content["attributions"]["examples"]) == 3
    assert content["attributions"]["target"] == "1" and content["influence"]["method"] == "tracin"
    assert "Similarity of gradients at step" in content["influence"]["note"]
    assert content["asked"]["seed"] == 5 and content["asked"]["baseline"] == "an array (6, 6)"


@pytest.mark.parametrize(
    ("shape", "expected"), [((6, 6), (6, 6, 1)), ((6, 6, 1), (6, 6, 1)), ((2, 6, 6), (2, 6, 6, 1)), ((5,), (5,))]
)
def test_a_baseline_of_grey_images_may_lack_the_channel(shape, expected):
    given = np.full(shape, 51, np.uint8)
    seen = subject.Subject(mock.MagicMock(), mock.MagicMock(), subject.Asked(baseline=given), "images", (0,), 1 / 255)
    found = explained._baseline(seen, np.zeros((2, 6, 6, 1), np.float32))
    assert found.shape == expected  # the last is refused by the method
    np.testing.assert_allclose(found, 0.2, rtol=1e-6)  # 51 / 255


def test_the_report_shows_explanations_again(command, trained):
    done = command("report", "t", cwd=trained)
    assert done.returncode == 0 and "Columns that matter" in (trained / "t" / "report.html").read_text()
    assert records.read_run(trained / "t").explanations() == content_of(trained / "t")


def test_values_have_no_attacks(command, folder):
    words = (
        "--data",
        "table.csv",
        "--target",
        "noise",
        "--task",
        "regression",
        "--seeds",
        "2",
        "--epochs",
        "2",
        "--directory",
        "values",
    )
    for command_words in (("run", "small.py", *words), ("explain", "values", "--method", "shapley_values")):
        done = command(*command_words, cwd=folder)
        assert done.returncode == 0, done.stderr
    content = content_of(folder / "values")
    assert content["robustness"] == {"why": "Attacks change the predicted class; this run predicts values."}
    assert content["importance"]["unit"] == "predicted value"


def write_texts(folder):
    """Writes texts of which the first word decides, and returns how to run a model of them."""
    random = np.random.default_rng(0)
    fillers = [" ".join(random.choice(["one", "two", "three", "four"], 4)) for _ in range(200)]
    labels = random.choice(["good", "bad"], 200)
    rows = [
        f"{'sun' if label == 'good' else 'rain'} {filler},{label}"
        for filler, label in zip(fillers, labels, strict=True)
    ]
    (folder / "texts.py").write_text(TEXTS)
    (folder / "texts.csv").write_text("\n".join(["words,label", *rows]) + "\n")


def test_tokens_without_a_vocabulary_show_their_positions(command, folder):
    write_texts(folder)
    unnamed = TEXTS.replace("len(card.vocabulary)", "10").replace(
        "length=6)", "length=6)._replace(describe=lambda fitted, card: card)"
    )
    (folder / "unnamed.py").write_text(unnamed)
    words_of_explain = ("explain", "u", "--influence", "none", "--method", "occlusion")
    for words in (("run", "unnamed.py", "--seeds", "1", "--directory", "u"), words_of_explain):
        done = command(*words, cwd=folder)
        assert done.returncode == 0, done.stderr
    section = content_of(folder / "u")["attributions"]
    assert section["baseline"] == 0
    for one in section["examples"]:
        assert [text.split(":")[0] for text in one["shown"]] == ["1", "2", "3", "4", "5", "6"]
    assert "The tokens have no names: 3:17 is token 17" in (folder / "u" / "report.html").read_text()
    done = command("explain", "u", "--baseline", "-1", cwd=folder)
    message = "--baseline must be a token of 0 or more, got -1. Pass 0."
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_the_word_that_decides_is_coloured(command, folder):
    write_texts(folder)
    words_of_explain = ("explain", "x", "--influence", "none", "--target", "good")
    for words in (("run", "texts.py", "--seeds", "2", "--directory", "x"), words_of_explain):
        done = command(*words, cwd=folder)
        assert done.returncode == 0, done.stderr
    content = content_of(folder / "x")
    section = content["attributions"]
    assert content["kind"] == "tokens" and section["layer"] == "embedded" and section["baseline"] == "<pad>"
    for one in section["examples"]:
        values = dict(zip(one["shown"], one["values"], strict=True))
        assert max(values, key=lambda word: abs(values[word])) in ("sun", "rain")
        assert values.get("sun", 1) > 0 > values.get("rain", -1) and values["<pad>"] == 0
    assert content["influence"] == {"why": "Influence was left out (--influence none)."}
    assert content["robustness"] == {"why": "Attacks change inputs a little, which tokens do not allow."}
    assert ">sun</span> " in (folder / "x" / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("i", "--method", "salience"), "got 'salience'. Did you mean 'saliency'?"),
        (("i", "--method", "shapley_values"), "method must be one of integrated_gradients, saliency"),
        (
            ("t", "--method", "saliency"),
            "method must be one of permutation_importance, shapley_values for columns, got",
        ),
        (("i", "--target", "2"), "--target must be a class of the data (0, 1), got '2'"),
        (
            ("i", "--method", "grad_cam", "--layer", "Dense_7"),
            "layer must be one of the model's (Dense_0, Dense_1), got",
        ),
        (("i", "--layer", "Dense_0"), "layer must be left out for integrated_gradients"),
        (("i", "--baseline", "zeros.npy"), "baseline must have the shape of one example, (6, 6, 1)"),
        (("i", "--baseline", "nowhere.npy"), "got nowhere.npy, which does not exist"),
        (("i", "--baseline", "black"), "--baseline must be a number or a .npy file, got 'black'"),
        (("i", "--examples", "none"), "--examples must be a whole number, 1 or more, got none"),
        (("i", "--influence", "all"), "--influence must be exact, tracin or none, got all"),
        (("i", "--wide"), "explain has no option --wide"),
        (("nowhere",), "nowhere does not exist"),
        (("small.py",), "config.json"),
    ],
)
def test_mistakes_are_one_line(command, trained, words, message):
    np.save(trained / "zeros.npy", np.zeros(5))
    before = content_of(trained / "i"), (trained / "i" / "report.html").read_bytes()
    done = command("explain", *words, cwd=trained)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert before == (content_of(trained / "i"), (trained / "i" / "report.html").read_bytes())


def test_missing_parts_of_a_run_are_one_line(command, trained):
    for name in ("gone", "unfinished"):
        shutil.copytree(trained / "t", trained / name)
    shutil.rmtree(trained / "gone" / "checkpoints")
    (trained / "unfinished" / "result.json").unlink()
    table = (trained / "table.csv").read_text()
    cases = {"gone": "directory must hold the state of a run", "unfinished": "without result.json. Resume it"}
    for name, message in cases.items():
        done = command("explain", name, cwd=trained)
        assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    try:
        (trained / "table.csv").write_text(table + "0,red,0,yes\n")
        done = command("explain", "t", cwd=trained)
        assert done.returncode == 2 and "must be those of the run, got changed ones" in done.stderr, done.stderr
        (trained / "table.csv").unlink()
        done = command("explain", "t", cwd=trained)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "table.csv" in done.stderr, done.stderr
    finally:
        (trained / "table.csv").write_text(table)


def test_streamed_runs_are_refused_in_one_line(command, trained):
    done = command("run", "small.py", "--stream", "--epochs", "1", "--directory", "s", cwd=trained)
    assert done.returncode == 0, done.stderr
    done = command("explain", "s", cwd=trained)
    message = "explain needs data in memory, got rows on disk. Run it without --stream."
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (trained / "s" / "explain.json").exists()


def test_private_runs_show_no_training_example(command, trained):
    words = ("--private", "epsilon=3,delta=1e-5,clip=1", "--epochs", "2", "--directory", "p")
    done = command("run", "small.py", *words, cwd=trained)
    assert done.returncode == 0, done.stderr
    done = command("explain", "p", "--influence", "exact", cwd=trained)
    message = "--influence must be none for this run, got exact: the run keeps its training examples private."
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert command("explain", "p", cwd=trained).returncode == 0
    content = content_of(trained / "p")
    why = "Training examples are not traced: the run keeps its training examples private."
    assert content["influence"] == {"why": why} and content["attributions"]["examples"]
    page = (trained / "p" / "report.html").read_text()
    assert "of the training part" not in page and "most frequent class (" not in page
    assert "always the most frequent class: no accuracy" in page


def test_encrypted_runs_are_explained_with_their_key(command, trained):
    key = trained / "key"
    key.write_bytes(bytes(range(32)))
    done = command("run", "small.py", "--epochs", "1", "--encrypt-with", "key", "--directory", "e", cwd=trained)
    assert done.returncode == 0, done.stderr
    assert command("explain", "e", cwd=trained).returncode == 0
    before = (trained / "e" / "explain.json").read_bytes()
    key.write_bytes(bytes(32))
    done = command("explain", "e", cwd=trained)
    assert done.returncode == 2 and "key" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    key.unlink()
    done = command("explain", "e", cwd=trained)
    assert done.returncode == 2 and "key" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert (trained / "e" / "explain.json").read_bytes() == before
