"""Constrained decoding of molecules: what is allowed is valid, and what is valid is allowed."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.fields import molecules
from jaxresearch.fields.molecules import states

N_NEW, N_TEXTS = 48, 500
RINGS = {"c": 3.0, "n": 1.0, "1": 2.0, "2": 2.0, "3": 1.0, "(": 2.0, ")": 1.0, "<end>": -2.0}
SMALL = ("C", "c", "n", "[nH]", "O", "N", "F", "=", "#", "-", "/", "(", ")", "1", "2", ".", "<end>")


@pytest.fixture(scope="module")
def smiles():
    """The molecules of the bundled set that have fewer than 72 tokens."""
    every = [str(one) for part in data.load("b3db").parts().values() for one in part["inputs"]["smiles"]]
    return [one for one in every if len(molecules.tokens(one)) < 72]


@pytest.fixture(scope="module")
def names(smiles):
    return (*sorted({token for one in smiles for token in molecules.tokens(one)}), "<unknown>", "<end>", "<pad>")


def drawn(names, n_new, n_texts, favoured):
    """Returns texts whose tokens are drawn among those allowed: evenly, except for the logits of the favoured ones."""
    rules, end = molecules.smiles_constraint(names, n_new=n_new), names.index("<end>")
    logits = jnp.array([favoured.get(name, 0.0) for name in names])

    def write(key):
        def step(state, place):
            allowed = rules.allowed(state)
            noise = jax.random.gumbel(jax.random.fold_in(key, place), logits.shape)
            token = jnp.argmax(jnp.where(allowed, logits + noise, -jnp.inf))
            return rules.advance(state, token), (token, allowed.any())

        return jax.lax.scan(step, rules.init(), jnp.arange(n_new))[1]

    tokens, is_open = map(np.asarray, jax.jit(jax.vmap(write))(jax.random.split(jax.random.key(0), n_texts)))
    is_before = np.cumsum(tokens == end, axis=1) == 0
    assert is_open[is_before].all()  # some token is allowed until a text has ended
    return ["".join(names[token] for token in row[kept]) for row, kept in zip(tokens, is_before, strict=True)]


@pytest.mark.long
@pytest.mark.parametrize("favoured", [{}, RINGS], ids=["even", "rings"])
def test_every_text_that_is_allowed_is_a_valid_molecule(names, favoured):
    texts = drawn(names, N_NEW, N_TEXTS, favoured)
    assert len({*texts}) > 0.9 * N_TEXTS
    check, _ = molecules.checker()  # RDKit where it is installed
    for one in texts:
        molecules.require_valences(molecules.parse(one))
        assert check(one), one


NESTED = {  # four aromatic systems within each other, or nearly so
    r"CN(C)CCOc1ccc(-c2nc(-c3ccc4c(c3)CC/C4=N\CO)c(-c3ccncc3)[nH]2)cc1",
    "CS(=O)(=O)CCNCc1ccc(-c2ccc3ncnc(Nc4ccc(OCc5cccc(F)c5)c(Cl)c4)c3c2)o1",
    "Cc1ccc(-n2[nH]c(C)c(N=Nc3cccc(-c4cccc(C(=O)O)c4)c3O)c2=O)cc1C",
    "Cc1cn(-c2cc(NC(=O)c3ccc(C)c(Nc4nccc(-c5cccnc5)n4)c3)cc(C(F)(F)F)c2)cn1",
    "CCc1ccc(-n2cnc3c(sc4nccc(N(C)CCc5ccccn5)c43)c2=O)cc1",
}


@pytest.mark.long
def test_all_but_a_few_molecules_of_the_data_are_allowed(smiles, names):
    rules, end = molecules.smiles_constraint(names, n_new=120), names.index("<end>")
    ids = [[*map(names.index, molecules.tokens(one)), end] for one in smiles]
    rows = np.full((-(-len(ids) // 100) * 100, 72), end)
    for row, one in zip(rows, ids, strict=False):
        row[: len(one)] = one

    def read(row):
        def step(state, token):  # `allowed` is this, for all tokens at once
            state = rules.advance(state, token)
            has_slots = (state.slots < 0).sum() >= states.N_RESERVED
            return state, state.is_possible & has_slots & (states.n_needed(state) <= state.n_left)

        return jax.lax.scan(step, rules.init(), row)[1]

    fits = np.asarray(jax.jit(lambda rows: jax.lax.map(jax.vmap(read), rows))(rows.reshape(-1, 100, 72)))
    refused = [
        text for text, one, fit in zip(smiles, ids, fits.reshape(-1, 72), strict=False) if not fit[: len(one)].all()
    ]
    is_written = [re.search(r"[a-z][-=]\d|[-=]\dc|[-=]\d[(]|=\d", text) is not None for text in refused]
    reasons = [
        text in NESTED or not molecules.is_valid(text) or written
        for text, written in zip(refused, is_written, strict=True)
    ]
    assert all(reasons) and len(refused) == 13 and len(smiles) == 7098


@pytest.fixture(scope="module")
def following():
    """The function from SMILES to the tokens of `SMALL` that are allowed after it."""
    rules = molecules.smiles_constraint(SMALL, n_new=60)
    advance, allowed = jax.jit(rules.advance), jax.jit(rules.allowed)

    def read(text):
        state = rules.init()
        for token in molecules.tokens(text) if text else ():
            state = advance(state, SMALL.index(token))
        return {name for name, is_allowed in zip(SMALL, np.asarray(allowed(state)), strict=True) if is_allowed}

    return read


@pytest.mark.long
def test_valences_branches_and_rings_decide_what_may_follow(following):
    assert following("") == {"C", "c", "n", "[nH]", "O", "N", "F"}
    assert following("CF") == {".", "<end>"}
    assert following("C(F") == {")"}
    assert following("O=") == {"C", "N", "O", "c"}  # not F; c may have a double bond outside its ring
    assert following("C#") == {"C", "N", "1", "2"}
    assert following("C1CF") == set() and "F" not in following("C1C")  # the ring could not be closed
    assert "1" not in following("C1") | following("C1C") and "1" in following("C1CC")
    assert "<end>" not in following("C1CC") and "<end>" in following("C1CC1")
    assert following("C(C)") >= {"C", "=", "("} and not following("C(C)") & {")", "<end>", "1"}


@pytest.mark.long
def test_aromatic_rings_close_with_alternating_double_bonds(following):
    assert following("c") == {"1", "2"}
    assert "1" in following("c1ccccc") and "1" not in following("c1ccc")  # three-, four-membered
    assert following("c1cccc1") == {"="}  # =O, say, settles it
    assert "<end>" in following("c1ccc[nH]1") and "<end>" in following("c1ccccc1")
    assert "<end>" not in following("c1cccn1") and "C" in following("c1cccn1")
    assert not following("c1cc") & {"C", "O", "F", "<end>", "=", "-"}  # the ring is not left before it is closed


def test_a_vocabulary_that_cannot_finish_is_refused():
    with pytest.raises(
        ValueError, match=r"^vocabulary must have the tokens that finish a molecule, got none for 1, =\. "
    ):
        molecules.smiles_constraint(("C", "c", "<end>"), n_new=20)
    with pytest.raises(ValueError, match="^n_new must be 16 or more, got 8"):
        molecules.smiles_constraint(SMALL, n_new=8)
