"""Proteins: letters, the reduction to three classes, windows of chains, tables, and scores against plain loops."""

import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import data, metrics
from jaxresearch.fields import proteins

EIGHT_TO_THREE = dict(zip("HGIEBTSC", "HHHEECCC", strict=True))


def _random_logits(shape, seed=0):
    return np.random.default_rng(seed).normal(size=(*shape, 8)).astype(np.float32)


def test_residues_number_the_twenty_amino_acids():
    assert len(set(proteins.RESIDUES)) == 20 and set(proteins.RESIDUES) == set("ACDEFGHIKLMNPQRSTVWY")
    np.testing.assert_array_equal(proteins.residues(proteins.RESIDUES), np.arange(20))
    np.testing.assert_array_equal(proteins.residues("arXuBzjO"), [0, 1, *[proteins.UNKNOWN] * 6])
    assert proteins.letters(proteins.residues("MKVLX")) == "MKVLX"
    assert len({*range(20), proteins.UNKNOWN, proteins.MASK, proteins.PADDING}) == proteins.N_TOKENS


def test_three_states_follow_the_table_of_letters():
    for place, state in enumerate(proteins.STATES):
        expected = "HEC".index(EIGHT_TO_THREE[state])
        assert proteins.states(state).tolist() == [place]
        assert proteins.three_states(np.array([place])).tolist() == [expected]
        assert proteins.three_states(jnp.array([place])).tolist() == [expected]
    assert proteins.states("C- ").tolist() == [7, 7, 7]
    assert proteins.three_states(jnp.array([-1])).tolist() == [-1]


def test_merged_logits_have_the_summed_probabilities():
    logits = _random_logits((5,))
    eight, three = jax.nn.softmax(logits), jax.nn.softmax(proteins.merged(jnp.asarray(logits)))
    np.testing.assert_allclose(three[:, 0], eight[:, :3].sum(axis=1), rtol=1e-5)  # float32
    np.testing.assert_allclose(three[:, 1], eight[:, 3:5].sum(axis=1), rtol=1e-5)


@pytest.mark.raises
@pytest.mark.parametrize(
    ("function", "text", "message"),
    [
        (proteins.residues, "AR-N", r"sequence must hold amino acids \(.*\) alone, got '-' at position 3\. Correct"),
        (proteins.residues, "AÅ", "got 'Å' at position 2"),
        (proteins.residues, "", "sequence must hold amino acids .*, got none"),
        (proteins.residues, None, "sequence must be a string, got None. Fill it in or drop the chain."),
        (proteins.states, 3, "structure must be a string, got int"),
        (
            proteins.padded_chains,
            "ARN",
            r"sequences must be a list of one or more strings, got one string. Pass \[sequence\].",
        ),
        (proteins.padded_chains, [], "sequences must be a list of one or more strings, got none"),
        (proteins.padded_chains, ["AR", None], "sequence 2 must be a string, got None"),
        (proteins.states, "HHQ", r"structure must hold states of DSSP \(HGIEBTSC\) alone, got 'Q' at position 3"),
    ],
)
def test_what_is_no_chain_is_refused(function, text, message):
    with pytest.raises(ValueError, match=message):
        function(text)


@pytest.mark.parametrize("n_residues", [1, 30, 64, 65, 96, 97, 128, 400, 1001])
@pytest.mark.parametrize(("length", "context"), [(64, 16), (64, 0), (31, 15)])
def test_windows_own_each_residue_once_and_far_from_cuts(n_residues, length, context):
    cuts = proteins.chain_windows(n_residues, length=length, context=context)
    owned = np.concatenate([np.arange(first, end) for _, first, end in cuts])
    np.testing.assert_array_equal(owned, np.arange(n_residues))
    for start, first, end in cuts:
        assert start <= first < end <= start + length and (start + length <= n_residues or len(cuts) == 1)
        assert first - start >= context or start == 0
        assert start + length - end >= context or end == n_residues


def test_windowed_parts_hold_each_residue_once_in_context():
    chains = proteins.load_chains("protein_structure")
    part = {name: values[:40] for name, values in chains.train.items()}
    cut = proteins.windowed(length=128, context=16).apply({}, part, training=True)
    assert cut["inputs"].shape == cut["targets"].shape and cut["inputs"].dtype == cut["targets"].dtype == np.int8
    for chain in range(40):
        rows, n = cut["groups"] == chain, (part["inputs"][chain] != proteins.PADDING).sum()
        asked = cut["targets"][rows] >= 0
        np.testing.assert_array_equal(cut["targets"][rows][asked], part["targets"][chain, :n])
        np.testing.assert_array_equal(cut["inputs"][rows][asked], part["inputs"][chain, :n])
    without = proteins.windowed(length=128, context=16).apply({}, {"inputs": part["inputs"]}, training=False)
    np.testing.assert_array_equal(without["inputs"], cut["inputs"])
    assert sorted(without) == ["groups", "inputs"]
    joined = proteins.joined_windows(cut["inputs"], part["inputs"], length=128, context=16)
    for chain, padded in zip(joined, part["inputs"], strict=True):
        np.testing.assert_array_equal(chain, padded[padded != proteins.PADDING])
    with pytest.raises(ValueError, match=r"^values must be of \d+ windows of 128 residues, got shape"):
        proteins.joined_windows(cut["inputs"][1:], part["inputs"], length=128, context=16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 10, "context": 5}, "context must be 0 or more and less than half of 10 residues, got 5"),
        ({"length": 10, "context": -1}, "got -1"),
    ],
)
def test_windows_refuse_a_context_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        proteins.chain_windows(20, **options)
    with pytest.raises(ValueError, match="a chain must have a residue or more, got 0"):
        proteins.chain_windows(0, length=10, context=1)


def test_the_bundled_chains_are_in_their_declared_parts(monkeypatch):
    chains = proteins.load_chains("protein_structure")
    sizes = {name: ((part["targets"] >= 0).sum(), len(part["inputs"])) for name, part in chains.parts().items()}
    assert sizes == {"train": (698681, 4000), "validation": (88887, 493), "test": (86523, 500)}
    for part in chains.parts().values():
        np.testing.assert_array_equal(part["inputs"] == proteins.PADDING, part["targets"] < 0)
    held = {name: {row.tobytes() for row in part["inputs"]} for name, part in chains.parts().items()}
    assert not held["train"] & held["test"] and not held["train"] & held["validation"]
    three = proteins.three_states(chains.test["targets"])
    shares = np.bincount(three[three >= 0]) / (three >= 0).sum()
    np.testing.assert_allclose(shares, [0.3972, 0.2294, 0.3734], atol=5e-5)  # counts of letters in the file
    assert chains.card.licence == "Apache-2.0" and chains.card.name == "protein_structure"
    altered = data.DataCard(name="protein_structure", source="", sha256=(("protein_dssp8.tsv.xz", "0" * 64),))
    monkeypatch.setitem(inspect.unwrap(proteins.load_chains).__globals__, "PROTEIN_STRUCTURE", altered)
    with pytest.raises(ValueError, match="protein_dssp8.tsv.xz"):
        proteins.load_chains("protein_structure")


ROWS = ["split,sequence,dssp8", "train,ARND,HHEC", "valid,ARN,HHE", "test,AR,CC"]


def test_read_chains_takes_tables_with_and_without_validation(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(ROWS))
    chains = proteins.read_chains(path)
    assert chains.train["inputs"].tolist() == [[0, 1, 2, 3]] and chains.card.feature_shape == (4,)
    assert chains.parts()["validation"]["targets"].tolist() == [[0, 0, 3, -1]]
    path.write_text("\n".join([*ROWS[:2], ROWS[3]]))
    assert proteins.load_chains(path).validation is None


def test_what_is_read_otherwise_than_written_is_noted(tmp_path):
    path = tmp_path / "mine.csv"
    rows = ["train,ARNdbzu,HHHHHHH,a", "train,arn,HHe,b", "test,ARBX,CCCC,c"]
    path.write_text("\n".join([f"{ROWS[0]},pdb", *rows]))
    chains = proteins.read_chains(path)
    notes = (
        "column pdb is left out: this experiment reads split, sequence and dssp8 alone",
        "small letters in 2 cells of column sequence are read as capitals",
        "small letters in 1 cell of column dssp8 are read as capitals",
        "residues that are read as X, an unknown one: 2 B, 1 U, 1 Z",
    )
    assert chains.card.notes == notes
    cut = data.prepare(proteins.windowed(length=4, context=1), chains)
    assert cut.card.notes[4:] == ("examples are windows of 4 residues at most, into which the chains are cut",)
    path.write_text("\n".join(ROWS))
    assert proteins.read_chains(path).card.notes == proteins.load_chains("protein_structure").card.notes == ()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["train,AR1D,HHEC"], r"^sequence in row 1 of .*bad.csv must hold amino acids .* got '1' at position 3"),
        ([ROWS[1], "test,ARN,HHQ"], r"^dssp8 in row 2 of .*bad.csv must hold states of DSSP .* got 'Q' at position 3"),
        (
            [ROWS[1], "test,ARN,HH"],
            "^row 2 of .*bad.csv must have a state for each residue, got 3 residues and 2 states",
        ),
        ([ROWS[1], "tset,ARN,HHH"], "^split in row 2 of .*bad.csv must be train, valid or test, got 'tset'"),
        ([ROWS[1], "train,,"], "^sequence in row 2 of .*bad.csv must hold amino acids .*, got none"),
        ([ROWS[1]], "must have rows whose split is test, got none"),
        ([ROWS[3]], "must have rows whose split is train, got none"),
    ],
)
def test_read_chains_names_the_row_that_is_wrong(rows, message, tmp_path):
    (tmp_path / "bad.csv").write_text("\n".join([ROWS[0], *rows]) + "\n")
    with pytest.raises(ValueError, match=message):
        proteins.read_chains(tmp_path / "bad.csv")


def test_load_chains_refuses_other_sources_and_options(tmp_path):
    (tmp_path / "bad.csv").write_text("split,sequence,dssp\ntrain,A,H\n")
    with pytest.raises(ValueError, match="must have the columns split, sequence, dssp8, got no dssp8.*Add it"):
        proteins.load_chains(tmp_path / "bad.csv")
    with pytest.raises(ValueError, match="chains must be protein_structure or an existing table .*, got nowhere.csv"):
        proteins.load_chains("nowhere.csv")
    with pytest.raises(ValueError, match="split, target must be left out with protein chains, got protein_structure"):
        proteins.load_chains("protein_structure", target="y", split=data.Split(by="stretch"))
    assert proteins.load_chains("protein_structure", cipher=object()).train


def test_window_regression_sums_over_the_window_of_each_residue():
    model, generator = proteins.window_regression(3, width=5), np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))[0]
    params = {name: jnp.asarray(generator.normal(size=leaf.shape), jnp.float32) for name, leaf in shapes.items()}
    tokens = generator.integers(0, 20, (2, 9)).astype(np.int8)
    expected = np.tile(np.asarray(params["bias"]), (2, 9, 1))
    for row, place, step in np.ndindex(2, 9, 5):
        at = place + step - 2
        token = tokens[row, at] if 0 <= at < 9 else proteins.PADDING
        expected[row, place] += params["weights"][step, token]
    np.testing.assert_allclose(jax.jit(model.apply)(params, {}, tokens)[0], expected, atol=1e-5)  # float32
    with pytest.raises(ValueError, match="width must be an odd number of residues, got 4"):
        proteins.window_regression(3, width=4)


def test_q3_and_q8_equal_loops_over_residues():
    logits, generator = _random_logits((4, 2, 6)).swapaxes(1, 2), np.random.default_rng(1)
    states, weights = generator.integers(-1, 8, (4, 6)), np.array([1.0, 0.0, 2.0, 1.0], np.float32)
    totals = np.zeros((2, 3))  # of each model: residues, right states, right classes
    for row, place in np.ndindex(4, 6):
        if states[row, place] < 0:
            continue
        for one in range(2):
            odds = np.exp(logits[row, place, one])
            three = odds[:3].sum(), odds[3:5].sum(), odds[5:].sum()
            is_right = "HHHEECCC"[states[row, place]] == "HEC"[int(np.argmax(three))]
            totals[one] += weights[row] * np.array([1, odds.argmax() == states[row, place], is_right])
    for one in range(2):
        values = [
            metrics.of_model(metric, one, axis=2)(logits, states, weights) for metric in (proteins.q8(), proteins.q3())
        ]
        np.testing.assert_allclose(values, totals[one, 1:] / totals[one, 0], rtol=1e-6)


def test_chain_accuracies_equal_a_loop_over_chains():
    generator = np.random.default_rng(2)
    correct, counted = generator.integers(0, 2, (2, 12, 7)).astype(bool)
    groups = np.repeat([3, 5, 9], 4)
    expected = [correct[groups == one][counted[groups == one]].mean() for one in (3, 5, 9)]
    np.testing.assert_allclose(proteins.chain_accuracies(correct, counted, groups), expected)


def test_summary_shows_the_median_chain_whole():
    part = proteins.windowed(length=8, context=2).apply(
        {},
        {
            "inputs": np.stack([proteins.residues("ARNDCQEGHILK"), proteins.residues("MFPSTWYVARND")]),
            "targets": np.stack([proteins.states("HHHHHHEEEECC"), proteins.states("EEEEEEEEEEEE")]),
        },
        training=False,
    )
    text = proteins.summary(part, lambda tokens: np.tile(np.eye(8)[0], (*tokens.shape, 1)))  # helices alone
    assert "correct: helix 1.000, strand 0.000, rest 0.000; mean over 2 chains 0.250 (0.000 to 0.500)" in text
    assert "test chain 2, correct 0.000:\n     1 MFPSTWYVARND\ntrue   EEEEEEEEEEEE\nfound  HHHHHHHHHHHH" in text


def test_drawing_marks_errors_and_wraps():
    lines = proteins.drawing(np.arange(5), np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0]), n_columns=3)
    assert lines == ("     1 ARN\ntrue   HHE\nfound  HEE\nerrors  x\n\n     4 DC\ntrue   --\nfound  -H\nerrors  x")
    with pytest.raises(ValueError, match="the same length, got 2, 2 and 1"):
        proteins.drawing([0, 1], [0, 1], [0])
    with pytest.raises(ValueError, match="n_columns must be 1 or more, got 0"):
        proteins.drawing([0], [0], [0], n_columns=0)


def test_the_licence_and_citation_are_beside_the_chains():
    folder = Path(data.__file__).parent / "archives" / "protein_structure"
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert "10.1371/journal.pcbi.1008667" in (folder / "README.md").read_text()
