"""How well predicted states of secondary structure agree with the true ones."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxresearch import metrics
from jaxresearch.data.parts import Part
from jaxresearch.fields.proteins.chains import NONE
from jaxresearch.fields.proteins.pictures import drawing
from jaxresearch.fields.proteins.residues import merged, three_states
from jaxresearch.metrics import Metric

_CLASSES = ("helix", "strand", "rest")


def q8() -> Metric:
    """Returns the fraction of the residues whose state, of eight, is the likeliest one.

    Returns:
        A metric of logits ``(batch, length, 8)`` and states ``(batch, length)``, below 0 where a residue does not count.

    Example:
        >>> from jax import numpy as jnp
        >>> float(q8()(jnp.eye(8)[None, :3], jnp.array([[0, 0, -1]])))
        0.5
    """
    return metrics.per_token(metrics.accuracy())


def q3() -> Metric:
    """Returns the fraction of the residues whose class - helix, strand or rest, as by `three_states` - is the likeliest one.

    Returns:
        A metric as `q8`.

    Example:
        >>> from jax import numpy as jnp
        >>> float(q3()(jnp.eye(8)[None, :3], jnp.array([[1, 0, 3]])))  # states G, H and E, predicted as H, G and I
        0.6666666865348816
    """
    each = q8()

    def summarise(logits, states, weights=None):
        return each.summarise(merged(logits), three_states(states), weights)

    return dataclasses.replace(each, summarise=summarise)


def chain_accuracies(correct: Any, counted: Any, groups: Any) -> Float[np.ndarray, " chains"]:
    """Returns the fraction of correct residues of each chain.

    Args:
        correct: Of each residue of each window, ``(windows, length)`` booleans.
        counted: Whether it belongs to the window, of the same shape.
        groups: The chain of each window.

    Returns:
        One fraction for each chain, in the order of their numbers.

    Example:
        >>> chain_accuracies([[1, 1], [0, 1]], [[1, 0], [1, 1]], [4, 7]).tolist()
        [1.0, 0.5]
    """
    counted = np.asarray(counted, bool)
    _, chain = np.unique(np.asarray(groups), return_inverse=True)
    hits = np.bincount(chain, (np.asarray(correct, bool) & counted).sum(axis=1))
    return hits / np.bincount(chain, counted.sum(axis=1))


def summary(part: Part, predict: Callable[[Any], Any]) -> str:
    """Returns the accuracy of each class and over chains, and a picture of the chain of median accuracy.

    Args:
        part: Windows, as from `windowed`.
        predict: ``tokens -> logits`` of the eight states, of all windows.

    Returns:
        Lines of text.

    Example:
        >>> part = {"inputs": np.array([[0, 1]]), "targets": np.array([[0, 3]]), "groups": np.array([0])}
        >>> print(summary(part, lambda tokens: np.eye(8)[[[0, 0]]]))
        correct: helix 1.000, strand 0.000, rest nan; mean over 1 chains 0.500 (0.500 to 0.500)
        test chain 1, correct 0.500:
             1 AR
        true   HE
        found  HH
        errors  x
    """
    true, found = three_states(np.asarray(part["targets"])), np.asarray(merged(predict(part["inputs"]))).argmax(axis=-1)
    counted, correct = true != NONE, true == found
    of_classes = [
        f"{name} {correct[true == one].mean() if (true == one).any() else np.nan:.3f}"
        for one, name in enumerate(_CLASSES)
    ]
    of_chains = chain_accuracies(correct, counted, part["groups"])
    place = np.argsort(of_chains, kind="stable")[(len(of_chains) - 1) // 2]
    number = np.unique(part["groups"])[place]
    rows = part["groups"] == number
    chain = (values[rows][counted[rows]] for values in (np.asarray(part["inputs"]), true, found))
    return (
        f"correct: {', '.join(of_classes)}; mean over {len(of_chains)} chains {of_chains.mean():.3f} "
        f"({of_chains.min():.3f} to {of_chains.max():.3f})\n"
        f"test chain {number + 1}, correct {of_chains[place]:.3f}:\n{drawing(*chain)}"
    )
