"""Message passing: equal to loops over nodes and edges, whatever the order of the nodes and the padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import models

LEVELS, N_KINDS, WIDTH, N_LAYERS = (3, 2), 2, 6, 2


@pytest.fixture(scope="module")
def network():
    """A model with parameters that are nowhere zero."""
    model = models.message_passing(LEVELS, N_KINDS, width=WIDTH, n_layers=N_LAYERS)
    params, _ = model.init(jax.random.key(0))
    keys = iter(jax.random.split(jax.random.key(1), len(jax.tree.leaves(params))))
    return model, jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(next(keys), leaf.shape), params)


@pytest.fixture(scope="module")
def graphs():
    """Three graphs of 5, 3 and 1 nodes."""
    rng = np.random.default_rng(0)
    nodes, edges = np.full((3, 5, 2), -1), np.zeros((3, 5, 5), int)
    for place, n in enumerate((5, 3, 1)):
        nodes[place, :n] = rng.integers(0, LEVELS, (n, 2))
        kinds = np.triu(rng.integers(0, N_KINDS + 1, (n, n)), 1)
        edges[place, :n, :n] = kinds + kinds.T
    return {"nodes": nodes, "edges": edges}


def outputs(network, inputs):
    model, params = network
    return np.asarray(model.apply(params, {}, inputs)[0])


def by_loops(params, nodes, edges):
    """Returns the vector of one graph without padding, in float64, node by node and neighbour by neighbour."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    kernel, bias = params["embedding"]["kernel"], params["embedding"]["bias"]
    x = [np.maximum(kernel[one] + kernel[LEVELS[0] + other] + bias, 0) for one, other in nodes]
    for place in range(N_LAYERS):
        layer, mean, new = params[f"layer_{place}"], sum(x) / len(x), []
        for v, own in enumerate(x):
            total = own @ layer["own"]["kernel"] + layer["own"]["bias"] + mean @ layer["graph"]["kernel"]
            for w, other in enumerate(x):
                if edges[v, w]:
                    total = total + other @ layer["message"]["kernel"] + layer["edge"]["kernel"][edges[v, w] - 1]
            total = (total - total.mean()) / np.sqrt(total.var() + 1e-6)
            new.append(own + np.maximum(total * layer["norm"]["scale"] + layer["norm"]["bias"], 0))
        x = new
    return np.concatenate([sum(x) / len(x), sum(x) / 8])


def test_message_passing_equals_a_loop(network, graphs):
    found = outputs(network, graphs)
    for place, n in enumerate((5, 3, 1)):
        expected = by_loops(network[1], graphs["nodes"][place, :n], graphs["edges"][place, :n, :n])
        np.testing.assert_allclose(found[place], expected, rtol=1e-4, atol=1e-5)  # float32


def test_the_order_of_nodes_changes_nothing(network, graphs):
    order = np.random.default_rng(1).permutation(5)
    mixed = {"nodes": graphs["nodes"][:, order], "edges": graphs["edges"][:, order][:, :, order]}
    np.testing.assert_allclose(outputs(network, graphs), outputs(network, mixed), rtol=1e-5, atol=1e-6)


def test_padding_changes_nothing(network, graphs):
    nodes = np.pad(graphs["nodes"], ((0, 0), (0, 4), (0, 0)), constant_values=-1)
    padded = {
        "nodes": nodes.astype(np.int8),
        "edges": np.pad(graphs["edges"], ((0, 0), (0, 4), (0, 4))).astype(np.int8),
    }
    np.testing.assert_allclose(outputs(network, graphs), outputs(network, padded), rtol=1e-5, atol=1e-6)


def test_other_graphs_of_a_batch_change_nothing(network, graphs):
    alone = outputs(network, {name: entry[1:2] for name, entry in graphs.items()})
    np.testing.assert_allclose(outputs(network, graphs)[1:2], alone, rtol=1e-5, atol=1e-6)


def test_an_edge_is_told_apart_by_its_kind(network, graphs):
    edges = np.where(graphs["edges"] == 1, 2, graphs["edges"])
    assert not np.allclose(outputs(network, graphs), outputs(network, {**graphs, "edges": edges}))


def test_derivatives_of_a_graph_without_edges_are_finite(network):
    model, params = network
    graph = {"nodes": jnp.full((1, 2, 2), -1), "edges": jnp.zeros((1, 2, 2), int)}
    found = jax.grad(lambda params: model.apply(params, {}, graph, jax.random.key(0))[0].sum())(params)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(found))


@pytest.mark.raises
def test_wrong_sizes_are_refused(network, graphs):
    with pytest.raises(ValueError, match="^levels must have a number for each column of the nodes, got none"):
        models.message_passing((), 1, width=4, n_layers=1)
    with pytest.raises(ValueError, match="^dropout_rate must be at least 0 and below 1; got 1"):
        models.message_passing((2,), 1, width=4, n_layers=1, dropout_rate=1)
    with pytest.raises(
        ValueError, match=r"^nodes must be \(batch, nodes, 2\) and edges \(batch, nodes, nodes\); got \(3, 5, 2\)"
    ):
        outputs(network, {**graphs, "edges": graphs["edges"][:, :3]})
