"""How well does a small BERT predict the secondary structure of a protein from its sequence alone?

    jaxresearch run protein_structure                                              4,000 training chains, 500 unseen ones
    jaxresearch run protein_structure --pretraining 0 --directory runs/plain       without pre-training
    jaxresearch run protein_structure --train-examples 1000 --directory runs/1000        a point of the learning curve
    jaxresearch run protein_structure --data my.csv             chains of your own: columns split, sequence, dssp8

The first steps of a run predict hidden residues of the training chains, the others the state of each residue by DSSP, one of
eight (`q8`). `q3` counts three classes: helix (H, G, I), strand (E, B), and the rest. Chains are cut into windows of 128
residues; intervals over examples are over chains. Logistic regression on windows of 17 residues is trained beside the network,
on the same batches, and `gain` is the difference in Q3. Expect a Q3 of 0.710 (0.703 to 0.717), 0.081 above that of windows.
"""

import jax
import jax.numpy as jnp

from jaxresearch import metrics, models, schedules, training
from jaxresearch.experiment import Experiment
from jaxresearch.fields import proteins, text
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

LENGTH, CONTEXT = 128, 16  # residues of a window, and those beside a cut that it is not about, at least
N_STATES, N_TOKENS = len(proteins.STATES), proteins.N_TOKENS
NETWORK, WINDOWS, MODELS = 0, 1, 2  # places of the two models among the outputs, and the axis of models


@hyperparameters
class ProteinStructure:
    """The first settings that were tried, except for the number of epochs, sized for a CPU; none saw the test chains."""

    learning_rate: float = swept(3e-3, "peak step size of AdamW", above=0)
    weight_decay: float = swept(0.1, "fraction of the weights that a step of size 1 removes", at_least=0)
    pretraining: float = swept(0.2, "fraction of the steps that predict hidden residues, first", at_least=0, below=1)
    masked_share: float = swept(0.15, "fraction of the residues hidden in these steps", at_least=0, below=1)
    dropout_rate: float = static(0.2, "fraction of entries dropped in training", at_least=0, at_most=0.9)
    batch_size: int = static(32, "windows of 128 residues per step", at_least=1)
    epochs: int = static(5, "passes over the training chains", at_least=1)
    width: int = static(64, "entries of a residue's vector", at_least=4)
    hidden: int = static(128, "width of the network in a block", at_least=1)
    kernel: int = static(9, "adjacent residues that this network reads, an odd number", at_least=1)
    n_layers: int = static(2, "number of blocks", at_least=1)
    n_heads: int = static(2, "attention heads", at_least=1)


def algorithm(h, card, plan, fitted):
    """Returns the network, trained on hidden residues and then on states, and logistic regression beside it."""
    network, windows = networks(h)
    hiding = {"n_tokens": proteins.UNKNOWN, "mask_token": proteins.MASK, "rate": h.masked_share}

    def init(key):
        return {"network": network.init(key)[0], "windows": windows.init(key)[0]}, {"step": jnp.zeros((), jnp.int32)}

    def apply(params, model_state, inputs, key=None):
        of_network, _ = network.apply(params["network"], {}, inputs, key)
        of_windows, _ = windows.apply(params["windows"], {}, inputs)
        return jnp.stack([of_network[..., :N_STATES], of_windows], axis=MODELS), model_state

    def loss_fn(params, model_state, batch, key):
        hiding_key, model_key = jax.random.split(key)
        tokens, states, weights = batch["inputs"], batch["targets"], batch.get("weights")
        is_first = model_state["step"] < h.pretraining * plan.n_steps
        hidden, asked = text.masked_tokens(hiding_key, tokens, maskable=tokens < proteins.UNKNOWN, **hiding)
        # One pass for both phases: under vmap, over seeds, a condition would compute both of its branches.
        of_network, _ = network.apply(params["network"], {}, jnp.where(is_first, hidden, tokens), model_key)
        of_windows, _ = windows.apply(params["windows"], {}, tokens)
        of_hidden = text.mean_token_loss(of_network[..., N_STATES:], asked, weights)
        of_states = text.mean_token_loss(of_network[..., :N_STATES], states, weights)
        own = jnp.where(is_first, of_hidden, of_states)
        loss = own + text.mean_token_loss(of_windows, states, weights)
        return loss, ({"network_loss": own}, {"step": model_state["step"] + 1})

    options = {"warmup": plan.n_steps // 20, "weight_decay": h.weight_decay, "b2": 0.99}
    return training.gradient_based(
        models.Model(init, apply),
        loss_fn,
        optimizer=schedules.adamw(h.learning_rate, plan.n_steps, **options),
        metrics={
            "q3": metrics.of_model(proteins.q3(), NETWORK, axis=MODELS),
            "q8": metrics.of_model(proteins.q8(), NETWORK, axis=MODELS),
            "q3_windows": metrics.of_model(proteins.q3(), WINDOWS, axis=MODELS),
            "q8_windows": metrics.of_model(proteins.q8(), WINDOWS, axis=MODELS),
            "gain": metrics.gain(proteins.q3(), NETWORK, WINDOWS, axis=MODELS),
        },
        estimator=plan.estimator,
        evaluation_batch=100,
    )


def networks(h):
    """Returns the encoder, whose outputs are logits of states and of residues, and logistic regression."""
    sizes = models.TransformerSizes.of(h, context=LENGTH, padding=proteins.PADDING)
    return models.tagger(N_TOKENS, N_STATES + proteins.UNKNOWN, sizes), proteins.window_regression(N_STATES)


def report(h, state, collected, dataset):
    """Returns how accurate the first seed's network is by class and by chain, and a picture of one chain."""
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), state.params["network"])

    def states_of(tokens):
        return networks(h)[NETWORK].apply(params, {}, tokens[None])[0][0, :, :N_STATES]

    return proteins.summary(dataset.of_run(0).test, lambda tokens: jax.lax.map(states_of, tokens, batch_size=100))


experiment = Experiment(
    question="How well does a small BERT predict the secondary structure of a protein from its sequence alone?",
    claim=Claim(text="a Q3 of 68 % on unseen chains", metric="test/q3", about="new examples", at_least=0.68),
    hyperparameters=ProteinStructure(),
    source="protein_structure",
    collect=proteins.load_chains,
    preprocess=proteins.windowed(length=LENGTH, context=CONTEXT),
    algorithm=algorithm,
    report=report,
)
