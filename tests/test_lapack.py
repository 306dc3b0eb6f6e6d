"""Factorisations of many matrices: no thread waits for itself, and each result is that of its matrix alone."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxresearch import devices

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices do not call LAPACK")
MATRICES = np.random.default_rng(0).normal(size=(2, 3, 5, 5)).astype(np.float32)
VECTORS = MATRICES[..., 0]
SQUARES = MATRICES @ MATRICES.swapaxes(-1, -2) + np.eye(5, dtype=np.float32)
PROGRAM = """
import jax, jax.numpy as jnp
from jaxresearch import devices

def factors(key):
    matrices = [jax.random.normal(one, (32, 32)) for one in jax.random.split(key, 4)]
    return [(jnp.linalg.qr(x), jnp.linalg.svd(x), jnp.linalg.eigh(x + x.T), jnp.linalg.cholesky(x @ x.T)) for x in matrices]

compiled = jax.jit(jax.vmap(jax.vmap(factors)))
for repetition in range(40):
    jax.block_until_ready(compiled(jax.random.split(jax.random.key(repetition), (4, 3))))
"""


@pytest.mark.parametrize(
    "factor",
    [
        pytest.param(lambda a, s, v: lax.linalg.cholesky(s), id="cholesky"),
        pytest.param(lambda a, s, v: lax.linalg.eig(a), id="eig"),
        pytest.param(lambda a, s, v: lax.linalg.eigh(s), id="eigh"),
        pytest.param(lambda a, s, v: lax.linalg.hessenberg(a), id="hessenberg"),
        pytest.param(lambda a, s, v: lax.linalg.lu(a), id="lu"),
        pytest.param(lambda a, s, v: lax.linalg.qr(a, full_matrices=False), id="qr"),
        pytest.param(lambda a, s, v: lax.linalg.qr(a, pivoting=True), id="qr with pivots"),
        pytest.param(lambda a, s, v: lax.linalg.ormqr(a, v / 5, s), id="product with q"),
        pytest.param(lambda a, s, v: lax.linalg.schur(a), id="schur"),
        pytest.param(lambda a, s, v: lax.linalg.svd(a), id="svd"),
        pytest.param(lambda a, s, v: lax.linalg.triangular_solve(s, a, left_side=True), id="triangular"),
        pytest.param(lambda a, s, v: lax.linalg.tridiagonal(s), id="to tridiagonal"),
        pytest.param(lambda a, s, v: lax.linalg.tridiagonal_solve(v, v + 9, v, a), id="tridiagonal"),
    ],
)
def test_a_batch_is_factored_as_its_matrices(factor):
    together = jax.jit(factor)(MATRICES, SQUARES, VECTORS)
    mapped = jax.jit(jax.vmap(jax.vmap(factor)))(MATRICES, SQUARES, VECTORS)
    for place in np.ndindex(2, 3):
        alone = jax.jit(factor)(MATRICES[place], SQUARES[place], VECTORS[place])
        for one, *batches in zip(*map(jax.tree.leaves, (alone, together, mapped)), strict=True):
            assert all(np.array_equal(one, batch[place]) for batch in batches)


def test_gradients_pass_through_a_batch():
    def root(square):
        return jnp.log(jnp.diagonal(jnp.linalg.cholesky(square), axis1=-2, axis2=-1)).sum()

    gradient = jax.grad(root)(jnp.asarray(SQUARES))
    np.testing.assert_allclose(gradient, jnp.linalg.inv(SQUARES) / 2, rtol=2e-4, atol=1e-5)


def test_asking_twice_changes_nothing():
    before = jax.jit(jnp.linalg.qr).lower(MATRICES).as_text()
    devices.factor_one_by_one()
    assert jax.jit(jnp.linalg.qr).lower(MATRICES).as_text() == before


@pytest.mark.long
def test_factorisations_end_on_two_threads():
    """Without the loops, all threads of the pool wait for each other with jaxlib 0.10, in the first repetitions."""
    environment = {**os.environ, "PJRT_NPROC": "2", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, timeout=300)
