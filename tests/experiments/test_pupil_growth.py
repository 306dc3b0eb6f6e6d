"""pupil_growth: whole pupils are held out, and the maximum of the likelihood is that of other programs."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import experiment as experiments
from jaxresearch import loading

GROWTH = loading.load("pupil_growth", directory=Path(__file__).parents[2] / "experiments")


@pytest.fixture(scope="module")
def collected():
    return GROWTH.collect("pupils")


def test_the_last_score_of_a_pupil_is_the_target(collected):
    pupils = [part["groups"] for part in (collected.train, collected.test)]
    assert not {*pupils[0]} & {*pupils[1]} and sum(map(len, pupils)) == 1721
    for part in (collected.train, collected.test):
        years = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
        scores = np.stack([part["inputs"][f"score {year:g}"] for year in years], axis=1)
        assert np.isnan(scores[years[None] >= part["inputs"]["year"][:, None]]).all()  # nothing from the year or after
        assert (~np.isnan(scores)).any(axis=1).all()
    assert 0.18 < len(pupils[1]) / 1721 < 0.22 and len(collected.card.columns[0].levels) == 60


@pytest.mark.long
@pytest.mark.parametrize(("schools", "growth"), [(False, 0.747), (True, 0.76)])
def test_growth_of_all_pupils_is_the_published_one(schools, growth):
    dataset = GROWTH.prepare(GROWTH.collect("pupils:all"))
    h = GROWTH.hyperparameters.__class__(schools=schools)
    program, key = experiments.program(GROWTH, dataset), jax.random.key(0)
    state, history = jax.jit(program.run)(key, h, dataset.train)
    # Without schools: MixedLM of statsmodels. With schools: Raudenbush and Bryk (2002), table 8.3.
    np.testing.assert_allclose(state.params["mean"][1], growth, atol=5e-3)
    assert abs(history["loss"][-1] - history["loss"][-20]) < 1e-5  # it has converged
    shown = GROWTH.report(h, jax.tree.map(lambda leaf: np.asarray(leaf)[None], state), None, None)
    assert f"growth: {float(state.params['mean'][1]):.3f} logits a year (95 % interval 0.7" in shown
