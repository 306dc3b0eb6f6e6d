"""A study is not fooled: however many, proposals that change only the draws of a run are rejected."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxresearch import adjust, losses, metrics, models, statistics, studies, training
from jaxresearch.data import DataCard, Dataset, Preprocessor
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim
from jaxresearch.studies import Budget

pytestmark = pytest.mark.slow

N_STUDIES, N_PROPOSALS, WIDTH = 100, 100, 8


@hyperparameters
class Salted:
    """Settings that change only the draws."""

    salt: float = swept(0.0, "number that is folded into the key")
    batch_size: int = static(10, "examples per step", at_least=1)
    epochs: int = static(2, "passes", at_least=1)


def algorithm(h, card, plan, fitted):
    """Returns logistic regression from a start that depends on the salt, too short to forget it."""
    plain = training.supervised(
        models.linear(card.n_features, card.n_classes),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=training.gradient_descent(0.05),
        metrics={"accuracy": metrics.accuracy()},
    )

    def init(key):
        of_model, own = jax.random.split(key)
        state, own = plain.init(of_model), jax.random.fold_in(own, jnp.asarray(h.salt, jnp.int32))
        leaves, structure = jax.tree.flatten(state.params)
        keys = jax.random.split(own, len(leaves))
        leaves = [leaf + jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
        return state._replace(params=jax.tree.unflatten(structure, leaves))

    return plain._replace(init=init)


def dataset(seed):
    """Returns the data of one study: noisy labels on the two sides of a line."""
    generator = np.random.default_rng(seed)

    def part(n):
        x = generator.normal(size=(n, WIDTH)).astype(np.float32)
        return {"inputs": x, "targets": (x.sum(1) + 2 * generator.normal(size=n) > 0).astype(np.int32)}

    card = DataCard(name="null", source="", feature_shape=(WIDTH,), class_names=("no", "yes"))
    return Dataset(part(200), part(300), None, card)


@pytest.fixture(scope="module")
def searched():
    """The rounds of every study, its seeds, and its confirmed choice."""
    found = []
    for number in range(N_STUDIES):
        salts = [float(salt) for salt in range(1, N_PROPOSALS + 1)]
        of = Experiment(
            question="?",
            claim=Claim(text="", metric="test/accuracy", about="new examples", at_least=2.0),
            hyperparameters=Salted(),
            source="",
            algorithm=algorithm,
            preprocess=Preprocessor(),
            adjust=adjust.grid(salt=salts),
        )
        first, whole = 100 * number, dataset(number)
        budget = Budget(seeds=tuple(range(first, first + 3)), fresh_seeds=tuple(range(first + 3, first + 13)))
        made = studies.search(of, whole, budget=budget)
        confirmed = studies.confirm(of, whole, made, budget=budget)
        concluded = studies.conclude(of, whole, confirmed, budget=budget)
        found.append((made, confirmed, concluded))
    return found


def test_a_study_without_any_effect_keeps_the_plain_settings(searched):
    n_kept = sum(confirmed.best.salt != 0 for _, confirmed, _ in searched)
    print(f"kept by a study: {n_kept} of {N_STUDIES}")
    assert n_kept <= 5
    assert (
        sum(made.best.salt != 0 for made, _, _ in searched) > 0.9 * N_STUDIES
    )  # the best of all rounds is never the baseline


def test_the_interval_of_a_gain_covers_the_true_gain(searched):
    """Where the baseline is kept, no gain is reported, and there is none."""
    n_held = 0
    for number, (_, confirmed, concluded) in enumerate(searched):
        pair, of = (concluded.outcome, concluded.baseline), dataset(number)
        gain = None if confirmed.best.salt == 0 else studies.gain(*pair, "accuracy", dataset=of)
        n_held += gain is None or gain.low <= 0 <= gain.high
    print(f"the gain that is believed holds the true one: {n_held} of {N_STUDIES}")
    assert n_held >= 0.93 * N_STUDIES


def test_unadjusted_comparisons_are_fooled(searched):
    """Keeping the better of two runs with one seed, and unadjusted intervals over the seeds of a round."""
    if_better = unadjusted = 0
    for made, _, _ in searched:
        baseline, *others = [trial.metrics["accuracy"] for one in made.history for trial in one.trials]
        if_better += any(values[0] > baseline[0] for values in others)
        pairs = [statistics.difference(values, baseline) for values in others]
        unadjusted += any(one.low > 0 for one in pairs)
    print(f"kept by keep-if-better: {if_better}, by unadjusted intervals: {unadjusted}, of {N_STUDIES}")
    assert if_better > 0.9 * N_STUDIES and unadjusted > scipy.stats.binom.ppf(0.001, N_STUDIES, 0.5)
