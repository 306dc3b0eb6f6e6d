"""The motifs experiment: the planted truth, what its metrics count, and a run on the command line."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import experiment, explain, loading
from jaxresearch.fields import dna

FILE = Path(__file__).parents[2] / "experiments" / "motifs.py"
MOTIFS = loading.load(str(FILE))


@pytest.fixture(scope="module")
def dataset():
    return MOTIFS.prepare(MOTIFS.collect("jaspar"))


@pytest.mark.long
def test_planted_positions_hold_the_motifs(dataset):
    part = dataset.train
    bases, planted, is_motif = part["inputs"].argmax(axis=-1), part["planted"], part["targets"] == 1
    assert is_motif.mean() == 0.5 and (part["inputs"].sum(axis=-1) == 1).all()
    widths = planted.sum(axis=1)
    for counts in dna.jaspar().values():  # all of different widths
        logs = np.log((counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True))
        frequencies = counts / counts.sum(axis=1, keepdims=True)
        expected, spread = (frequencies * logs).sum(), np.sqrt((frequencies * logs**2).sum())

        def likelihoods(rows, logs=logs):
            instances = bases[rows][planted[rows]].reshape(-1, len(logs))
            return logs[np.arange(len(logs)), instances].sum(axis=1)

        of_motifs, of_decoys = (likelihoods((widths == len(counts)) & mask) for mask in (is_motif, ~is_motif))
        assert len(of_motifs) > 800  # a quarter of 4,000
        assert abs(of_motifs.mean() - expected) < 5 * spread / np.sqrt(len(of_motifs))
        assert of_decoys.mean() < expected - 5
    frequencies = [np.bincount(bases[mask].ravel(), minlength=4) / bases[mask].size for mask in (is_motif, ~is_motif)]
    np.testing.assert_allclose(*frequencies, atol=0.003)  # five standard errors of 800,000 bases


@pytest.mark.long
def test_evaluate_counts_the_sequences_with_motifs_by_weight(dataset):
    settings = MOTIFS.hyperparameters.__class__(n_samples=2)
    algorithm = experiment.program(MOTIFS, dataset).algorithm(settings)
    state = algorithm.init(jax.random.key(0))
    part = {name: values[:40] for name, values in dataset.test.items()} | {"weights": jnp.arange(40.0) % 5}
    values = jax.jit(algorithm.evaluate)(state, part, jax.random.key(1))

    rows = part["targets"] == 1
    scores = explain.saliency(
        lambda x: algorithm.predict(state, x), part["inputs"][rows], target=lambda logits: logits[:, 1] - logits[:, 0]
    ).sum(axis=-1)
    found = dna.recovered(scores, part["planted"][rows], false_positives=0.01)
    bases = dna.recovered_bases(scores, part["planted"][rows])
    weights = np.asarray(part["weights"])[rows]
    np.testing.assert_allclose(values["found_saliency"], np.average(found, weights=weights), rtol=1e-5)
    np.testing.assert_allclose(values["bases_saliency"], np.average(bases, weights=weights), rtol=1e-5)
    gain = values["bases_expected_gradients"] - values["bases_input_x_gradient"]
    np.testing.assert_allclose(values["gain_bases"], gain, atol=1e-6)


@pytest.mark.long
def test_a_run_reports_all_methods(command, tmp_path):
    text = FILE.read_text()
    assert "= 200, 8000, 1000" in text
    (tmp_path / "small.py").write_text(text.replace("= 200, 8000, 1000", "= 60, 200, 40"))
    words = ("--smoke", "--seeds", 1, "--n-samples", 2, "--directory", tmp_path / "run")
    done = command("run", tmp_path / "small.py", *words)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    names = ("saliency", "smoothgrad", "input_x_gradient", "integrated_zero", "integrated_mean", "expected_gradients")
    expected = {
        f"test/{kind}_{name}" for kind in ("found", "bases") for name in (*names, "occlusion", "untrained", "random")
    }
    assert found.keys() == expected | {"test/accuracy", "test/gain_bases"}
    assert {of_metric["over"] for of_metric in found.values()} == {"examples"}  # all have influences


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "bad.jaspar"), "bad.jaspar must be a row of counts for C, such as C [3 0 12], got 'N [1 0]'"),
        (("--data", "long.jaspar"), "motifs must be one or more of at most 200 bases, got long of 201"),
        (("--data", "nowhere.jaspar"), "motifs must be jaspar or a file in JASPAR format; "),
        (("--target", "x"), "target must be left out with motifs, got jaspar. All parts are drawn."),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(command, words, message, tmp_path):
    (tmp_path / "bad.jaspar").write_text(">MA1 one\nA [1 0]\nN [1 0]\nG [0 1]\nT [0 1]\n")
    rows = (f"{letter} [{' 1' * 201}]\n" for letter in "ACGT")
    (tmp_path / "long.jaspar").write_text(f">MA2 long\n{''.join(rows)}")
    words = [tmp_path / word if word.endswith(".jaspar") else word for word in words]
    done = command("run", FILE, *words, "--directory", tmp_path / "run")
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "run").exists()
