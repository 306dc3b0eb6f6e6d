"""Gradients of one example by matrices that multiply one vector, as outer products.

If the loss of an example depends on a matrix W only through one product x W with a vector x, its gradient is the outer product
of x and the gradient d of x W. Its norm is ``|x| |d|``, and sums over examples are one matrix product: no gradient of an
example is stored. With several vectors per example (tokens, positions of a convolution) its norm takes as much arithmetic as
the gradient itself and, computed from products of pairs of vectors, loses digits by cancellation, so it is computed directly.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var
from jax.extend.core.primitives import dot_general_p, jit_p
from jaxtyping import Array, Float

from jaxresearch.gradients import Params


class _Product(NamedTuple):
    """The only product of a weight with a vector."""

    vector_axes: tuple[int, ...]  # contracted with those of the weight, in this order
    weight_axes: tuple[int, ...]
    weight_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


@functools.partial(jax.tree_util.register_dataclass, data_fields=["inputs", "outputs"], meta_fields=["product"])
@dataclasses.dataclass(frozen=True)
class Outer:
    """The gradient of a weight for one example, or several stacked ones: the outer product of two vectors.

    Attributes:
        inputs: The vector that the weight multiplies.
        outputs: The gradient by the result.
        product: The axes of the weight.
    """

    inputs: Any  # arrays, or placeholders of transforms
    outputs: Any
    product: _Product


def gradient(loss_of: Callable[..., Float[Array, ""]], params: Params, *arguments: Any) -> list[Array | Outer]:
    """Returns the gradient by each array of the parameters, as an outer product where it is one.

    It is an outer product for float32 and wider arrays that are used once, in a matrix product with one vector, outside of loops,
    rematerialised parts and functions with derivatives of their own. Narrower arrays have their gradients rounded, entry by
    entry, which an outer product would not reproduce.

    Args:
        loss_of: ``(params, *arguments) -> loss``, of one example.
        params: Floating-point arrays.
        *arguments: Trees of arrays.

    Returns:
        The gradients, in the order of ``jax.tree.leaves(params)``.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss_of(params, x):
        ...     return jnp.sum(x @ params["weight"] + params["bias"])
        >>> params = {"weight": jnp.ones((3, 2)), "bias": jnp.ones(2)}
        >>> bias, weight = gradient(loss_of, params, jnp.array([1.0, 2.0, 3.0]))
        >>> bias.tolist(), weight.inputs.tolist(), weight.outputs.tolist()
        ([1.0, 1.0], [1.0, 2.0, 3.0], [1.0, 1.0])
    """
    leaves = jax.tree.leaves(params)
    traced = jax.make_jaxpr(loss_of)(params, *arguments)
    products = _products(traced.jaxpr, len(leaves))
    if not products:
        return jax.tree.leaves(jax.grad(loss_of)(params, *arguments))

    def perturbed(others, perturbations):
        given = [*(others.get(i, leaf) for i, leaf in enumerate(leaves)), *jax.tree.leaves(arguments)]
        indices = {traced.jaxpr.invars[i]: i for i in products}
        (loss,), vectors = _perturbed(traced.jaxpr, traced.consts, given, indices, perturbations)
        return loss, vectors

    others = {i: leaf for i, leaf in enumerate(leaves) if i not in products}
    perturbations = {i: jnp.zeros(product.output_shape, leaves[i].dtype) for i, product in products.items()}
    (gradients, outputs), vectors = jax.grad(perturbed, (0, 1), has_aux=True)(others, perturbations)
    found = {i: Outer(_flat(vectors[i], product), outputs[i].reshape(-1), product) for i, product in products.items()}
    return [gradients[i] if i in gradients else found[i] for i in range(len(leaves))]


def scaled(outer: Outer, factor: int | float) -> Outer:
    """Returns the outer product times a factor, with the largest entry of ``inputs`` at 1.

    So no square of it overflows or vanishes unless one of the whole product does.

    Args:
        outer: Of one example.
        factor: Any number.

    Returns:
        The scaled product.

    Example:
        >>> import jax.numpy as jnp
        >>> outer = Outer(jnp.array([1e-30, 0.0]), jnp.array([1e30]), None)
        >>> [round(float(leaf[0]), 3) for leaf in (scaled(outer, 2).inputs, scaled(outer, 2).outputs)]
        [1.0, 2.0]
    """
    largest = jnp.max(jnp.abs(outer.inputs), initial=0)
    inputs = outer.inputs / jnp.where(largest > 0, largest, 1)
    return Outer(inputs, outer.outputs * factor * largest, outer.product)


def square_norm(outer: Outer) -> Float[Array, ""]:
    """Returns the sum of the squares of all entries of the outer product.

    Args:
        outer: Of one example, as returned by `scaled`.

    Returns:
        The square of its Euclidean norm.

    Example:
        >>> import jax.numpy as jnp
        >>> float(square_norm(Outer(jnp.array([1.0, 2.0]), jnp.array([3.0]), None)))
        45.0
    """
    return jnp.sum(jnp.square(outer.inputs)) * jnp.sum(jnp.square(outer.outputs))


def weighted_sum(outer: Outer, scales: Float[Array, " examples"]) -> Float[Array, "..."]:
    """Returns the sum of the outer products of several examples, each times its scale, in the shape of the weight.

    Args:
        outer: Of stacked examples, as returned by `scaled`.
        scales: 0 or more; an example with a scale of 0 may hold anything.

    Returns:
        The sum.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def gradient_of(x):
        ...     return gradient(lambda w, x: jnp.sum(x @ w), jnp.ones((2, 1)), x)[0]
        >>> outer = jax.vmap(gradient_of)(jnp.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> weighted_sum(outer, jnp.array([1.0, 0.5])).tolist()
        [[2.5], [4.0]]
    """
    counts, scales = scales[:, None] > 0, scales[:, None]
    inputs, outputs = jnp.where(counts, outer.inputs, 0), jnp.where(counts, outer.outputs * scales, 0)
    return _in_shape(jnp.matmul(inputs.T, outputs, precision="highest"), outer.product)


def _products(jaxpr: Jaxpr, n_params: int) -> dict[int, _Product]:
    """Returns the products of the parameters that are used once, as the weight of a product."""
    uses = _uses(jaxpr, {variable: i for i, variable in enumerate(jaxpr.invars[:n_params])})
    n_uses = {i: sum(index == i for index, _ in uses) for i in range(n_params)}
    return {i: product for i, product in uses if n_uses[i] == 1 and product is not None}


def _uses(jaxpr: Jaxpr, indices: dict[Var, int]) -> list[tuple[int, _Product | None]]:
    """Returns the index of the parameter in each use of one, with the product if the use is one."""
    uses: list[tuple[int, _Product | None]] = [(i, None) for _, i in _among(jaxpr.outvars, indices)]
    for equation in jaxpr.eqns:
        used = _among(equation.invars, indices)
        if used and _is_inlined(equation):
            inner = equation.params["jaxpr"].jaxpr
            uses += _uses(inner, {inner.invars[at]: i for at, i in used})
        else:
            uses += [(i, _product_of(equation, at)) for at, i in used]
    return uses


def _among(atoms: Any, indices: dict[Var, int]) -> list[tuple[int, int]]:
    """Returns the positions of parameters among the atoms, each with the index of the parameter."""
    return [(at, indices[v]) for at, v in enumerate(atoms) if not isinstance(v, Literal) and v in indices]


def _is_inlined(equation: JaxprEqn) -> bool:
    """Returns whether an equation calls a jitted function, in which products are found."""
    return equation.primitive is jit_p and not equation.params["jaxpr"].consts


def _product_of(equation: JaxprEqn, at: int) -> _Product | None:
    """Returns the product of an equation whose operand at a position is a weight and the other is one vector."""
    if equation.primitive is not dot_general_p:
        return None
    axes, batch_axes = equation.params["dimension_numbers"]
    # pyright does not see that the type of an array has a shape.
    weight, vector, output = (
        cast(Any, atom.aval) for atom in (equation.invars[at], equation.invars[1 - at], equation.outvars[0])
    )
    n_vectors = math.prod(size for i, size in enumerate(vector.shape) if i not in axes[1 - at])
    if any(batch_axes) or n_vectors != 1 or not _are_wide(weight, vector, output):
        return None
    return _Product(tuple(axes[1 - at]), tuple(axes[at]), weight.shape, output.shape)


def _are_wide(*arrays: Any) -> bool:
    """Returns whether arrays are of one type, float32 or wider."""
    types = {array.dtype for array in arrays}
    return len(types) == 1 and types <= {jnp.dtype(jnp.float32), jnp.dtype(jnp.float64)}


def _perturbed(
    jaxpr: Jaxpr, consts: Any, arguments: Any, indices: dict[Var, int], perturbations: dict[int, Array]
) -> tuple[list[Array], dict[int, Array]]:
    """Returns the values of a function with perturbations added to its products, and the vectors of these products."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))
    vectors: dict[int, Array] = {}

    def read(atoms: Any) -> list[Any]:
        return [atom.val if isinstance(atom, Literal) else values[atom] for atom in atoms]

    for equation in jaxpr.eqns:
        given, used = read(equation.invars), _among(equation.invars, indices)
        if used and _is_inlined(equation):
            inner = equation.params["jaxpr"].jaxpr
            inside = {inner.invars[at]: i for at, i in used}
            results, found = _perturbed(inner, (), given, inside, perturbations)
            vectors |= found
        else:
            results = equation.primitive.bind(*given, **equation.primitive.get_bind_params(equation.params))
            results = results if equation.primitive.multiple_results else [results]
            for at, i in used:
                results, vectors[i] = [results[0] + perturbations[i]], given[1 - at]
        values.update(zip(equation.outvars, results, strict=True))
    return read(jaxpr.outvars), vectors


def _flat(vector: Array, product: _Product) -> Float[Array, " inputs"]:
    """Returns the vector of a product with its contracted axes in the order of the weight's."""
    others = [axis for axis in range(vector.ndim) if axis not in product.vector_axes]
    return vector.transpose(*others, *product.vector_axes).reshape(-1)


def _in_shape(matrix: Float[Array, "inputs outputs"], product: _Product) -> Float[Array, "..."]:
    """Returns a sum of outer products in the shape of the weight."""
    kept = [axis for axis in range(len(product.weight_shape)) if axis not in product.weight_axes]
    axes = [*product.weight_axes, *kept]
    return matrix.reshape([product.weight_shape[axis] for axis in axes]).transpose(
        [axes.index(axis) for axis in range(len(axes))]
    )
