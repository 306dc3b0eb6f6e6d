"""Recurrent networks: the cells of Flax, causality, padding, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxresearch import models

GATES = {"gru": "rzn", "lstm": "ifgo"}
CELLS = {"gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}
each_cell = pytest.mark.parametrize("cell", list(CELLS))


def _inputs(seed=0, shape=(4, 7, 3)):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _drawn(model, seed=0):
    """Returns parameters of a model with random biases."""
    params, _ = model.init(jax.random.key(seed))
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + 0.3 * random.normal(size=leaf.shape).astype(np.float32), params)


def _of_flax(layer, cell):
    """Returns the parameters of a layer under the names of Flax's cell."""
    ours = {"i": (layer["input"]["kernel"], layer["input"]["bias"]), "h": (layer["recurrent"], None)}
    named = {}
    for side, (kernel, bias) in ours.items():
        kernels = np.split(np.asarray(kernel), len(GATES[cell]), axis=1)
        for place, gate in enumerate(GATES[cell]):
            named[f"{side}{gate}"] = {"kernel": kernels[place]}
            if bias is not None:
                named[f"{side}{gate}"]["bias"] = np.split(np.asarray(bias), len(GATES[cell]))[place]
    if cell == "gru":
        named["hn"]["bias"] = layer["bias"]
        return named
    for gate in GATES[cell]:  # Flax adds the biases on the side of the memory
        named[f"h{gate}"]["bias"] = named[f"i{gate}"].pop("bias")
    return named


@each_cell
def test_rnn_equals_the_cells_of_flax(cell):
    model, inputs = models.rnn(3, (5, 4), 2, cell=cell), _inputs()
    params, memories = _drawn(model), inputs
    for place, width in enumerate((5, 4)):
        layer = nn.RNN(CELLS[cell](width))
        memories = layer.apply({"params": {"cell": _of_flax(params[f"layer_{place}"], cell)}}, memories)
    expected = memories @ params["head"]["kernel"] + params["head"]["bias"][None, None]
    outputs, _ = jax.jit(model.apply)(params, {}, inputs)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)  # sums of products in another order


@each_cell
def test_outputs_of_the_last_step_alone(cell):
    whole, last = (models.rnn(3, (5,), 2, cell=cell, per_step=per_step) for per_step in (True, False))
    params = _drawn(whole)
    outputs = whole.apply(params, {}, _inputs())[0]
    assert outputs.shape == (4, 7, 2)
    np.testing.assert_allclose(last.apply(params, {}, _inputs())[0], outputs[:, -1], rtol=1e-5, atol=1e-6)


@each_cell
def test_an_output_ignores_later_steps(cell):
    model, inputs = models.rnn(3, (5, 5), 2, cell=cell), _inputs()
    params = _drawn(model)
    other = inputs.at[:, 4:].set(9.0)
    before, after = (model.apply(params, {}, one)[0] for one in (inputs, other))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert not np.allclose(before[:, 4:], after[:, 4:])


@each_cell
@pytest.mark.parametrize("n_before", [0, 3])
def test_padding_is_passed_by(cell, n_before):
    model = models.rnn(3, (5, 4), 2, cell=cell, padding=-100.0)
    params, inputs = _drawn(model), _inputs()
    around = [(0, 0), (n_before, 2), (0, 0)]
    padded = jnp.pad(inputs, around, constant_values=-100.0)
    expected, outputs = (np.asarray(model.apply(params, {}, one)[0]) for one in (inputs, padded))
    np.testing.assert_allclose(outputs[:, n_before:-2], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs[:, -2:], np.repeat(expected[:, -1:], 2, 1), rtol=1e-5, atol=1e-6)
    start = np.broadcast_to(params["head"]["bias"], (4, n_before, 2))  # a memory of zeros
    np.testing.assert_allclose(outputs[:, :n_before], start, rtol=1e-6)


@each_cell
def test_gradients_ignore_padding(cell):
    model = models.rnn(3, (5,), 1, cell=cell, per_step=False, padding=jnp.inf)
    params, inputs = _drawn(model), _inputs()
    padded = jnp.pad(inputs, [(0, 0), (2, 3), (0, 0)], constant_values=jnp.inf)
    gradient = jax.jit(jax.grad(lambda params, inputs: model.apply(params, {}, inputs)[0].sum()))
    alone, together = gradient(params, inputs), gradient(params, padded)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), alone, together)


def test_recurrent_weights_start_orthogonal_forget_biases_at_one():
    params, _ = models.rnn(3, (6,), 1, cell="lstm").init(jax.random.key(0))
    for gate in np.split(np.asarray(params["layer_0"]["recurrent"]), 4, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(6), atol=1e-5)  # float32
    np.testing.assert_array_equal(params["layer_0"]["input"]["bias"], np.repeat([0.0, 1.0, 0.0, 0.0], 6))
    params, _ = models.rnn(3, (6,), 1).init(jax.random.key(0))
    assert not np.any(params["layer_0"]["input"]["bias"]) and not np.any(params["layer_0"]["bias"])


def test_one_feature_needs_no_axis():
    model, series = models.rnn(1, (5,), 2), _inputs(shape=(4, 7))
    params = _drawn(model)
    np.testing.assert_array_equal(model.apply(params, {}, series)[0], model.apply(params, {}, series[..., None])[0])


def test_dropout_is_of_training_alone():
    model = models.rnn(3, (5,), 1, dropout_rate=0.5)
    params = _drawn(model)
    plain, trained = (model.apply(params, {}, _inputs(), key)[0] for key in (None, jax.random.key(1)))
    assert not np.allclose(plain, trained)
    np.testing.assert_array_equal(plain, models.rnn(3, (5,), 1).apply(params, {}, _inputs())[0])


@pytest.mark.raises
@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, (5,), 1), {}, "n_features must be a whole number, 1 or more; got 0"),
        ((3, (5, 0), 1), {}, r"hidden\[1\] must be a whole number, 1 or more; got 0"),
        ((3, (), 1), {}, r"hidden must hold one width or more; got \(\)\. Pass \(16,\)"),
        ((3, (5,), 1), {"cell": "elman"}, "cell must be one of gru, lstm; got 'elman'"),
        ((3, (5,), 1), {"dropout_rate": 1.0}, r"dropout_rate must be at least 0 and below 1; got 1\.0"),
    ],
)
def test_rnn_refuses_sizes_that_make_no_network(arguments, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        models.rnn(*arguments, **options)


@pytest.mark.raises
@pytest.mark.parametrize("shape", [(4, 7), (4, 7, 2), (4, 0, 3), (7,)])
def test_rnn_refuses_inputs_that_are_no_sequences(shape):
    model = models.rnn(3, (5,), 1)
    with pytest.raises(ValueError, match=r"^inputs must be sequences \(batch, length, 3\) of one step or more; got"):
        model.apply(_drawn(model), {}, jnp.zeros(shape))
