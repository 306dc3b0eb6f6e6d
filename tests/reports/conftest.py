"""Handwritten records in the form of a run's."""

import numpy as np
import pytest

from jaxresearch import records, statistics

CLASSES = ("cat", "dog", "fox")
ENVIRONMENT = {"command": ["jaxresearch", "run", "pets"], "started": "2026-01-01", "platform": "Linux", "git": None}
ENVIRONMENT |= {"devices": ["cpu:0"], "packages": {"jax": "0.10.2"}, "python": "3.11"}


def _written(
    path, *, seeds=(0, 1, 2), n_epochs=12, best_step=None, offset=0.0, metrics=None, steps_per_epoch=40, smoke=False
):
    """Writes a run that was evaluated after each epoch, and returns its directory."""
    generator, n = np.random.default_rng(len(str(path.name))), len(seeds)
    run = records.RunDirectory(path)
    card = {"name": "pets", "source": "", "licence": "", "citation": "", "sha256": [], "feature_shape": [4]}
    run.write(
        "config.json",
        {"experiment": "pets", "hyperparameters": {"rate": 0.1}, "data_card": {**card, "class_names": CLASSES}},
    )
    run.write("environment.json", ENVIRONMENT)
    for epoch in range(1, n_epochs + 1):
        step, seconds = epoch * steps_per_epoch, float(epoch)
        loss = 1.2 * np.exp(-epoch / 4) + offset + 0.02 * generator.normal(size=n)
        validation = 0.6 * np.exp(-epoch / 2) + 0.02 * epoch + 0.3 + offset + 0.04 * generator.normal(size=n)
        accuracy = 1 - loss / 2
        run.append_metrics({"step": step, "seconds": seconds, "train/loss": loss, "train/accuracy": accuracy})
        looked = {"validation/loss": validation, "validation/recall": np.ones((n, 3)), "validation/f1": 1 - validation}
        run.append_metrics({"step": step, "seconds": seconds, **looked})
    if metrics is None:
        values = 0.9 - offset + 0.01 * generator.normal(size=n)
        confusion = np.broadcast_to([[88.0, 7, 5], [2, 95, 3], [11, 9, 80]], (n, 3, 3)) + generator.normal(
            size=(n, 3, 3)
        )
        metrics = {
            "accuracy": values,
            "recall": values[:, None] + np.array([[0.0, 0.05, -0.1]]),
            "confusion": confusion,
        }
    summaries = {f"test/{name}": statistics.summary(value) for name, value in metrics.items()}
    claim = {"text": "90 %", "metric": "test/accuracy", "verdict": "undecided", "because": "three seeds"}
    claim |= {"at_least": 0.9, "at_most": None}
    result = {"experiment": "pets", "question": "Cats or dogs?", "seeds": seeds, "n_folds": 0, "metrics": summaries}
    result |= {"claim": claim, "seconds": {"train": 1.5}, "smoke": smoke, "report": None, "best_step": best_step}
    run.write("result.json", {**result, "steps_per_epoch": steps_per_epoch})
    run.close()
    return run.path


@pytest.fixture
def recorded(tmp_path):
    """Returns a function that writes a run under a name, with options of `_written`, and reads it back."""
    return lambda name="run", **options: records.read_run(_written(tmp_path / name, **options))
