"""drug_discovery and solubility: both networks and the baseline side by side, and whole scaffolds held out."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import data, loading, metrics, training
from jaxresearch import experiment as experiments

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
DRUGS, SOLUBILITY = (loading.load(name, directory=EXPERIMENTS) for name in ("drug_discovery", "solubility"))


def few(experiment, **options):
    """Returns a few hundred molecules."""
    whole = experiment.collect(experiment.source, **options)
    cut = {name: data.sample(part, n) for (name, part), n in zip(whole.parts().items(), (384, 96), strict=True)}
    return experiment.prepare(whole._replace(**cut))


def trained(experiment, dataset, n_steps=2):
    """Returns the algorithm, and its state after a few steps."""
    program, h, key = experiments.program(experiment, dataset), experiment.hyperparameters, jax.random.key(0)
    advance = jax.jit(program.advance, static_argnums=5)
    state, _ = advance(key, h, program.init(key, h), dataset.train, 0, n_steps)
    return program.algorithm(h), state


@pytest.mark.long
def test_areas_are_those_of_the_predictions():
    dataset = few(DRUGS)
    algorithm, state = trained(DRUGS, dataset)
    found = jax.jit(algorithm.evaluate)(state, dataset.test, jax.random.key(1))
    logits = jax.jit(algorithm.predict)(state, dataset.test["inputs"])
    area, targets = metrics.roc_auc(), dataset.test["targets"]
    np.testing.assert_allclose(found["auc"], area(logits, targets), rtol=1e-5)
    np.testing.assert_allclose(found["graph_over_sequence"], found["auc_graph"] - found["auc_sequence"], atol=1e-6)
    surface = dataset.test["inputs"]["whole"][:, 0]
    expected = area(np.stack([surface, -surface], axis=1), targets)
    np.testing.assert_allclose(found["auc_polar_surface"], expected, rtol=1e-5)
    weights = np.ones(len(targets), np.float32)
    weights[0] = 0
    weighed = jax.jit(algorithm.evaluate)(state, {**dataset.test, "weights": weights}, jax.random.key(1))
    assert weighed["graph_over_sequence"] != found["graph_over_sequence"]


@pytest.mark.long
def test_errors_are_in_the_units_of_the_target():
    dataset = few(SOLUBILITY)
    algorithm, state = trained(SOLUBILITY, dataset)
    found = jax.jit(algorithm.evaluate)(state, dataset.test, jax.random.key(1))
    outputs = np.asarray(jax.jit(algorithm.predict)(state, dataset.test["inputs"]))
    ours, true = (SOLUBILITY.preprocess.invert(dataset.fitted, values) for values in (outputs, dataset.test["targets"]))
    assert outputs.shape == true.shape == (96, 1)
    np.testing.assert_allclose(found["mae"], np.abs(ours - true).mean(), rtol=1e-4)
    np.testing.assert_allclose(found["gain_over_graph"], found["mae_graph"] - found["mae"], atol=1e-5)


@pytest.mark.long
def test_whole_scaffolds_are_held_out():
    whole = DRUGS.collect("b3db", split=data.Split(by="group", column="scaffold"))
    assert not {*whole.train["groups"].tolist()} & {*whole.test["groups"].tolist()}
    assert list(whole.train["inputs"]) == ["smiles"]
    np.testing.assert_allclose(len(whole.test["targets"]) / 7807, 0.2, atol=0.02)


def test_other_data_is_refused_by_the_column_it_lacks():
    with pytest.raises(ValueError, match="^data must have the column smiles; those of splice are sequence"):
        DRUGS.collect("splice")


@pytest.mark.long
def test_plans_fit_the_members_of_the_ensembles():
    for experiment in (DRUGS, SOLUBILITY):
        h = experiment.hyperparameters
        assert h.batch_size % h.n_members == 0
        assert training.plan_of(6246, batch_size=h.batch_size, epochs=h.epochs).n_steps > 0


@pytest.mark.parametrize(
    ("rows", "words", "message"),
    [
        (
            ("CC,yes", "C(,no"),
            (),
            "row 2, column smiles: SMILES must have branches that are closed, got '(' at position 2",
        ),
        (
            ("Cc1ccccc1,yes", "Oc1ccccc1,no"),
            ("--group", "scaffold"),
            "molecules must have two scaffolds or more to be split",
        ),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(command, rows, words, message, tmp_path):
    (tmp_path / "bad.csv").write_text("\n".join(["smiles,active", *rows]) + "\n")
    words = ("--data", tmp_path / "bad.csv", "--target", "active", *words)
    done = command("run", EXPERIMENTS / "drug_discovery.py", *words, "--directory", tmp_path / "run")
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "run").exists()
