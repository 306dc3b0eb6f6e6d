"""How soluble is a molecule in water: do networks that read it predict that better than a random forest on descriptors?

    jaxresearch run solubility                                     a fifth of 9,290 molecules held out at random
    jaxresearch run solubility --group scaffold                    whole scaffolds held out: new kinds of molecules
    jaxresearch run solubility --data my.csv --target logP         your own table, with a column smiles

The networks are those of drug_discovery: one reads the graph of a molecule, the other its SMILES, and the claim is about the mean
of both. A random forest on descriptors reached a mean absolute error of 0.657, in the logarithm of mol per litre, in another
random split. Expect 0.653 (0.622 to 0.684 for new molecules).
"""

import functools

import jax
import jax.numpy as jnp

from jaxresearch import data, metrics, schedules, training
from jaxresearch.experiment import Experiment
from jaxresearch.fields import molecules
from jaxresearch.fields.molecules import BOTH, GRAPH, SEQUENCE
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

N_BITS = 1024  # of the fingerprint


@hyperparameters
class Solubility:
    """Those of drug_discovery, with less dropout; none was chosen on these data."""

    learning_rate: float = swept(2e-3, "peak step size of AdamW", above=0)
    weight_decay: float = swept(0.05, "fraction of the weights that a step of size 1 removes", at_least=0)
    batch_size: int = static(96, "molecules per step", at_least=1)
    epochs: int = static(16, "passes over the training data, shared by the members", at_least=1)
    n_members: int = static(1, "networks per reader, averaged; each trains on its part of a batch", at_least=1)
    width: int = static(32, "entries of an atom's vector, and units that read tokens", at_least=2)
    n_layers: int = static(3, "rounds of messages between atoms", at_least=1)
    n_hidden: int = static(128, "units of the layer before the outputs", at_least=1)
    dropout_rate: float = static(
        0.1, "fraction of entries dropped; of hidden units 2.5 times it", at_least=0, below=0.4
    )


def algorithm(h, card, plan, fitted):
    """Returns both readers side by side, trained to the smallest absolute error."""
    sizes = {
        "width": h.width,
        "n_layers": h.n_layers,
        "n_hidden": h.n_hidden,
        "dropout_rate": h.dropout_rate,
        "n_members": h.n_members,
    }
    n_whole = len(molecules.DESCRIPTORS) + N_BITS
    model = molecules.both_readers(len(card.vocabulary), n_whole, 1, **sizes, average="outputs")
    adamw = {"warmup": plan.n_steps // 20, "weight_decay": h.weight_decay, "max_norm": 1.0}
    error, scale = metrics.mean_absolute_error(), {"targets": jax.tree.map(jnp.squeeze, fitted["targets"])}
    made = training.supervised(
        model,
        molecules.loss_of_both(lambda outputs, targets: jnp.abs(outputs - targets)),
        optimizer=schedules.adamw(h.learning_rate, plan.n_steps, **adamw),
        metrics={
            "mae": metrics.of_model(error, BOTH),
            "mae_graph": metrics.of_model(error, GRAPH),
            "mae_sequence": metrics.of_model(error, SEQUENCE),
            "graph_over_sequence": metrics.gain(error, GRAPH, SEQUENCE, higher=False),
            "gain_over_graph": metrics.gain(error, BOTH, GRAPH, higher=False),
            "rmse": metrics.of_model(metrics.root_mean_squared_error(), BOTH),
            "r2": metrics.of_model(metrics.r2(), BOTH),
        },
        invert=functools.partial(data.standard.invert, scale),
        estimator=plan.estimator,
    )
    return made._replace(
        predict=lambda state, inputs: model.apply(state.params, state.model_state, inputs)[0][..., BOTH]
    )


experiment = Experiment(
    question="Do networks that read graphs and SMILES predict the solubility of molecules better than a random forest?",
    claim=Claim(text="an error below a random forest's 0.657", metric="test/mae", about="new examples", at_most=0.657),
    hyperparameters=Solubility(),
    source="aqsoldb",
    task="regression",
    collect=molecules.load_molecules,
    preprocess=molecules.molecule_graphs(n_atoms=40, length=60, n_most=80, n_bits=N_BITS),
    algorithm=algorithm,
)
