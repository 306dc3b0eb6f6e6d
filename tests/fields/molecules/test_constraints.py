"""Constrained decoding of molecules: what is allowed is valid, and what is valid is allowed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.fields import molecules

N_NEW, N_TEXTS = 48, 500


@pytest.fixture(scope="module")
def smiles():
    """The molecules of the bundled set that have fewer than 72 tokens."""
    every = [str(one) for part in data.load("b3db").parts().values() for one in part["inputs"]["smiles"]]
    return [one for one in every if len(molecules.tokens(one)) < 72]


@pytest.fixture(scope="module")
def names(smiles):
    return (*sorted({token for one in smiles for token in molecules.tokens(one)}), "<unknown>", "<end>", "<pad>")


def drawn(rules, n_tokens, end, n_new, logits_of):
    """Returns texts whose tokens are drawn among those allowed, with random logits that change at each step."""

    def write(key):
        def step(state, place):
            logits = jnp.where(rules.allowed(state), logits_of(jax.random.fold_in(key, place)), -jnp.inf)
            token = jnp.argmax(logits)
            state = rules.advance(state, token)
            return state, (token, jnp.isfinite(logits.max()))

        return jax.lax.scan(step, rules.init(), jnp.arange(n_new))[1]

    tokens, is_open = jax.jit(jax.vmap(write))(jax.random.split(jax.random.key(0), N_TEXTS))
    tokens = np.asarray(tokens)
    has_ended = np.cumsum(tokens == end, axis=1) > 0
    assert np.asarray(is_open)[~has_ended].all()  # some token is allowed until the end
    return [[int(token) for token in row[: np.argmax(row == end) if (row == end).any() else None]] for row in tokens]


@pytest.mark.long
@pytest.mark.parametrize("scale", [0.0, 4.0])
def test_every_text_that_is_allowed_is_a_valid_molecule(names, scale):
    rules = molecules.smiles_constraint(names, n_new=N_NEW)
    favoured = np.zeros(len(names), np.float32)  # of rings, which a uniform model writes rarely
    for token, bonus in {"c": 3.0, "n": 1.0, "1": 2.0, "2": 2.0, "3": 1.0, "(": 2.0, ")": 1.0, "<end>": -2.0}.items():
        favoured[names.index(token)] = bonus * bool(scale)
    texts = drawn(
        rules, len(names), names.index("<end>"), N_NEW, lambda key: favoured + jax.random.gumbel(key, (len(names),))
    )
    check, _ = molecules.checker()
    written = ["".join(names[token] for token in row) for row in texts]
    assert len({*written}) > N_TEXTS // 2
    assert [one for one in written if not molecules.is_valid(one)] == []
    assert [one for one in written if not check(one)] == []


@functools.cache
def reader(names, n_new):
    """Returns the function from tokens to whether a molecule can still come of each beginning, with enough tokens left."""
    rules = molecules.smiles_constraint(names, n_new=n_new)

    def read(row):
        def step(state, token):
            state = rules.advance(state, token)
            return state, state.is_possible

        return jax.lax.scan(step, rules.init(), row)[1]

    return jax.jit(lambda rows: jax.lax.map(jax.vmap(read), rows))


def refused(names, texts):
    """Returns the texts of which some token is not allowed."""
    end = names.index("<end>")
    ids = [[*map(names.index, molecules.tokens(one)), end] for one in texts]
    rows = np.full((-(-len(ids) // 100) * 100, 72), end)
    for row, one in zip(rows, ids, strict=False):
        row[: len(one)] = one
    allowed = np.asarray(reader(names, 120)(jnp.asarray(rows).reshape(-1, 100, 72))).reshape(-1, 72)
    return [text for text, one, ok in zip(texts, ids, allowed, strict=False) if not ok[: len(one)].all()]
