"""Molecules as data: refused rows, scaffolds as groups, padded graphs, and networks that read them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import data, metrics, models
from jaxresearch.fields import molecules

SMILES = ["CC(=O)Nc1ccc(O)cc1", "CCO", "c1ccc2[nH]ccc2c1", "C#N", "OC1CCCCC1", "CC(C)Cc1ccc(cc1)C(C)C(=O)O"]
SIZES = {"n_atoms": 16, "length": 24, "n_most": 20, "n_bits": 32}


def table(tmp_path, smiles, name="mine.csv"):
    rows = [f"{one},{'yes' if place % 2 else 'no'}" for place, one in enumerate(smiles)]
    (tmp_path / name).write_text("\n".join(["smiles,active", *rows]) + "\n")
    return str(tmp_path / name)


def load(tmp_path, smiles, **options):
    return molecules.load_molecules(table(tmp_path, smiles), target="active", task="classification", **options)


def test_a_row_that_does_not_parse_is_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"^row 3, column smiles: SMILES must have known atoms \(not \[Zz\]\), got '\[' at position 2"
    ):
        load(tmp_path, ["CC", "CCO", "C[Zz]C", *SMILES])
    with pytest.raises(ValueError, match="^row 2, column smiles: SMILES must have an atom or more, got nothing"):
        load(tmp_path, ["CC", "", *SMILES])


def test_rows_that_do_not_parse_are_listed_and_counted(tmp_path):
    with pytest.raises(ValueError, match=r"of C\(\. Correct it or drop the row\.$"):
        load(tmp_path, ["CC", "C(", *SMILES])
    with pytest.raises(ValueError, match=r"^row 2, .* In all, 2 of 9 rows are not SMILES: 2, 9\.$"):
        load(tmp_path, ["CC", "C(", *SMILES, "C1"])
    with pytest.raises(
        ValueError,
        match=r"^row 7, .* or drop the row\. In all, 8 of 14 rows are not SMILES: 7, 8, 9, 10, 11 and 3 more\.$",
    ):
        load(tmp_path, [*SMILES, *["C(", "C1"] * 4])


def test_data_without_smiles_is_refused_by_the_column(tmp_path):
    with pytest.raises(ValueError, match="^data must have the column smiles; those of splice are sequence"):
        molecules.load_molecules("splice")
    (tmp_path / "mine.csv").write_text("SMILES,active\nCC,yes\nCCO,no\n")
    with pytest.raises(ValueError, match="^data must have the column smiles; those of mine are SMILES"):
        molecules.load_molecules(str(tmp_path / "mine.csv"), target="active")
    np.savez(tmp_path / "mine.npz", x=np.zeros((4, 3)), y=np.arange(4) % 2)
    for name in ("mine.npz", "mine.smi"):
        (tmp_path / "mine.smi").write_text("CC\nCCO\n")
        with pytest.raises(
            ValueError,
            match=rf"^molecules must be in a table \(.*\) with the column smiles, got .*{name}\. Write their SMILES",
        ):
            molecules.load_molecules(str(tmp_path / name))
    with pytest.raises(ValueError, match="^data must have the column smiles; mnist is not a table. Use a table."):
        molecules.load_molecules("mnist")


@pytest.mark.parametrize("rows", [["CC", "CCO", "CC"], [f"{'C' * i}O,x{i}" for i in range(1, 30)]])
def test_a_list_without_names_is_refused(tmp_path, rows):
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    first = rows[0].split(",")[0]
    with pytest.raises(
        ValueError,
        match=f"mine.csv must name its columns in the first line, got the molecule {first}. Add a line above",
    ):
        molecules.load_molecules(str(tmp_path / "mine.csv"), needs_target=False)
    (tmp_path / "mine.csv").write_text("no,SMILES\na,CC\nb,CCO\n")
    with pytest.raises(ValueError, match="^data must have the column smiles; those of mine are no, SMILES"):
        molecules.load_molecules(str(tmp_path / "mine.csv"), needs_target=False)


def test_molecules_may_have_no_target(tmp_path):
    (tmp_path / "mine.csv").write_text("\n".join(["smiles", *SMILES]))
    with pytest.raises(ValueError, match="^target must be a column of .*mine.csv, got None"):
        molecules.load_molecules(str(tmp_path / "mine.csv"))
    found = molecules.load_molecules(str(tmp_path / "mine.csv"), needs_target=False)
    assert found.card.target is None and found.n_train == 5 and not found.train["targets"].any()
    made = data.prepare(molecules.smiles_texts(length=20), found)
    assert made.train["targets"].shape == (5, 20) and made.card.class_names == made.card.vocabulary


def test_a_row_of_a_test_table_is_named_with_its_part(tmp_path):
    other = table(tmp_path, ["CC", "C1CC"], "test.csv")
    with pytest.raises(
        ValueError, match="^row 2 of the test part, column smiles: SMILES must have ring closures that are closed"
    ):
        load(tmp_path, SMILES, test=other)


def test_one_scaffold_cannot_be_split(tmp_path):
    rule = data.Split(by="group", column=molecules.SCAFFOLD)
    with pytest.raises(
        ValueError, match="^molecules must have two scaffolds or more to be split by scaffold, got one in all 4 rows"
    ):
        load(tmp_path, ["Cc1ccccc1", "Oc1ccccc1", "CCc1ccccc1", "Nc1ccccc1"], split=rule)


def test_molecules_of_a_scaffold_stay_together(tmp_path):
    smiles = ["Cc1ccccc1", "Oc1ccccc1", "CCO", "CC", "Cc1ccncc1", "Oc1ccncc1", "C1CCCCC1", "OC1CCCCC1"]
    found = load(tmp_path, smiles, split=data.Split(by="group", column=molecules.SCAFFOLD, fraction=0.25))
    assert list(found.train["inputs"]) == ["smiles"] and len(found.test["targets"]) == 2
    names = [{*molecules.scaffold_names(part["inputs"]["smiles"]).tolist()} for part in (found.train, found.test)]
    assert not names[0] & names[1] and len(names[1]) == 1


def test_a_column_of_scaffolds_in_the_table_is_the_group(tmp_path):
    (tmp_path / "mine.csv").write_text("smiles,scaffold,active\nCC,a,yes\nCCO,a,no\nCCC,b,yes\nCCN,b,no\n")
    rule = data.Split(by="group", column=molecules.SCAFFOLD, fraction=0.5)
    found = molecules.load_molecules(str(tmp_path / "mine.csv"), target="active", split=rule)
    assert {*found.train["inputs"]["smiles"].tolist()} in ({"CC", "CCO"}, {"CCC", "CCN"})
    assert found.card.notes == (
        "groups are those of the table's column scaffold; rename it to have scaffolds computed",
    )


def test_columns_that_are_left_out_are_noted(tmp_path):
    (tmp_path / "mine.csv").write_text("smiles,id,scaffold,active\nCC,3,a,yes\nCCO,7,a,no\nCCC,8,b,yes\nCCN,9,b,no\n")
    found = molecules.load_molecules(str(tmp_path / "mine.csv"), target="active")
    assert found.card.notes[0] == "columns id, scaffold are left out: this experiment reads smiles alone"
    assert not any("left out" in note for note in molecules.load_molecules("b3db").card.notes)


def test_atoms_in_both_cases_are_not_noted(tmp_path):
    smiles = ["C1CCCCC1", "c1ccccc1", "CC", "CCO"]
    for times in (1, 9):  # few, or repeated, they are read as a category first
        assert load(tmp_path, smiles * times).card.columns == (data.Column(name="smiles", kind="text"),)


def test_bundled_sets_have_their_cards():
    barrier, water = data.load("b3db"), data.load("aqsoldb")
    assert barrier.card.class_names == ("no", "yes") and barrier.card.licence == water.card.licence == "CC0-1.0"
    assert [len(part["targets"]) for part in (barrier.train, barrier.test, water.train, water.test)] == [
        6246,
        1561,
        7432,
        1858,
    ]
    assert water.train["targets"].shape == (7432, 1)


@pytest.fixture(scope="module")
def prepared():
    part = {"inputs": {"smiles": np.array(SMILES)}, "targets": np.array([0, 1, 0, 1, 0, 1], np.int32)}
    card = data.DataCard(name="mine", source="memory", class_names=("no", "yes"))
    return data.prepare(molecules.molecule_graphs(**SIZES), data.Dataset(part, part, None, card))


def test_graphs_tokens_and_descriptors_are_prepared(prepared):
    inputs = prepared.train["inputs"]
    assert {name: entry.shape[1:] for name, entry in inputs.items()} == {
        "nodes": (16, 8),
        "edges": (16, 16),
        "tokens": (24,),
        "whole": (30 + 32,),
    }
    np.testing.assert_array_equal(inputs["edges"], inputs["edges"].swapaxes(1, 2))
    assert [(one[:, 0] >= 0).sum() for one in inputs["nodes"]] == [molecules.parse(one).n_atoms for one in SMILES]
    assert (inputs["nodes"] < np.array(molecules.ATOM_LEVELS)).all()
    names = prepared.card.vocabulary
    assert "".join(names[token] for token in inputs["tokens"][1] if token != len(names) - 1) == "CCO"
    np.testing.assert_allclose(inputs["whole"][:, :30].mean(axis=0), 0, atol=1e-6)


def test_fit_sees_the_training_part_alone(prepared):
    graphs = molecules.molecule_graphs(**SIZES)
    part = {"inputs": {"smiles": np.array(["[Na+].[Cl-]", "CCCCCCCCCCCCCCCCCCCCCC"])}}
    made = graphs.apply(prepared.fitted, part, training=False)["inputs"]
    unknown = prepared.card.vocabulary.index("<unknown>")
    assert made["tokens"][0, :3].tolist() == [unknown, unknown, unknown]
    assert (made["nodes"][1, :, 0] >= 0).all()  # cut after 16 atoms


def test_a_new_row_that_does_not_parse_is_named(prepared):
    rows = {"inputs": {"smiles": np.array(["CC", "C("])}}
    with pytest.raises(ValueError, match="^row 2, column smiles: SMILES must have branches that are closed"):
        molecules.molecule_graphs(**SIZES).apply(prepared.fitted, rows, training=False)


def test_texts_of_a_decoder_are_shifted_by_one():
    part = {"inputs": {"smiles": np.array(SMILES)}, "targets": np.zeros(6, np.int32)}
    made = data.prepare(
        molecules.smiles_texts(length=20), data.Dataset(part, part, None, data.DataCard(name="a", source="b"))
    )
    inputs, targets, names = made.train["inputs"], made.train["targets"], made.card.vocabulary
    end, padding = len(names) - 2, len(names) - 1
    assert (inputs[:, 0] == end).all() and inputs[1].tolist()[4:] == [padding] * 16 and (targets[1, 4:] == -1).all()
    assert targets[1, 3] == end and "".join(names[token] for token in targets[1, :3]) == "CCO"
    assert "".join(names[token] for token in targets[0] if token >= 0) == f"{SMILES[0]}<end>"
    is_text = targets[:, :-1] >= 0
    np.testing.assert_array_equal(
        inputs[:, 1:][is_text & (targets[:, 1:] >= 0)], targets[:, :-1][is_text & (targets[:, 1:] >= 0)]
    )
    other = molecules.smiles_texts(length=6).apply(
        made.fitted, {"inputs": {"smiles": np.array(["C[Na]"])}}, training=False
    )
    assert other["targets"][0, 1] == -1 and other["targets"][0, 2] == end


def test_quality_counts_valid_unique_and_novel():
    found = molecules.quality(["CCO", "OCC", "CCN", "c1cccc1", "C("], known=["C(C)O"])
    assert found.valid == 0.6 and found.unique == 2 / 3 and found.novel == 0.5
    assert molecules.quality(["C("], known=[])[:3] == (0, 0, 0)
    with pytest.raises(ValueError, match="^texts must hold one or more, got none"):
        molecules.quality([], known=[])


def test_readers_train_side_by_side_without_changing_each_other(prepared):
    inputs = jax.tree.map(jnp.asarray, prepared.train["inputs"])
    sizes = {"width": 8, "n_layers": 2, "n_hidden": 16, "dropout_rate": 0.1, "n_members": 2, "average": "probabilities"}
    model = molecules.both_readers(len(prepared.card.vocabulary), 62, 2, **sizes)
    params, state = model.init(jax.random.key(0))
    outputs, _ = model.apply(params, state, inputs)
    assert outputs.shape == (6, 2, 3)
    chances = jnp.exp(outputs)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    mean = chances[..., : molecules.BOTH].mean(axis=-1)
    np.testing.assert_allclose(chances[..., molecules.BOTH], mean, rtol=1e-5)
    other = {**params, "graph": jax.tree.map(lambda leaf: leaf + 0.1, params["graph"])}
    changed, _ = model.apply(other, state, inputs)
    np.testing.assert_array_equal(outputs[..., molecules.SEQUENCE], changed[..., molecules.SEQUENCE])
    assert not np.allclose(outputs[..., molecules.GRAPH], changed[..., molecules.GRAPH])
    trained, _ = model.apply(params, state, inputs, jax.random.key(1))
    assert trained.shape == outputs.shape


def test_padding_of_tokens_changes_nothing(prepared):
    inputs = jax.tree.map(jnp.asarray, prepared.train["inputs"])
    n_tokens = len(prepared.card.vocabulary)
    model = molecules.sequence_reader(n_tokens, 62, 2, width=8, n_hidden=16)
    params, state = model.init(jax.random.key(0))
    longer = {**inputs, "tokens": jnp.pad(inputs["tokens"], ((0, 0), (0, 9)), constant_values=n_tokens - 1)}
    short, long = (model.apply(params, state, one)[0] for one in (inputs, longer))
    np.testing.assert_allclose(short, long, rtol=1e-6)


def test_gain_is_the_difference_of_two_models():
    rng = np.random.default_rng(0)
    outputs, targets = jnp.asarray(rng.normal(size=(40, 2, 2)), jnp.float32), jnp.asarray(rng.integers(0, 2, 40))
    auc = metrics.roc_auc()
    found = metrics.gain(auc, 0, 1)(outputs, targets)
    np.testing.assert_allclose(found, auc(outputs[..., 0], targets) - auc(outputs[..., 1], targets), rtol=1e-6)
    halves = [
        jax.tree.map(lambda leaf, half=half: leaf[half], (outputs, targets)) for half in (slice(0, 20), slice(20, 40))
    ]
    summaries = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(metrics.gain(auc, 0, 1).summarise(*half) for half in halves)
    )
    merged = metrics.gain(auc, 0, 1)
    np.testing.assert_allclose(merged.compute(merged.merge(summaries)), found, rtol=1e-6)


def test_ensembles_average_outputs_of_values():
    model = models.ensemble(models.linear(3, 1), n_members=4, average="outputs")
    params, state = model.init(jax.random.key(0))
    inputs = jnp.ones((8, 3))
    members = [
        models.linear(3, 1).apply(jax.tree.map(lambda leaf, m=m: leaf[m], params), {}, inputs)[0] for m in range(4)
    ]
    np.testing.assert_allclose(model.apply(params, state, inputs)[0], np.mean(members, axis=0), rtol=1e-5)


@pytest.mark.raises
def test_ensembles_refuse_an_average_that_is_none():
    with pytest.raises(ValueError, match="^average must be one of probabilities, outputs; got 'logits'"):
        models.ensemble(models.linear(3, 1), n_members=4, average="logits")


def test_molecules_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        molecules.parse("CCO").hydrogens[0] = 9
