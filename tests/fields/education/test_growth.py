"""Growth curves against the dense normal distribution of all scores of a school, in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from jaxresearch import data
from jaxresearch.data import Column, DataCard, Dataset
from jaxresearch.fields import education

YEARS = np.array([-1.5, -0.5, 0.5, 1.5])
SCHOOLS = np.array([0, 0, 1, 1, 1])
KNOWN = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 1, 0], [0, 0, 1, 0]], float)
N_SCHOOLS = 3  # the last has no pupil


@pytest.fixture(params=[True, False], ids=["schools", "pupils"])
def curves(request):
    """Parameters, and scores of five pupils with the year to predict."""
    params = education.growth_params(jax.random.key(0), schools=request.param)
    params |= {"pupil": jnp.array([-0.3, 0.1, -1.2]), "log_noise": jnp.array(-0.4)}
    scores = KNOWN * np.random.default_rng(0).normal(0.5, 1.0, KNOWN.shape)
    inputs = {"scores": scores, "known": KNOWN, "schoolid": SCHOOLS, "year": np.full(5, 1.5)}
    return params, jax.tree.map(jnp.asarray, inputs)


def covariance_of(raw):
    """Returns the covariance of lines, from its parameters."""
    root = np.array([[np.exp(raw[0]), 0], [raw[1], np.exp(raw[2])]])
    return root @ root.T


def joint(params, known):
    """Returns the mean and the covariance of the scores marked in ``known``, pupil by pupil."""
    pupils, places = np.nonzero(known)
    design, schools = np.stack([np.ones(len(places)), YEARS[places]], axis=1), SCHOOLS[pupils]
    covariance = design @ covariance_of(params["pupil"]) @ design.T * (pupils[:, None] == pupils)
    if "school" in params:
        covariance += design @ covariance_of(params["school"]) @ design.T * (schools[:, None] == schools)
    return design @ np.asarray(params["mean"]), covariance + np.exp(2 * float(params["log_noise"])) * np.eye(
        len(places)
    )


def test_growth_likelihood_is_that_of_the_joint_normal(curves):
    params, inputs = curves
    value, schools = education.growth_likelihood(params, inputs, jnp.asarray(YEARS), n_schools=N_SCHOOLS)
    scores = np.asarray(inputs["scores"])[KNOWN > 0]
    mean, covariance = joint(params, KNOWN)
    np.testing.assert_allclose(value, multivariate_normal(mean, covariance).logpdf(scores), rtol=1e-5)  # float32
    design = np.stack([np.ones(len(scores)), np.tile(YEARS, (5, 1))[KNOWN > 0]], axis=1)
    information = design.T @ np.linalg.solve(covariance, design)  # of generalised least squares
    np.testing.assert_allclose(schools["all"], information, rtol=1e-4)  # float32
    assert not np.asarray(schools["precision"][2]).any()


@pytest.mark.parametrize("pupil", range(5))
def test_growth_forecast_is_the_conditional_normal(curves, pupil):
    params, inputs = curves
    others = {**inputs, "known": inputs["known"].at[pupil].set(0.0)}  # a school's line is that of other pupils
    _, schools = education.growth_likelihood(params, others, jnp.asarray(YEARS), n_schools=N_SCHOOLS)
    score, deviation, growth, of_growth = education.growth_forecast(params, schools, inputs, jnp.asarray(YEARS))
    known = KNOWN.copy()
    known[pupil, 3] = 1
    mean, covariance = joint(params, known)
    new = (np.argwhere(known) == (pupil, 3)).all(axis=1)
    residuals = (np.asarray(inputs["scores"])[known > 0] - mean)[~new]
    weights = np.linalg.solve(covariance[~new][:, ~new], covariance[~new][:, new])[:, 0]
    np.testing.assert_allclose(score[pupil], mean[new][0] + weights @ residuals, rtol=1e-4)  # float32
    variance = covariance[new][:, new][0, 0] - weights @ covariance[~new][:, new][:, 0]
    np.testing.assert_allclose(deviation[pupil], np.sqrt(variance), rtol=1e-4)
    assert np.isfinite(growth).all() and (np.asarray(of_growth) > 0).all()


def test_the_posterior_of_growth_is_that_of_one_pupil(curves):
    params, inputs = curves
    schools = {"precision": jnp.zeros((N_SCHOOLS, 2, 2)), "shift": jnp.zeros((N_SCHOOLS, 2))}
    *_, growth, deviation = education.growth_forecast(params, schools, inputs, jnp.asarray(YEARS))
    prior = covariance_of(params["pupil"]) + (covariance_of(params["school"]) if "school" in params else 0)
    known = KNOWN[0] > 0
    design = np.stack([np.ones(known.sum()), YEARS[known]], axis=1)
    covariance = np.linalg.inv(np.linalg.inv(prior) + design.T @ design / np.exp(2 * float(params["log_noise"])))
    residuals = np.asarray(inputs["scores"])[0][known] - design @ np.asarray(params["mean"])
    line = covariance @ design.T @ residuals / np.exp(2 * float(params["log_noise"]))
    np.testing.assert_allclose(growth[0], line[1], rtol=1e-4)  # float32
    np.testing.assert_allclose(deviation[0], np.sqrt(covariance[1, 1]), rtol=1e-4)


def test_extrapolations_are_those_of_numpy(curves):
    _, inputs = curves
    last, grown, line = education.extrapolations(inputs, jnp.asarray(YEARS), jnp.array(0.7))
    for pupil in range(5):
        known = KNOWN[pupil] > 0
        scores, years = np.asarray(inputs["scores"])[pupil][known], YEARS[known]
        np.testing.assert_allclose(last[pupil], scores[-1], rtol=1e-6)
        np.testing.assert_allclose(grown[pupil], scores[-1] + 0.7 * (1.5 - years[-1]), rtol=1e-5)
        own = np.polyval(np.polyfit(years, scores, 1), 1.5) if len(years) > 1 else scores[0] + 0.7 * (1.5 - years[0])
        np.testing.assert_allclose(line[pupil], own, rtol=1e-4)  # float32


def test_scores_of_a_pupil_stay_together():
    card = DataCard(name="mine", source="memory", columns=(Column(name="year", kind="number"),))
    part = {"inputs": {"year": np.zeros(2)}, "targets": np.zeros((2, 1)), "groups": np.zeros(2)}
    with pytest.raises(ValueError, match="^data must have the columns year, schoolid; those of mine are year."):
        education.last_scores(Dataset(part, part, None, card))
    part["inputs"]["schoolid"] = np.zeros(2, int)
    school = Column(name="schoolid", kind="category", levels=("a",))
    card = dataclasses.replace(card, columns=(*card.columns, school))
    del part["groups"]
    with pytest.raises(ValueError, match="^scores must be split by pupil, got rows without groups. Pass --group with"):
        education.last_scores(Dataset(part, part, None, card))


def _scores(years=(0, 1, 0, 1), schools=(0, 0, 0, 0), pupils=(3, 3, 4, 4), kinds=("number", "category")):
    """Returns a row for each score."""
    inputs = {"year": np.array(years, float), "schoolid": np.array(schools)}
    part = {"inputs": inputs, "targets": np.arange(4.0)[:, None], "groups": np.array(pupils)}
    year, school = kinds
    columns = (Column(name="year", kind=year), Column(name="schoolid", kind=school, levels=("a",)))
    return Dataset(part, part, None, DataCard(name="mine", source="memory", columns=columns))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"kinds": ("date", "category")},
            "year must be a number, got a column of kind date. Pass --types year=number.",
        ),
        (
            {"kinds": ("number", "number")},
            "schoolid must be a category, got a column of kind number. Pass --types schoo",
        ),
        (
            {"years": (0, 1, np.nan, 1)},
            r"year must be given for every score, got none in row 3 of the train part \(1 in ",
        ),
        ({"schools": (0, -1, 0, -1)}, r"schoolid must be given for every score, got none in row 2 of .* \(2 in all\)"),
        (
            {"years": (0, 1, 1, 1)},
            r"a pupil must have one score in a year, got a second one for year 1 in row 4 of the tr",
        ),
        ({"pupils": (3, 4, 5, 6)}, "the train part must have a pupil with two scores, got none. Add scores of other"),
        (
            {"years": (2015, 2016, 2015, 2018)},
            "year must count from about 0, got 2015 to 2018. Subtract the first year, 2",
        ),
    ],
)
def test_last_scores_refuse_rows_that_make_no_curves(changes, message):
    assert education.last_scores(_scores()).train["targets"].ravel().tolist() == [1, 3]
    assert education.last_scores(_scores()).card.notes == ("examples are pupils with two scores or more",)
    with pytest.raises(ValueError, match=f"^{message}"):
        education.last_scores(_scores(**changes))


def test_known_scores_mark_what_is_missing():
    inputs = {"schoolid": np.array([0, 1]), "year": np.array([1.0, 2.0])}
    inputs |= {"score 0": np.array([0.5, 1.0]), "score 1": np.array([np.nan, 2.0]), "score 2": np.full(2, np.nan)}
    part = {"inputs": inputs, "targets": np.array([[1.5], [4.0]])}
    card = DataCard(name="mine", source="memory", feature_names=tuple(inputs))
    prepared = data.prepare(education.known_scores, Dataset(part, part, None, card))
    assert prepared.train["inputs"]["scores"].tolist() == [[0.5, 0, 0], [1, 2, 0]]
    assert prepared.train["inputs"]["known"].tolist() == [[1, 0, 0], [1, 1, 0]]
    assert prepared.fitted["gain"] == 4 / 3 and prepared.fitted["years"].tolist() == [0, 1, 2]
