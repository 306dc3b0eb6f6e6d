"""Simulated coverage of 95 % intervals: ``python tests/slow/coverage.py`` prints the table of docs/intervals.md.

Examples vary in difficulty, seeds in luck, and each pair has an interaction. The truth is
the metric of a fresh seed on fresh examples, from some millions of draws.
"""

import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.stats

from jaxresearch import statistics

GROUP = 5  # examples per group


class Case(NamedTuple):
    """A metric, the level it is near, and how much seeds differ."""

    metric: str
    level: float
    luck: float
    groups: bool = False


class Draw(NamedTuple):
    """The predictions of seeds for examples: outputs ``(seeds, examples)``, targets and groups ``(examples,)``."""

    outputs: np.ndarray
    targets: np.ndarray
    groups: np.ndarray | None


def drawn(case: Case, generator: np.random.Generator, n_seeds: int, n_examples: int, *, models: int = 1) -> list[Draw]:
    """Returns predictions of models for the same examples; a second model shares examples and seeds, with its own errors."""
    luck = generator.normal(0, case.luck, (n_seeds, 1))
    if case.groups:
        difficulty = np.repeat(generator.normal(0, 1.2, -(-n_examples // GROUP)), GROUP)[:n_examples]
        difficulty = difficulty + generator.normal(0, 0.8, n_examples)
        groups = np.arange(n_examples) // GROUP
    else:
        difficulty, groups = generator.normal(0, 1.5, n_examples), None
    if case.metric == "r2":
        targets = generator.normal(0, 1, n_examples)
        centre, sign = targets[None] * (1 + 0.3 * luck), 0.35
    else:
        targets = (generator.random(n_examples) < 0.35).astype(float)
        centre, sign = (2 * targets - 1)[None] * (case.level + luck), 1.0
    noise = [generator.normal(0, 1, (n_seeds, n_examples)) for _ in range(models)]
    return [Draw(centre + sign * (difficulty[None] + own), targets, groups) for own in noise]


def accuracy(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Returns the accuracy of each seed, and the influences of examples."""
    hits = ((draw.outputs > 0) == (draw.targets > 0)).astype(float)
    values = hits.mean(1)
    return values, hits - values[:, None]


def f1(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Returns F1 of each seed, and the influences of examples."""
    chosen, true = draw.outputs > 0, draw.targets[None] > 0
    twice, all_ = 2.0 * (chosen & true), chosen.astype(float) + true
    values = twice.sum(1) / all_.sum(1)
    return values, (twice - values[:, None] * all_) / all_.mean(1, keepdims=True)


def auc(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Returns the area under the ROC curve of each seed, and the influences of examples."""
    is_true, m = draw.targets > 0, len(draw.targets)
    values, influences = np.empty(len(draw.outputs)), np.empty(draw.outputs.shape)
    for i, scores in enumerate(draw.outputs):
        above = np.searchsorted(np.sort(scores[~is_true]), scores[is_true]) / (~is_true).sum()
        below = 1 - np.searchsorted(np.sort(scores[is_true]), scores[~is_true]) / is_true.sum()
        values[i] = above.mean()
        influences[i, is_true] = (above - values[i]) * m / is_true.sum()
        influences[i, ~is_true] = (below - values[i]) * m / (~is_true).sum()
    return values, influences


def log_loss(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Returns the log loss of each seed, and the influences of examples."""
    losses = np.logaddexp(0, -(2 * draw.targets - 1)[None] * draw.outputs)
    values = losses.mean(1)
    return values, losses - values[:, None]


def r2(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Returns R2 of each seed, and the influences of examples."""
    squares, around = (draw.outputs - draw.targets) ** 2, (draw.targets - draw.targets.mean()) ** 2
    error, spread = squares.mean(1, keepdims=True), around.mean()
    return 1 - error[:, 0] / spread, -(squares - error) / spread + error / spread**2 * (around[None] - spread)


METRICS: dict[str, Callable[[Draw], tuple[np.ndarray, np.ndarray]]] = {
    "accuracy": accuracy,
    "f1": f1,
    "auc": auc,
    "log_loss": log_loss,
    "r2": r2,
}


def truth(case: Case, *, n_seeds: int = 400, n_examples: int = 20_000) -> float:
    """Returns the metric of a fresh seed on fresh examples."""
    generator = np.random.default_rng(10**6)
    made = [METRICS[case.metric](drawn(case, generator, 1, n_examples)[0])[0][0] for _ in range(n_seeds)]
    return float(np.mean(made))


def held(case: Case, n_seeds: int, n_examples: int, *, repeats: int, seed: int = 0) -> dict[str, float]:
    """Returns the fractions of repeats in which intervals covered the truth, and lay entirely on one side of it.

    ``ours`` is over seeds and examples. ``seeds`` and ``examples`` are over one of the two; ``bootstrap`` draws seeds anew
    (percentiles of 1,000 means, as rliable does); ``one seed`` is over the examples of a single seed.
    """
    generator, sought, of = np.random.default_rng(seed), truth(case), METRICS[case.metric]
    shares = dict.fromkeys(("ours", "seeds", "examples", "bootstrap", "one seed", "above", "below"), 0.0)
    for _ in range(repeats):
        (draw,) = drawn(case, generator, n_seeds, n_examples)
        values, influences = of(draw)
        means = values[generator.integers(0, n_seeds, (1000, n_seeds))].mean(1)
        centre = values.mean()
        error = statistics.error(values, influences, over="examples", groups=draw.groups)
        half = scipy.stats.t.ppf(0.975, error.freedom) * error.standard
        ends = {
            "ours": statistics.interval(values, influences, over="seeds and examples", groups=draw.groups),
            "seeds": statistics.interval(values, over="seeds"),
            "examples": (centre - half, centre + half),
            "bootstrap": tuple(np.percentile(means, [2.5, 97.5])),
            "one seed": statistics.interval(values[:1], influences[:1], over="examples", groups=draw.groups),
        }
        for name, (low, high) in ends.items():
            shares[name] += (low <= sought <= high) / repeats
        shares["above"] += (ends["ours"][0] > sought) / repeats
        shares["below"] += (ends["ours"][1] < sought) / repeats
    return shares


def held_difference(case: Case, n_seeds: int, n_examples: int, *, repeats: int, seed: int = 0) -> float:
    """Returns the fraction of repeats in which the interval of a null difference covers zero, paired by seed and example."""
    generator, of, n_held = np.random.default_rng(seed), METRICS[case.metric], 0
    for _ in range(repeats):
        one, other = (of(draw) for draw in drawn(case, generator, n_seeds, n_examples, models=2))
        groups = np.arange(n_examples) // GROUP if case.groups else None
        found = statistics.difference(one[0], other[0], one[1], other[1], over="seeds and examples", groups=groups)
        n_held += found.low <= 0 <= found.high
    return n_held / repeats


def held_over_folds(*, n_examples: int = 200, width: int = 5, k: int = 10, repeats: int, seed: int = 0) -> float:
    """Returns the fraction of repeats in which the interval over folds covers the error of such a model on new examples.

    The model is least squares on ``width`` inputs, whose error after as many examples as a fold's is known in closed form.
    """
    generator, n_train, n_held = np.random.default_rng(seed), n_examples * (k - 1) // k, 0
    sought = 1 + width / (n_train - width - 1)  # noise of 1; the mean of the trace of the inverse Wishart
    for _ in range(repeats):
        x = generator.normal(size=(n_examples, width))
        y = x.sum(1) + generator.normal(size=n_examples)
        fold = generator.permutation(n_examples) % k
        values = []
        for place in range(k):
            kept = fold != place
            weights = np.linalg.lstsq(x[kept], y[kept], rcond=None)[0]
            values.append(np.mean((x[~kept] @ weights - y[~kept]) ** 2))
        low, high = statistics.interval(values, over="folds")
        n_held += low <= sought <= high
    return n_held / repeats


CASES = (
    Case("accuracy", 0.0, 0.1),
    Case("accuracy", 2.5, 0.2),
    Case("accuracy", 4.0, 0.2),
    Case("accuracy", 2.5, 0.0),
    Case("accuracy", 2.5, 0.2, groups=True),
    Case("f1", 2.0, 0.2),
    Case("auc", 1.0, 0.2),
    Case("log_loss", 2.0, 0.2),
    Case("r2", 0.0, 0.2),
)
SIZES = ((3, 1000), (5, 200), (5, 2000), (10, 200), (10, 2000), (10, 10_000))


def main(repeats: int) -> None:
    """Prints the table."""
    print(
        "| metric | truth | seeds | examples | ours | seeds alone | examples alone | bootstrap of seeds | one seed | difference |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for case in CASES:
        for n_seeds, n_examples in SIZES:
            n = max(repeats // 4, 100) if n_examples >= 10_000 else repeats
            found = held(case, n_seeds, n_examples, repeats=n)
            apart = held_difference(case, n_seeds, n_examples, repeats=4 * n)
            name = f"{case.metric}{', groups of ' + str(GROUP) if case.groups else ''}{', no luck' if not case.luck else ''}"
            shares = [f"{100 * found[kind]:.1f}" for kind in ("ours", "seeds", "examples", "bootstrap", "one seed")]
            row = (name, f"{truth(case):.3f}", str(n_seeds), f"{n_examples:,}", *shares, f"{100 * apart:.1f}")
            print(f"| {' | '.join(row)} |", flush=True)
    for k in (5, 10):
        print(f"over {k} folds: {100 * held_over_folds(k=k, repeats=repeats):.1f} %", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
