"""Does a small GPT that reads the SMILES of drugs write new molecules that are valid?

    jaxresearch run new_molecules
    jaxresearch run new_molecules --data my.csv     your own table, with a column smiles

A decoder learns the molecules of B3DB token by token; a fifth is held out. It writes freely, and constrained, by drawing only
tokens of which a molecule with closed rings, normal valences and alternating double bonds can still come. What is valid then is
due to the rules, not to what was learnt. Without a claim: the report has how many are valid, different and new, each way.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxresearch import losses, metrics, models, schedules, statistics, training
from jaxresearch.experiment import Experiment
from jaxresearch.fields import molecules
from jaxresearch.fields.text import decoding
from jaxresearch.hyperparameters import hyperparameters, static, swept

LENGTH, N_NEW = 72, 96  # tokens of a molecule in training, where longer ones are cut, and at most in writing
TEMPERATURE, TOP_P = 0.8, 0.95
WAYS = {"free": None, "constrained": molecules.smiles_constraint}


@hyperparameters
class NewMolecules:
    """The first settings that were tried, small enough for a CPU."""

    learning_rate: float = swept(2e-3, "peak step size of AdamW", above=0)
    weight_decay: float = swept(0.1, "fraction of the weights that a step of size 1 removes", at_least=0)
    dropout_rate: float = static(0.1, "fraction of entries dropped in training", at_least=0, at_most=0.9)
    batch_size: int = static(32, "molecules per step", at_least=1)
    epochs: int = static(12, "passes over the training data", at_least=1)
    width: int = static(64, "entries of a token's vector", at_least=4)
    n_layers: int = static(3, "number of blocks", at_least=1)
    n_heads: int = static(4, "attention heads", at_least=1)
    n_drawn: int = static(
        1000, "molecules to write for each seed and way, at most as many as were trained on", at_least=1
    )


def sizes_of(h, card):
    """Returns the sizes of the decoder."""
    return models.TransformerSizes.of(h, context=LENGTH, padding=len(card.vocabulary) - 1)


def algorithm(h, card, plan, fitted):
    """Returns a decoder trained by AdamW and evaluated in bits per character."""
    adamw = {"warmup": plan.n_steps // 20, "final": 0.01, "weight_decay": h.weight_decay, "b2": 0.99, "max_norm": 1.0}

    def loss(logits, tokens):
        nats = losses.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(tokens, 0))
        return jnp.where(tokens < 0, 0.0, nats)

    return training.supervised(
        models.decoder(len(card.vocabulary), sizes_of(h, card)),
        loss,
        optimizer=schedules.adamw(h.learning_rate, plan.n_steps, **adamw),
        metrics={
            "bits_per_character": metrics.bits_per_byte(fitted["n_bytes"]),
            "token_accuracy": metrics.per_token(metrics.accuracy()),
        },
        estimator=plan.estimator,
        evaluation_batch=200,
    )


def report(h, state, collected, dataset):
    """Returns what the molecules that each seed's model writes are worth, freely and by constrained decoding, and ten of them."""
    names, n_seeds = dataset.card.vocabulary, len(jax.tree.leaves(state.params)[0])
    end = len(names) - 2
    options = {
        "n_tokens": len(names),
        "sizes": sizes_of(h, dataset.card),
        "n_new": N_NEW,
        "choose": decoding.sampling(temperature=TEMPERATURE, top_p=TOP_P),
        "end": end,
    }
    known = [str(one) for one in collected.train["inputs"]["smiles"]]
    n_drawn = min(h.n_drawn, dataset.n_train)
    lines = [f"{n_drawn:,} molecules per seed and way, drawn at temperature {TEMPERATURE} from the top {TOP_P:.0%}:"]
    texts = []
    for way, rules in WAYS.items():
        constraint = rules and rules(names, n_new=N_NEW)
        write = jax.jit(partial(decoding.complete, prompts=[[end]] * n_drawn, constraint=constraint, **options))
        found = []
        for seed in range(n_seeds):
            rows = np.asarray(
                write(jax.random.key(seed), jax.tree.map(lambda leaf, seed=seed: leaf[seed], state.params))
            )
            texts = ["".join(names[token] for token in row[row != end]) for row in rows]
            found.append(molecules.quality(texts, known=known))
        for name in ("valid", "unique", "novel"):
            values = np.array([getattr(one, name) for one in found])
            over = "one seed"
            if n_seeds > 1:
                low, high = statistics.interval(values, over="seeds")
                over = f"{low:.4f} to {high:.4f}, {n_seeds} seeds"
            lines.append(f"- {name}, {way}: {values.mean():.4f} ({over})")
    lines += [f"Validity was checked by {molecules.checker()[1]}. Ten constrained molecules of the last seed:"]
    return "\n".join([*lines, *(f"- {one}" for one in texts[:10])])


experiment = Experiment(
    question="Does a small GPT learn to write molecules that are valid and new?",
    minimise="bits_per_character",
    hyperparameters=NewMolecules(),
    source="b3db",
    collect=partial(molecules.load_molecules, needs_target=False),
    preprocess=molecules.smiles_texts(length=LENGTH),
    algorithm=algorithm,
    report=report,
)
