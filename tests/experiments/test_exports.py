"""Models that take a dict of arrays, as files for other programs: they give what ``predict`` gives."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import records

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SMALL = {
    "drug_discovery": "--width 8 --n-layers 1 --n-hidden 8 --n-members 1",
    "solubility": "--width 8 --n-layers 1 --n-hidden 8",
    "pupil_growth": "",
}


@pytest.fixture
def trained(command, tmp_path):
    """Trains an experiment for a few steps; returns its run and the exported function with its schema."""

    def trained(name):
        run = ("run", EXPERIMENTS / f"{name}.py", *SMALL[name].split(), "--smoke", "--seeds", 2, "--directory", "run")
        for words in (run, ("export", "run", "--to", "stablehlo")):
            done = command(*words, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        content = (tmp_path / "run" / "model.stablehlo").read_bytes()
        schema = json.loads((tmp_path / "run" / "model.stablehlo.json").read_text())
        return records.read_run(tmp_path / "run"), jax.export.deserialize(bytearray(content)), schema

    return trained


@pytest.mark.long
@pytest.mark.parametrize(("name", "values"), [("drug_discovery", "probabilities"), ("solubility", "values")])
def test_a_model_of_molecules_takes_what_its_schema_names(command, trained, name, values):
    run, exported, schema = trained(name)
    molecules = {"smiles": ["CCO", "c1ccccc1C(=O)O", "CC(C)NCC(O)c1ccc(O)c(O)c1"]}
    inputs = run.model.prepared(molecules).test["inputs"]
    described = {key: {"shape": ["n", *one.shape[1:]], "dtype": str(one.dtype)} for key, one in inputs.items()}
    assert schema["inputs"]["arrays"] == described and schema["inputs"]["prepared"] is True
    done = command("explain", run.path)
    message = "explain shows images, tokens, one-hot DNA and tables, got a dict of nodes, edges, tokens, whole for each example."
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    found, expected = exported.call(inputs), run.predict(molecules)
    np.testing.assert_allclose(found[values], expected.ensemble, rtol=1e-4, atol=1e-5)  # float32, in other batches
    np.testing.assert_allclose(found["spread"], expected.spread, rtol=1e-3, atol=1e-5)
    inputs["whole"] = inputs["whole"][:, 1:]
    with pytest.raises(ValueError, match="shape"):
        exported.call(inputs)


@pytest.mark.long
def test_columns_may_become_a_dict_in_the_function(trained):
    """JAX sorts the keys of a dict: scores by year would be taken in the order of their names."""
    run, exported, schema = trained("pupil_growth")
    years = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]
    scores = np.array([[-2.0, -1.2, -0.3, np.nan, np.nan, np.nan], [np.nan, -1.0, np.nan, 1.1, np.nan, np.nan]])
    rows = {"schoolid": ["2020", "2040"], "year": [0.5, 1.5]}
    rows |= {f"score {year:g}": scores[:, place] for place, year in enumerate(years)}
    columns = {one["name"]: one for one in schema["inputs"]["columns"]}
    assert [*columns] == [*rows] and columns["schoolid"]["levels"][:2] == rows["schoolid"]
    given = {**rows, "schoolid": [0, 1]}
    found = exported.call({name: np.asarray(values, columns[name]["dtype"]) for name, values in given.items()})
    np.testing.assert_allclose(found["values"], run.predict(rows).ensemble, rtol=1e-5, atol=1e-6)
