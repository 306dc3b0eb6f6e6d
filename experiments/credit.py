"""What does a credit model cost, and what does it cost to treat good applicants alike, whatever their age?

    jaxresearch run credit --folds 10 --directory runs/credit                the cost, and the gap between young and older
    jaxresearch run credit --folds 10 --fairness 10 --directory runs/fair    the same with a penalty on the gap
    jaxresearch compare runs/credit runs/fair                                the price of the penalty, paired by fold

A minute each on two CPU cores. Logistic regression on the German credit data. The cost is Statlog's (Michie, Spiegelhalter and
Taylor, 1994): 5 for a bad credit that is granted, 1 for a good one that is refused; discriminant analysis costs 0.535, granting
none 0.700. The weight decay is chosen in each training part, by the cost in five inner folds; the held-out fold is read
once. `refused` is the fraction of the good applicants who are refused, and `refused_gap` how much larger it is among those of 25
years at most: equal opportunity (Hardt, Price and Srebro, 2016) asks for 0. Expect a cost of 0.532 (0.446 to 0.618 over folds).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxresearch import data, losses, metrics, models, schedules, subgroups, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

COSTS = [[0, 5], [1, 0]]  # of refusing and of granting, where the credit is bad, and where it is good
GOOD, YOUNG = 1, 25  # a class, and the largest age of the young in years
N_INNER = 5  # folds of each training part, which choose one of these weight decays
DECAYS = (0.0003, 0.001, 0.003, 0.01, 0.03)


@hyperparameters
class Credit:
    """Steps to convergence; the weight decay is chosen by the data."""

    learning_rate: float = swept(0.1, "peak step size of Adam, which falls linearly to zero", above=0)
    fairness: float = swept(0.0, "weight of the squared gap between young and older good applicants", at_least=0)
    batch_size: int = static(0, "applicants per step; 0: all of them", at_least=0)
    epochs: int = static(300, "passes over the training data", at_least=1)


def fit(train, card):
    """Returns the scales of the columns, and the weight decay that costs least in the inner folds of the training part."""
    fitted = data.standard.fit(train, card)
    part = apply(fitted, train, training=True)
    fold_of = np.random.default_rng(0).permutation(len(part["targets"])) % N_INNER
    costs = inner_costs(part, fold_of[None] == np.arange(N_INNER)[:, None])
    return {**fitted, "weight_decay": np.asarray(DECAYS[np.argmin(costs)])}


@jax.jit
def inner_costs(part, is_held):
    """Returns the cost of each weight decay in the inner folds, each held out once."""
    plan = training.plan_of(len(part["targets"]), batch_size=len(part["targets"]), epochs=Credit().epochs)

    def cost(weight_decay, is_held):
        fresh = logistic_regression(Credit(), part["inputs"].shape[1], weight_decay, plan)
        state, _ = training.run(jax.random.key(0), {**part, "weights": 1.0 * ~is_held}, algorithm=fresh, plan=plan)
        return fresh.evaluate(state, {**part, "weights": 1.0 * is_held}, jax.random.key(0))["cost"]

    by_fold = jax.vmap(cost, (None, 0))
    return jax.vmap(by_fold, (0, None))(jnp.asarray(DECAYS), is_held).mean(axis=1)


def apply(fitted, part, *, training):
    """Returns standard features, and who is young; each group needs a good applicant."""
    young = part["inputs"]["age"] <= YOUNG
    if "targets" in part:
        good = part["targets"] == GOOD
        subgroups.require_members({"good young": young & good, "good older": ~young & good})
    return {**data.standard.apply(fitted, part, training=training), "is_young": young}


def algorithm(h, card, plan, fitted):
    """Returns logistic regression, evaluated on everyone and by age."""
    everyone = logistic_regression(h, card.n_features, fitted["weight_decay"], plan)

    def members(part):
        return {"young": part["is_young"], "older": ~part["is_young"]}

    return subgroups.by_subgroup(everyone, members, gap=("young", "older"))


def logistic_regression(h, n_features, weight_decay, plan):
    """Returns the algorithm that minimises the log loss, the squared weights and the squared gap in the chance of a credit."""
    model = models.linear(n_features, 2)

    def loss_fn(params, model_state, batch, key):
        logits, _ = model.apply(params, model_state, batch["inputs"])
        nats = losses.softmax_cross_entropy_with_integer_labels(logits, batch["targets"])
        weights = batch.get("weights", jnp.ones(len(logits)))
        granted = jax.nn.sigmoid(logits[:, 1] - logits[:, 0] - jnp.log(COSTS[0][1] / COSTS[1][0]))
        good = weights * (batch["targets"] == GOOD)
        young, older = (
            losses.weighted_mean(granted, good * is_in) for is_in in (batch["is_young"], ~batch["is_young"])
        )
        squares = jnp.sum(params["Dense_0"]["kernel"] ** 2) / 2
        penalties = weight_decay * squares + h.fairness * (young - older) ** 2
        return losses.weighted_mean(nats, weights) + penalties, ({}, model_state)

    refused = metrics.error(metrics.decided(metrics.recall(average=None), COSTS), class_index=GOOD)
    return training.gradient_based(
        model,
        loss_fn,
        optimizer=optax.adam(schedules.named("linear", h.learning_rate, plan.n_steps)),
        metrics={"cost": metrics.cost(COSTS), "auc": metrics.roc_auc(), "refused": refused},
        estimator=plan.estimator,
    )


experiment = Experiment(
    question="What does a credit model cost, and what does it cost to treat good applicants alike, whatever their age?",
    claim=Claim(text="at most 0.535", metric="test/cost", about="new examples", at_most=0.535, n_folds=10),
    hyperparameters=Credit(),
    source="credit",
    task="classification",
    preprocess=data.Preprocessor(fit, apply, describe=data.standard.describe),
    algorithm=algorithm,
)
