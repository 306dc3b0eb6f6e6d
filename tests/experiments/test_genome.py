"""The genome experiment on the command line: pre-trained on FASTA, fine-tuned, cross-validated."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxresearch import data, loading, records

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
SMALL = "--width 16 --n-layers 1 --n-members 2".split()


@pytest.fixture(scope="module")
def run(command):
    return lambda *words, experiment="genome": command("run", experiment, "--smoke", *words)


@pytest.fixture(scope="module")
def pretrained(run, tmp_path_factory):
    """Returns the directory of a run on a custom FASTA file."""
    folder = tmp_path_factory.mktemp("pretrained")
    letters = np.random.default_rng(0).choice(list("ACGTacgtN"), size=40_000)
    lines = "\n".join("".join(line) for line in letters.reshape(-1, 80))
    (folder / "my.fa").write_text(f">one of mine\n{lines}\n")
    done = run("--data", folder / "my.fa", "--seeds", 1, *SMALL, "--directory", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_folds_start_from_the_parameters_of_another_run(run, pretrained, tmp_path):
    words = ("--folds", 2, "--init-from", pretrained, "--body-rate", 0, *SMALL)
    done = run(*words, "--directory", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    theirs, ours = records.read_params(pretrained), records.read_params(tmp_path / "run")
    n_members = 2
    assert ours["embedding"].shape == (2, n_members, *theirs["embedding"].shape[1:])
    for member in range(n_members):
        np.testing.assert_array_equal(ours["embedding"][1, member], theirs["embedding"][0])
    assert np.abs(ours["head"]["kernel"]).max() > 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["n_folds"] == 2 and len(result["metrics"]["test/error_EI"]["values"]) == 2
    assert "adjusted Rand index" in result["report"]


def test_smoke_runs_have_all_classes_and_may_be_one_step(run, tmp_path):
    done = run("--folds", 2, *SMALL, "--directory", tmp_path / "folds")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "folds" / "result.json").read_text())["metrics"]
    assert min(metrics["test/error"]["values"]) < 0.9  # classes are N, N, EI and IE
    (tmp_path / "small.fa").write_text(">a\n" + "ACGTTGCA" * 710 + "\n")
    done = run("--data", tmp_path / "small.fa", "--seeds", 1, *SMALL, "--directory", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    assert records.Checkpoints(tmp_path / "one").steps() == [1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--init-from", "nowhere"], "nowhere"),
        (["--folds", "1"], "folds must be 2 or more, or 0 for none, got 1"),
        (["--train-examples", "0"], "number of examples must be 1 or more; got 0"),
        (["--data", "empty.fa"], "must hold a FASTA record; it is empty"),
        (["--data", "README.md"], "README.md must start with a header, as >name"),
        (["--data", "short.fa"], "must hold 60 bases or more; the longest, 'b', holds 59"),
        (["--data", "nowhere.fa"], "a genome must be chr3 or a FASTA file; "),
        (["--data", "my.csv"], "my.csv. Name the column to predict: --target COLUMN (experiment file"),
        (["--data", "my.csv", "--target", "y"], "target y must be classes, got values"),
        (["--data", "unknown.fa"], "must hold bases A, C, G or T; it holds ambiguous letters alone"),
        (["--data", "chr3", "--target", "x"], "target must be left out with a genome, got chr3"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(run, words, message, tmp_path):
    (tmp_path / "empty.fa").write_text("")
    (tmp_path / "short.fa").write_text(f">a\n{'A' * 20}\n>b\n{'C' * 59}\n")
    (tmp_path / "unknown.fa").write_text(f">a\n{'N' * 6000}\n")
    (tmp_path / "my.csv").write_text("sequence,y\n" + "".join(f"{'ACGT' * 15},{n}.5\n" for n in range(40)))
    words = [tmp_path / word if word.endswith((".fa", ".csv")) else word for word in words]
    done = run(*words, "--directory", tmp_path / "run")
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "run").exists()


def test_another_vocabulary_is_refused_by_its_first_token(run, pretrained, tmp_path):
    done = run("--init-from", pretrained, "--directory", tmp_path / "run", experiment="abstract_sorting")
    assert done.returncode == 2 and "vocabulary must equal that of" in done.stderr and "token 0 is" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("other", "theirs"),
    [
        (("--width", 64), "--width 16"),
        (("--n-heads", 2, "--dropout-rate", 0.1), "--n-heads 4"),
        (("--width", 10, "--n-heads", 5), "--width 16 --n-heads 4"),
    ],
)
def test_a_model_of_another_size_is_refused_by_its_settings(run, pretrained, tmp_path, other, theirs):
    done = run("--init-from", pretrained, *SMALL, *other, "--directory", tmp_path / "run")
    assert done.returncode == 2 and "pre-trained parameters must fit the model" in done.stderr, done.stderr
    assert f"{pretrained} was run with {theirs}. Pass the same." in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "run").exists()


def test_a_whole_run_does_not_start_from_a_smoke_run(command, pretrained, tmp_path):
    done = command("run", "genome", "--seeds", 1, "--init-from", pretrained, "--directory", tmp_path / "run")
    assert done.returncode == 2 and "got the smoke run " in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "run").exists()


def test_a_genome_takes_a_cipher_and_refuses_unused_options(tmp_path):
    genome = loading.load("genome", directory=Path(__file__).parents[2] / "experiments")
    (tmp_path / "my.fa").write_text(">one\n" + "ACGTTGCA" * 100 + "\n")
    assert genome.collect(str(tmp_path / "my.fa"), cipher=object()).n_train
    with pytest.raises(ValueError, match="split, stream must be left out with a genome"):
        genome.collect(str(tmp_path / "my.fa"), stream=True, split=data.Split(by="stretch"))
