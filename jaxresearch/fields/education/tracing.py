"""Models of answers: each predicts an answer from the item and the earlier answers, as the log odds of a right one.

The likelihood of a person's answers is the product of these predictions, so every model is fitted by the same loss.
Inputs are those of `answer_sequences`: items and answers, -1 after the last. The prediction of an answer never uses it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxresearch.models import Model

_NODES = 21  # of the quadrature over abilities


def item_rates(n_items: int) -> Model:
    r"""Returns the model that knows the items alone: :math:`\text{logit} \, P(\text{right}) = b_i`.

    Args:
        n_items: Number of items.

    Returns:
        The model; inputs ``(persons, length, 2)``, outputs the log odds ``(persons, length)``.

    Example:
        >>> model = item_rates(3)
        >>> model.apply({"easiness": jnp.array([0.0, 1.0, 2.0])}, {}, jnp.array([[[2, 1], [0, 0]]]))[0].tolist()
        [[2.0, 0.0]]
    """

    def init(key):
        return {"easiness": 0.1 * jax.random.normal(key, (n_items,))}, {}

    def apply(params, model_state, inputs, key=None):
        return params["easiness"][inputs[..., 0]], model_state

    return Model(init, apply)


def item_response(n_items: int, *, discriminations: bool = False) -> Model:
    r"""Returns the Rasch model, or the two-parameter model of item response theory, by its marginal likelihood.

    .. math:: \text{logit} \, P(\text{right} \mid \theta) = a_i \theta + b_i, \quad \theta \sim N(0, 1)

    The ability is integrated out by Gauss-Hermite quadrature: the prediction of an answer averages over the posterior given the
    earlier ones.

    Args:
        n_items: Number of items.
        discriminations: Whether each item has a slope of its own; in the Rasch model, all share the standard deviation of
            ability.

    Returns:
        The model; inputs ``(persons, length, 2)``, outputs the log odds ``(persons, length)``.

    Example:
        >>> model = item_response(2)
        >>> params, _ = model.init(jax.random.key(0))
        >>> right, wrong = jnp.array([[[0, 1], [1, 1]]]), jnp.array([[[0, 0], [1, 1]]])
        >>> bool(model.apply(params, {}, right)[0][0, 1] > model.apply(params, {}, wrong)[0][0, 1])
        True

    References:
        Rasch (1960), Probabilistic Models for Some Intelligence and Attainment Tests, Copenhagen. Birnbaum (1968), Some latent
        trait models, in Lord and Novick: two parameters. Bock and Aitkin (1981), Marginal maximum likelihood estimation of item
        parameters, Psychometrika 46(4). https://doi.org/10.1007/BF02293801
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    nodes, log_prior = jnp.asarray(nodes, jnp.float32), jnp.asarray(np.log(weights / weights.sum()), jnp.float32)

    def init(key):
        slopes = jnp.zeros(n_items if discriminations else 1)
        return {"easiness": 0.1 * jax.random.normal(key, (n_items,)), "log_slope": slopes}, {}

    def apply(params, model_state, inputs, key=None):
        items = inputs[..., 0]
        slopes = jnp.exp(params["log_slope"])[items if discriminations else jnp.zeros_like(items)]
        odds = slopes[..., None] * nodes[None, None] + params["easiness"][items][..., None]
        seen = jnp.cumsum(_log_likelihood(odds, inputs[..., 1, None]), axis=1)
        earlier = jnp.concatenate([jnp.zeros_like(seen[:, :1]), seen[:, :-1]], axis=1)
        return _log_odds(log_prior[None, None] + earlier, odds), model_state

    return Model(init, apply)


def bayesian_tracing(n_items: int) -> Model:
    r"""Returns Bayesian knowledge tracing: a person knows the matter or does not, and may learn it between two answers.

    .. math::
        P(\text{right} \mid \text{known}) = 1 - s_i, \quad P(\text{right} \mid \text{unknown}) = g_i, \quad
        P(K_{t + 1}) = P(K_t \mid \text{answers}) + (1 - P(K_t \mid \text{answers})) \, l

    A hidden Markov model of two states, filtered forwards; slips and guesses are those of the item.

    Args:
        n_items: Number of items.

    Returns:
        The model; inputs ``(persons, length, 2)``, outputs the log odds ``(persons, length)``.

    Example:
        >>> model = bayesian_tracing(1)
        >>> params = {"known": jnp.array(0.0), "learn": jnp.array(-50.0), "slip": jnp.array([-50.0]), "guess": jnp.array([0.0])}
        >>> odds = model.apply(params, {}, jnp.array([[[0, 1], [0, 1]]]))[0]  # 3/4, then 5/6 since 2/3 know it
        >>> [round(float(jax.nn.sigmoid(one)), 3) for one in odds[0]]
        [0.75, 0.833]

    References:
        Corbett and Anderson (1995), Knowledge tracing: modeling the acquisition of procedural knowledge, User Modeling and
        User-Adapted Interaction 4. https://doi.org/10.1007/BF01099821
        Pardos and Heffernan (2011), KT-IDEM: introducing item difficulty to the knowledge tracing model, UMAP (by item).
        https://doi.org/10.1007/978-3-642-22362-4_21
    """

    def init(key):
        slip, guess = 0.1 * jax.random.normal(key, (2, n_items)) - 1.0
        return {"known": jnp.array(0.0), "learn": jnp.array(-3.0), "slip": slip, "guess": guess}, {}

    def apply(params, model_state, inputs, key=None):
        items, answers = inputs[..., 0], inputs[..., 1]
        odds = jnp.stack([params["guess"][items], -params["slip"][items]], axis=-1)  # unknown, known
        learnt, not_learnt = jax.nn.log_sigmoid(params["learn"]), jax.nn.log_sigmoid(-params["learn"])

        def step(belief, now):
            odds, answer = now
            posterior = jax.nn.log_softmax(belief + _log_likelihood(odds, answer[:, None]), axis=-1)
            unknown, known = posterior[:, 0], posterior[:, 1]
            moved = jnp.stack([unknown + not_learnt, jnp.logaddexp(known, unknown + learnt)], axis=-1)
            return moved, _log_odds(belief, odds)

        start = jnp.stack([jax.nn.log_sigmoid(-params["known"]), jax.nn.log_sigmoid(params["known"])])
        over_time = (odds.swapaxes(0, 1), answers.swapaxes(0, 1))
        _, predicted = jax.lax.scan(step, jnp.broadcast_to(start, (len(items), 2)), over_time)
        return predicted.swapaxes(0, 1), model_state

    return Model(init, apply)


def deep_tracing(network: Model, n_items: int) -> Model:
    """Returns a sequence model of answers: a network of what is known before each of them, as of `previous_answers`.

    Args:
        network: Inputs ``(persons, length, 3 n_items)``, outputs ``(persons, length, 1)``, each from earlier steps and its own.
        n_items: Number of items.

    Returns:
        The model; inputs ``(persons, length, 2)``, outputs the log odds ``(persons, length)``.

    Example:
        >>> from jaxresearch import models
        >>> model = deep_tracing(models.rnn(6, (4,), 1), 2)
        >>> params, state = model.init(jax.random.key(0))
        >>> model.apply(params, state, jnp.array([[[0, 1], [1, 0], [0, 1]]]))[0].shape
        (1, 3)

    References:
        Piech et al. (2015), Deep knowledge tracing, NeurIPS. https://arxiv.org/abs/1506.05908
    """

    def apply(params, model_state, inputs, key=None):
        outputs, model_state = network.apply(params, model_state, previous_answers(inputs, n_items=n_items), key)
        return outputs[..., 0], model_state

    return Model(network.init, apply)


def previous_answers(
    inputs: Int[Array, "persons length 2"], *, n_items: int
) -> Float[Array, "persons length features"]:
    """Returns what a sequence model may know before each answer: the item, and the item before with its answer.

    Args:
        inputs: Items and answers, -1 after the last.
        n_items: Number of items.

    Returns:
        One-hot vectors of the item, of the item before if it was answered right, and of it if it was answered wrong:
        ``3 n_items`` features.

    Example:
        >>> previous_answers(jnp.array([[[0, 1], [1, 0]]]), n_items=2)[0].tolist()
        [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]]
    """
    items = jax.nn.one_hot(inputs[..., 0], n_items)
    before = jnp.concatenate([jnp.zeros_like(items[:, :1]), items[:, :-1]], axis=1)
    answers = jnp.concatenate([jnp.zeros_like(inputs[:, :1, 1:]), inputs[:, :-1, 1:]], axis=1)
    return jnp.concatenate([items, before * (answers == 1), before * (answers == 0)], axis=-1)


def answer_losses(odds: Float[Array, "*batch length"], answers: Int[Array, "*batch length"]) -> Float[Array, "*batch"]:
    """Returns the mean log loss of each person's answers, in nats.

    Args:
        odds: The log odds of a right answer.
        answers: 1 for right, 0 for wrong, -1 for none.

    Returns:
        One value for each person; 0 for a person without answers.

    Example:
        >>> answer_losses(jnp.array([[0.0, 0.0, 9.0]]), jnp.array([[1, 0, -1]])).tolist()
        [0.6931471824645996]
    """
    return -jnp.sum(_log_likelihood(odds, answers), axis=-1) / jnp.maximum(jnp.sum(answers >= 0, axis=-1), 1)


def _log_likelihood(odds: Array, answers: Array) -> Array:
    """Returns the log likelihood of answers, 0 where there is none."""
    return jnp.where(answers < 0, 0.0, jax.nn.log_sigmoid(jnp.where(answers == 1, odds, -odds)))


def _log_odds(log_weights: Array, odds: Array) -> Array:
    """Returns the log odds of a right answer, averaged over states or abilities on the last axis."""
    right, wrong = (jax.nn.logsumexp(log_weights + jax.nn.log_sigmoid(sign * odds), axis=-1) for sign in (1, -1))
    return right - wrong
