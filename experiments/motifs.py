"""Which attribution method finds the motifs that a network has learnt to recognise in DNA?

    jaxresearch run motifs                       the four bundled motifs
    jaxresearch run motifs --data my.jaspar      your own motifs, in JASPAR format

Two to three minutes on two CPU cores. Half of the sequences hold an instance of a motif, the others a decoy: an instance with
permuted bases, of the same composition. A motif is found if its window scores higher than all but 1 % of the background's, a
base if higher than all but 5 %. Expect, in per cent of the motifs and of their bases: SmoothGrad 94 and 88, occlusion 94 and
80, saliency 88 and 79, expected gradients 94 and 76, integrated gradients 92 and 76 (from zero 92 and 70), input x gradient 92
and 69, random scores 3 and 5. Initial parameters matter: README.md has the intervals, and another run of five seeds.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxresearch import data, explain, losses, metrics, models, schedules, training
from jaxresearch.experiment import Experiment
from jaxresearch.fields import dna
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

LENGTH, N_TRAIN, N_TEST = 200, 8000, 1000  # bases of a sequence, and sequences
DECOY, MOTIF = 0, 1  # classes
N_REFERENCES = 20  # shuffled copies of a sequence, its baselines


@hyperparameters
class Motifs:
    """The first settings that were tried."""

    learning_rate: float = swept(3e-3, "peak step size of AdamW", above=0)
    weight_decay: float = swept(0.01, "fraction of the weights that a step of size 1 removes", at_least=0)
    noise_scale: float = swept(0.2, "SmoothGrad: standard deviation of the noise", above=0)
    n_samples: int = static(32, "gradients per sequence of the methods that average them", at_least=2)
    batch_size: int = static(50, "sequences per step", at_least=1)
    epochs: int = static(10, "passes over the training data", at_least=1)


def collect(source, *, target=None, **reading):
    """Returns random sequences with the pairs of bases of human chromosome 3, each with a motif or a decoy."""
    if asked := ({"target"} if target else set()) | (reading.keys() - {"cipher"}):
        raise ValueError(f"{', '.join(sorted(asked))} must be left out with motifs, got {source}. All parts are drawn.")
    motifs, card = dna.load_motifs(source)
    chain = dna.transitions(dna.bases(*dna.chromosome_3().values()))
    targets = np.arange(N_TRAIN + N_TEST, dtype=np.int32) % 2

    @jax.jit
    def draw(key):
        sequence_key, plant_key = jax.random.split(key)
        sequences = dna.random_sequences(sequence_key, chain, n=len(targets), length=LENGTH)
        return dna.planted(plant_key, sequences, motifs, shuffled=targets == DECOY)

    sequences, planted = map(np.asarray, draw(jax.random.key(0)))
    whole = {"inputs": dna.one_hot(sequences), "targets": targets, "planted": planted}
    train, test = ({name: values[rows] for name, values in whole.items()} for rows in np.s_[:N_TRAIN, N_TRAIN:])
    return data.Dataset(train, test, None, card)


def algorithm(h, card, plan, fitted):
    """Returns a network that reads the best match of each of its filters, evaluated with its explanations."""
    model = models.sequence_cnn(card.feature_shape, card.n_classes)
    adamw = schedules.adamw(h.learning_rate, plan.n_steps, warmup=plan.n_steps // 20, weight_decay=h.weight_decay)
    loss, accuracy = losses.softmax_cross_entropy_with_integer_labels, {"accuracy": metrics.accuracy()}
    trained = training.supervised(model, loss, optimizer=adamw, metrics=accuracy, estimator=plan.estimator)

    def log_odds(state):  # of a motif against a decoy
        return lambda inputs: model.apply(state.params, {}, inputs)[0] @ jnp.array([-1.0, 1.0])

    def evaluate(state, data, key):
        explain_key, init_key = jax.random.split(key)
        rows = jnp.argsort(data["targets"] != MOTIF)[: (len(data["targets"]) + 1) // 2]  # half of them have a motif
        weights = data.get("weights", jnp.ones(len(data["targets"])))[rows] * (data["targets"][rows] == MOTIF)
        untrained = state._replace(params=model.init(init_key)[0])
        scores = attributions(explain_key, h, log_odds(state), log_odds(untrained), data["inputs"][rows])
        values = {}
        for name, of_bases in scores.items():
            values[f"found_{name}"] = dna.recovered(of_bases, data["planted"][rows], false_positives=0.01)
            values[f"bases_{name}"] = dna.recovered_bases(of_bases, data["planted"][rows])
        means = {name: jnp.average(of_rows, weights=weights) for name, of_rows in values.items()}
        gain = means["bases_expected_gradients"] - means["bases_input_x_gradient"]
        return trained.evaluate(state, data, key) | means | {"gain_bases": gain}

    return trained._replace(evaluate=evaluate)


def attributions(key, h, predict, untrained, inputs):
    """Returns the score of each base by method: of a trained network, and of controls."""
    keys, n = jax.random.split(key, 3), h.n_samples

    def by_references(key, sequence):
        keys, shuffled = jax.random.split(key, N_REFERENCES + 1), jax.vmap(dna.dinucleotide_shuffle, (0, None))
        references = dna.one_hot(shuffled(keys[1:], sequence.argmax(axis=1)))
        return explain.expected_gradients(keys[0], predict, sequence[None], references=references, n_samples=n)[0][0]

    found = {
        "saliency": explain.saliency(predict, inputs),
        "smoothgrad": abs(explain.smoothgrad(keys[0], predict, inputs, noise_scale=h.noise_scale, n_samples=n)),
        "input_x_gradient": explain.input_x_gradient(predict, inputs),
        "integrated_zero": explain.integrated_gradients(predict, inputs, n_steps=n)[0],
        "integrated_mean": explain.integrated_gradients(predict, inputs, baseline=0.25, n_steps=n)[0],
        "expected_gradients": jax.vmap(by_references)(jax.random.split(keys[1], len(inputs)), inputs),
        "occlusion": explain.occlusion(predict, inputs, window=(1,), baseline=0.25),
        "untrained": explain.input_x_gradient(untrained, inputs),
        "random": jax.random.normal(keys[2], inputs.shape),
    }
    return {name: attributed.sum(axis=-1) for name, attributed in found.items()}


experiment = Experiment(
    question="Which attribution method finds the motifs that a network has learnt to recognise in DNA?",
    claim=Claim(
        text="expected gradients beat input x gradient", metric="test/gain_bases", about="new examples", at_least=0
    ),
    hyperparameters=Motifs(),
    source="jaspar",
    collect=collect,
    preprocess=data.Preprocessor(),
    algorithm=algorithm,
)
