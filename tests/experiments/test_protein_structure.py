"""protein_structure: what is hidden, what is trained when, and that test chains are never seen."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import experiment as experiments
from jaxresearch import loading, records
from jaxresearch.fields import proteins

FILE = Path(__file__).parents[2] / "experiments" / "protein_structure.py"
STRUCTURE = loading.load(str(FILE))
SMALL = {"width": 8, "hidden": 8, "n_layers": 1, "n_heads": 2, "batch_size": 8}


@pytest.fixture(scope="module")
def dataset():
    """A few of the chains."""
    collected = STRUCTURE.collect("protein_structure")
    few = {name: {key: values[:24] for key, values in part.items()} for name, part in collected.parts().items()}
    return STRUCTURE.prepare(collected._replace(**few))


def small(**changes):
    return dataclasses.replace(STRUCTURE.hyperparameters, **(SMALL | changes))


def trained(dataset, h, part, n_steps):
    program, key = experiments.program(STRUCTURE, dataset), jax.random.key(0)
    state = program.init(key, h)
    return state, *jax.jit(program.advance, static_argnums=5)(key, h, state, part, 0, n_steps)


@pytest.mark.long
def test_pretraining_reads_no_state_and_the_rest_does(dataset):
    part, n_steps = dataset.train, 3
    for pretraining, is_same in ((0.9, True), (0.0, False)):
        other = part | {"targets": np.where(part["targets"] < 0, part["targets"], np.int8(3))}
        _, one, history = trained(dataset, small(pretraining=pretraining), part, n_steps)
        _, two, _ = trained(dataset, small(pretraining=pretraining), other, n_steps)
        same = jax.tree.map(lambda a, b: bool((a == b).all()), one.params["network"], two.params["network"])
        assert all(jax.tree.leaves(same)) == is_same
        assert bool((one.params["windows"]["bias"] == two.params["windows"]["bias"]).all()) is False
        expected = np.log(20) if pretraining else np.log(8)
        np.testing.assert_allclose(history["network_loss"][0], expected, atol=0.3)  # logits are small at first
        assert int(one.model_state["step"]) == n_steps


@pytest.mark.long
def test_pretraining_ends_after_its_fraction_of_the_steps(dataset):
    h = small(pretraining=0.25, epochs=2, learning_rate=0.0)
    program, key = experiments.program(STRUCTURE, dataset), jax.random.key(0)
    _, history = jax.jit(program.run)(key, h, dataset.train)
    n_steps = program.plan(h).n_steps
    n_first = int(np.ceil(0.25 * n_steps))
    assert (history["network_loss"][:n_first] > 2.6).all() and (history["network_loss"][n_first:] < 2.4).all()


@pytest.mark.long
def test_residues_that_are_not_scored_do_not_train(dataset):
    """Test chains are no part of the batches; in a batch, what belongs to another window has no target."""
    windows = {*map(bytes, dataset.train["inputs"])}
    assert not windows & {*map(bytes, dataset.test["inputs"])}
    n_train = (STRUCTURE.collect("protein_structure").train["targets"][:24] >= 0).sum()
    assert (dataset.train["targets"] >= 0).sum() == n_train
    part = {name: values[:8] for name, values in dataset.train.items()}
    part = part | {"targets": np.full_like(part["targets"], -1)}
    _, _, history = trained(dataset, small(pretraining=0.0), part, 1)
    assert history["loss"][0] == 0


@pytest.mark.long
def test_the_gain_is_paired_and_depends_on_weights(dataset):
    program, h, key = experiments.program(STRUCTURE, dataset), small(), jax.random.key(0)
    state = program.init(key, h)
    evaluate = jax.jit(program.evaluate)
    found = evaluate(key, h, state, dataset.test)
    assert found["gain"] == found["q3"] - found["q3_windows"]
    predict = program.algorithm(h).predict
    assert predict is not None
    logits = predict(state, dataset.test["inputs"])
    assert logits.shape == (*dataset.test["inputs"].shape, 2, 8)
    expected = proteins.q3()(logits[:, :, 0], jnp.asarray(dataset.test["targets"]))
    np.testing.assert_allclose(found["q3"], expected, rtol=1e-6)  # batches add up in another order
    weights = np.ones(len(logits), np.float32)
    weights[dataset.test["groups"] == 0] = 0
    without = {name: values[dataset.test["groups"] > 0] for name, values in dataset.test.items()}
    weighed = evaluate(key, h, state, {**dataset.test, "weights": weights})
    np.testing.assert_allclose(weighed["q3"], program.evaluate(key, h, state, without)["q3"], rtol=1e-6)


ROWS = ["split,sequence,dssp8", *(f"{part},{'ARNDCQEGHILKMFPSTWYV' * 8},{'HHEEC' * 32}" for part in ["train"] * 20)]


@pytest.mark.long
def test_a_run_on_a_table_reports_a_picture(command, tmp_path):
    test = f"test,{'VYWTSPFMKL' * 7},{'CCHHHHHEEC' * 7}"
    (tmp_path / "mine.csv").write_text("\n".join([*ROWS, test, test.replace("V", "A")]) + "\n")
    words = ("--width", 8, "--n-layers", 1, "--n-heads", 2, "--batch-size", 4, "--seeds", 1, "--smoke")
    done = command("run", FILE, "--data", tmp_path / "mine.csv", *words, "--directory", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert {"test/q3", "test/q8", "test/q3_windows", "test/gain"} < result["metrics"].keys()
    assert "test chain " in result["report"] and "\nerrors" in result["report"]
    chains = proteins.padded_chains(["ARNDCQEGHILKMFPSTWYV" * 8, "VYWTS"])
    logits = records.read_run(tmp_path / "run").predict(chains).ensemble
    joined = proteins.joined_windows(logits, chains, length=128, context=16)
    assert [one.shape for one in joined] == [(160, 2, 8), (5, 2, 8)]
    (start, first, end), (later, after, last) = proteins.chain_windows(160, length=128, context=16)
    np.testing.assert_array_equal(joined[0][first:end], logits[0, first - start : end - start])
    np.testing.assert_array_equal(joined[0][after:last], logits[1, after - later : last - later])
    for name, given in (("mine.csv", "a table"), ("mine.fa", "a .fa file")):
        (tmp_path / "mine.fa").write_text(">a\nARND\n")
        done = command("predict", tmp_path / "run", tmp_path / name)
        message = (
            "must hold an array of examples (once prepared, (n, 128) of int8, the places of tokens among A, R, N, ...), as the "
            f"training data did, got {given}. Save"
        )
        assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "bad.csv"), "sequence in row 1 of"),
        (("--kernel", 4), "kernel must be an odd number of tokens; got 4. Pass 5."),
        (("--target", "y"), "target must be left out with protein chains, got protein_structure"),
        (("--data", "nowhere.csv"), "chains must be protein_structure or an existing table"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(command, words, message, tmp_path):
    (tmp_path / "bad.csv").write_text("split,sequence,dssp8\ntrain,AR*D,HHEC\ntest,AR,HH\n")
    words = [tmp_path / word if str(word).endswith(".csv") else word for word in words]
    done = command("run", FILE, *words, "--directory", tmp_path / "run")
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "run").exists()
