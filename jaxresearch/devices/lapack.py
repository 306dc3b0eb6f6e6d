"""Factorisations of many matrices on CPUs, without the deadlock of jaxlib before 0.11."""

import functools
import math
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
from jax.interpreters import mlir

_PRIMITIVES = (
    "cholesky_p",
    "eig_p",
    "eigh_p",
    "geqp3_p",
    "geqrf_p",
    "hessenberg_p",
    "householder_product_p",
    "lu_p",
    "ormqr_p",
    "schur_p",
    "svd_p",
    "triangular_solve_p",
    "tridiagonal_p",
    "tridiagonal_solve_p",
)


@functools.cache
def factor_one_by_one() -> None:
    """Make XLA call LAPACK for one matrix of a batch at a time, on CPUs and with jaxlib before 0.11; repeated calls do nothing.

    The kernels of that jaxlib divide a batch among the threads of XLA's pool, on one of which they may run themselves, and wait.
    Once all threads wait, nothing proceeds: on two cores, two QR factorisations of a few matrices each, as in the initial
    parameters of a recurrent network of a sweep, are enough. Results do not change. Thousands of tiny matrices take twice as
    long, and a few large ones a tenth of the time or so, since LAPACK has threads of its own.

    Example:
        >>> factor_one_by_one()
        >>> jax.vmap(jax.numpy.linalg.cholesky)(4 * jax.numpy.ones((3, 1, 1))).ravel().tolist()
        [2.0, 2.0, 2.0]
    """
    if tuple(map(int, version("jaxlib").split(".")[:2])) >= (0, 11):
        return
    # Private names of a range of versions that does not grow any more.
    from jax._src.interpreters.mlir import _platform_specific_lowerings
    from jax._src.lax import linalg

    rules = _platform_specific_lowerings["cpu"]
    for primitive in (getattr(linalg, name) for name in _PRIMITIVES):
        n_core = 1 if primitive is linalg.tridiagonal_solve_p else 2
        mlir.register_lowering(primitive, _one_by_one(primitive, rules[primitive].rule, n_core), platform="cpu")


def _one_by_one(primitive: Any, of_one: Callable[..., Any], n_core: int) -> Callable[..., Any]:
    """Returns a rule that lowers a batch to a loop over its matrices, of which the first operand holds ``n_core`` dimensions."""

    def loop(*arrays, **params):
        batch = arrays[0].shape[: arrays[0].ndim - n_core]
        flat = [array.reshape(-1, *array.shape[len(batch) :]) for array in arrays]
        outputs = jax.lax.map(lambda one: primitive.bind(*one, **params), flat)
        return jax.tree.map(lambda output: output.reshape(*batch, *output.shape[1:]), outputs)

    of_batch = mlir.lower_fun(loop, multiple_results=primitive.multiple_results)

    def rule(ctx, *operands, **params):
        batch = ctx.avals_in[0].shape[: ctx.avals_in[0].ndim - n_core]
        is_batch = all(isinstance(size, int) for size in batch) and math.prod(batch) > 1
        return (of_batch if is_batch else of_one)(ctx, *operands, **params)

    return rule
