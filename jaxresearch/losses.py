"""Losses: each is ``(predictions, targets) -> loss per example``, never reduced and never broadcast.

Shapes that differ raise an error: broadcasting ``(8, 1)`` against ``(8,)`` would silently give 64 losses.

`weighted_mean` then averages over the examples.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer


def squared_error(predictions: Float[Array, "*shape"], targets: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""Returns the squared error of each prediction, in the unit of the targets squared.

    .. math:: L = (y - \hat y)^2

    Args:
        predictions: Any real values.
        targets: Any real values, of the same shape.

    Returns:
        One loss per entry, not reduced.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> squared_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 5.0])).tolist()
        [0.0, 9.0]
    """
    _require_same_shape(predictions, targets)
    return jnp.square(predictions - targets)


def half_squared_error(predictions: Float[Array, "*shape"], targets: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""Returns half the squared error of each prediction: its derivative is the error itself.

    .. math:: L = (y - \hat y)^2 / 2

    Args:
        predictions: Any real values.
        targets: Any real values, of the same shape.

    Returns:
        One loss per entry, in the unit of the targets squared, not reduced.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> half_squared_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 5.0])).tolist()
        [0.0, 4.5]
    """
    return squared_error(predictions, targets) / 2


def huber_loss(
    predictions: Float[Array, "*shape"], targets: Float[Array, "*shape"], *, delta: float | Float[Array, ""] = 1.0
) -> Float[Array, "*shape"]:
    r"""Returns the Huber loss: quadratic for errors up to ``delta``, linear beyond.

    .. math:: L = e^2 / 2 \text{ where } |e| \le \delta, \text{ else } \delta (|e| - \delta / 2),
        \quad e = y - \hat y

    Args:
        predictions: Any real values.
        targets: Any real values, of the same shape.
        delta: The error at which the loss becomes linear, positive, in the unit of the targets; may be swept.

    Returns:
        One loss per entry, in the unit of the targets squared, not reduced.

    Raises:
        ValueError: If the shapes differ, or ``delta`` is a Python number and not positive.

    Example:
        >>> huber_loss(jnp.array([0.5, 3.0]), jnp.array([0.0, 0.0])).tolist()
        [0.125, 2.5]

    References:
        Huber (1964), Robust estimation of a location parameter, Ann. Math. Stat. 35(1), equation 2.
        https://doi.org/10.1214/aoms/1177703732
    """
    _require_same_shape(predictions, targets)
    if isinstance(delta, int | float) and not delta > 0:
        raise ValueError(
            f"delta must be positive; got {delta}. For the absolute error, divide the loss by a small delta."
        )
    error = predictions - targets
    is_near = jnp.abs(error) <= delta
    # Neither branch cancels when differentiated: near zero the derivative of the loss is the error itself.
    near = jnp.where(is_near, error, jnp.sign(error) * delta)
    beyond = jnp.where(is_near, 0, error - near)
    return near**2 / 2 + delta * jnp.abs(beyond)


def log_cosh_loss(predictions: Float[Array, "*shape"], targets: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""Returns the logarithm of the hyperbolic cosine of each error: smooth, quadratic near zero, then linear.

    .. math:: L = \log \cosh e = \log(1 + 2 \sinh^2(e / 2)) = |e| + \log(1 + e^{-2|e|}) - \log 2, \quad e = \hat y - y

    Args:
        predictions: Any real values.
        targets: Any real values, of the same shape. The loss turns linear near an error of 1, so scale them first.

    Returns:
        One loss per entry, not reduced.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> [round(float(loss), 4) for loss in log_cosh_loss(jnp.array([0.0, 1.0, 100.0]), jnp.zeros(3))]
        [0.0, 0.4338, 99.3069]

    References:
        Green (1990), Bayesian reconstructions from emission tomography data using a modified EM algorithm, IEEE Trans.
        Med. Imaging 9(1). https://doi.org/10.1109/42.52985
    """
    _require_same_shape(predictions, targets)
    error = predictions - targets
    size = jnp.abs(error)
    # Near zero the other form subtracts log 2 from log 2. Clipping keeps the unused form and its derivative finite.
    near = jnp.log1p(2 * jnp.square(jnp.sinh(jnp.clip(error, -1, 1) / 2)))
    return jnp.where(size < 1, near, size + jnp.log1p(jnp.exp(-2 * size)) - math.log(2))


def softmax_cross_entropy_with_integer_labels(
    logits: Float[Array, "*batch classes"],
    labels: Integer[Array, "*batch"],
    *,
    label_smoothing: float | Float[Array, ""] = 0.0,
) -> Float[Array, "*batch"]:
    r"""Returns the cross entropy of each label under the softmax of its logits, in nats.

    .. math:: L = \log \sum_k e^{z_k} - (1 - s) z_y - s \bar z

    where :math:`\bar z` is the mean logit: a fraction :math:`s` of the label is spread evenly over all classes.

    ==========================  ==================================================================================
    case                        loss
    ==========================  ==================================================================================
    label out of range          nan, never the loss of another class
    -inf for another class      that class is ignored; infinite with smoothing, which gives it a part of the label
    -inf for the label          infinite; the derivatives take their limits
    +inf, or -inf for all       nan: there are no probabilities
    margin above 17             0 in float32, as are the derivatives; `jaxresearch.metrics.log_loss` is precise there
    ==========================  ==================================================================================

    Args:
        logits: Unnormalised log probabilities.
        labels: Classes, 0 to ``classes - 1``.
        label_smoothing: The fraction :math:`s`, 0 to 1; may be swept.

    Returns:
        One loss per example, not reduced.

    Raises:
        ValueError: If the shapes do not match, there are fewer than two classes, the labels are not integers, or the
            smoothing is outside 0 to 1.

    Example:
        >>> losses = softmax_cross_entropy_with_integer_labels(jnp.zeros((3, 10)), jnp.array([0, 9, 10]))
        >>> [round(float(loss), 4) for loss in losses]
        [2.3026, 2.3026, nan]

    References:
        Szegedy et al. (2016), Rethinking the Inception architecture, CVPR, section 7 (label smoothing).
        https://arxiv.org/abs/1512.00567
    """
    if not jnp.issubdtype(labels.dtype, jnp.integer) and labels.shape != logits.shape:
        raise ValueError(
            f"labels must be integers; got {labels.dtype} of shape {labels.shape}: the targets are values. Use "
            "losses.half_squared_error, or pass classes."
        )
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels must have shape {logits.shape[:-1]}; got {labels.shape}. Pass integer classes, not one-hot."
        )
    _require_classes(logits)
    _require_fraction("label_smoothing", label_smoothing)
    # A comparison with all classes, since the derivative of a gather is a scatter. Classes are counted in int32, not in
    # the dtype of the labels: a byte wraps around at 256.
    is_label = labels[..., None] == jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    largest = jax.lax.stop_gradient(jnp.max(logits, axis=-1))
    # Relative to the largest logit: with logits near 10,000, float32 would round the loss to thousandths.
    picked = jnp.sum(jnp.where(is_label, logits, 0), axis=-1) - largest
    if not _is_zero(label_smoothing):
        mean = jnp.mean(logits - largest[..., None], axis=-1)
        picked = _times(1 - label_smoothing, picked) + _times(label_smoothing, mean)
    loss = jnp.log(jnp.sum(jnp.exp(logits - largest[..., None]), axis=-1)) - picked
    return jnp.where(jnp.any(is_label, axis=-1), loss, jnp.nan)


def softmax_cross_entropy(
    logits: Float[Array, "*batch classes"],
    probabilities: Float[Array, "*batch classes"],
    *,
    label_smoothing: float | Float[Array, ""] = 0.0,
) -> Float[Array, "*batch"]:
    r"""Returns the cross entropy of target probabilities under the softmax of the logits, in nats.

    .. math:: L = -\sum_k q_k \log \frac{e^{z_k}}{\sum_j e^{z_j}}, \quad q = (1 - s) p + s \bar p

    where :math:`\bar p` is the mean of the probabilities, one over the number of classes. A logit of minus infinity
    contributes nothing, derivatives included, if its probability is 0; otherwise the loss is infinite. Plus infinity, or
    minus infinity for all classes, gives nan.

    Args:
        logits: Unnormalised log probabilities.
        probabilities: Soft labels: each row is at least 0 and sums to 1 (rows of zeros mask their example).
        label_smoothing: The fraction :math:`s` spread evenly over the classes, 0 to 1; may be swept.

    Returns:
        One loss per example, not reduced.

    Raises:
        ValueError: If the shapes differ, there are fewer than two classes, or the smoothing is outside 0 to 1.

    Example:
        >>> round(float(softmax_cross_entropy(jnp.zeros(2), jnp.array([0.5, 0.5]))), 4)
        0.6931
    """
    _require_same_shape(logits, probabilities, "logits", "probabilities")
    _require_classes(logits)
    _require_fraction("label_smoothing", label_smoothing)
    mean = jnp.mean(probabilities, axis=-1, keepdims=True)
    smoothed = (1 - label_smoothing) * probabilities + label_smoothing * mean
    return -jnp.sum(_times(smoothed, jax.nn.log_softmax(logits, axis=-1)), axis=-1)


def sigmoid_cross_entropy(logits: Float[Array, "*shape"], targets: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""Returns the cross entropy of each independent binary target under the sigmoid of its logit, in nats.

    .. math:: L = y \log(1 + e^{-z}) + (1 - y) \log(1 + e^{z})

    Args:
        logits: Log odds of the positive class; may be infinite.
        targets: 1 for positive, 0 for negative, or a probability in between; floats of the same shape.

    Returns:
        One loss per entry, not reduced.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> [round(float(loss), 4) for loss in sigmoid_cross_entropy(jnp.array([0.0, 100.0]), jnp.array([1.0, 0.0]))]
        [0.6931, 100.0]
    """
    _require_same_shape(logits, targets, "logits", "targets")
    # Not softplus(z) - y z: in float32 that is 0, with no gradient, for a positive at log odds above 15.
    return _times(targets, jax.nn.softplus(-logits)) + _times(1 - targets, jax.nn.softplus(logits))


def normal_negative_log_likelihood(
    predictions: Float[Array, "*batch two"], targets: Float[Array, "*batch one"]
) -> Float[Array, "*batch one"]:
    r"""Returns the negative log density of each target under a normal distribution, in nats.

    .. math:: L = \tfrac{1}{2} \left(\log 2 \pi + v + (y - m)^2 e^{-v}\right)

    Args:
        predictions: On the last axis, the means :math:`m` and then the log variances :math:`v` of the targets.
        targets: Any real values :math:`y`, with half as many entries on the last axis.

    Returns:
        One loss per target, not reduced; negative where the density is above 1.

    Raises:
        ValueError: If the shapes do not match.

    Example:
        >>> predictions = jnp.array([[1.0, 0.0], [1.0, 2.0]])
        >>> [round(float(loss), 4) for loss in normal_negative_log_likelihood(predictions, jnp.array([[1.0], [3.0]]))[:, 0]]
        [0.9189, 2.1896]

    References:
        Nix and Weigend (1994), Estimating the mean and variance of the target probability distribution, IEEE International
        Conference on Neural Networks. https://doi.org/10.1109/ICNN.1994.374138
    """
    width = jnp.shape(targets)[-1:]
    if not width or jnp.shape(predictions) != (*jnp.shape(targets)[:-1], 2 * width[0]):
        raise ValueError(
            f"predictions must hold a mean and a log variance for each target, (..., 2 k) for targets (..., k); got "
            f"{jnp.shape(predictions)} and {jnp.shape(targets)}. Give the model twice as many outputs as there are targets."
        )
    means, log_variances = jnp.split(predictions, 2, axis=-1)
    return (math.log(2 * math.pi) + log_variances + jnp.square(targets - means) * jnp.exp(-log_variances)) / 2


def cox_loss(
    predictions: Float[Array | np.ndarray, "batch 1"],
    targets: Float[Array | np.ndarray, "batch 2"],
    *,
    ties: Literal["efron", "breslow"] = "efron",
) -> Float[Array, " batch"]:
    r"""Returns the term of each patient in Cox's negative log partial likelihood, 0 for those without an event.

    .. math:: L_i = \log \sum_{j: t_j \ge t_i} e^{r_j} - r_i

    The patients at risk are those of the batch, so train on all examples at once (a batch size of 0) for the likelihood itself;
    a weight in `weighted_mean` leaves out a patient's own term alone. Of :math:`d` events at the same time, Efron's
    :math:`l`-th has :math:`l / d` of the risk of all of them taken off its sum, for :math:`l = 0, \dots, d - 1`.

    Args:
        predictions: Risks: logarithms of the hazard relative to the baseline.
        targets: Time, and 1 for an event or 0 for the last visit without one.
        ties: ``"efron"``, or ``"breslow"`` for the formula above whether or not events share their time.

    Returns:
        One loss per patient, in nats, not reduced.

    Raises:
        ValueError: If a shape does not match, or ``ties`` is neither of the two.

    Example:
        >>> loss = cox_loss(jnp.zeros((3, 1)), jnp.array([[5.0, 1.0], [9.0, 0.0], [7.0, 1.0]]))
        >>> [round(float(term), 4) for term in loss]  # logarithms of the 3 and 2 patients at risk
        [1.0986, 0.0, 0.6931]

    References:
        Cox (1972), Regression models and life-tables, J. R. Stat. Soc. B 34(2), equation 12.
        https://doi.org/10.1111/j.2517-6161.1972.tb00899.x
        Efron (1977), The efficiency of Cox's likelihood function for censored data, J. Am. Stat. Assoc. 72(359), section 6.
        https://doi.org/10.1080/01621459.1977.10480613
    """
    if predictions.shape[1:] != (1,) or targets.shape != (len(predictions), 2):
        raise ValueError(
            "cox_loss must have risks (batch, 1) and targets (batch, 2), time and event; got shapes "
            f"{predictions.shape} and {targets.shape}. Give the model one output."
        )
    if ties not in ("efron", "breslow"):
        raise ValueError(f"ties must be efron or breslow; got {ties!r}. Pass 'efron'.")
    predictions, targets = jnp.asarray(predictions), jnp.asarray(targets)
    order = jnp.argsort(targets[:, 0])
    risks, times, is_event = predictions[order, 0], targets[order, 0], targets[order, 1] > 0
    first = jnp.searchsorted(times, times)  # of the patients with the same time
    log_total = jax.lax.cumlogsumexp(risks, reverse=True)[first]
    if ties == "efron":
        log_total += jnp.log1p(-_tied_fraction(risks, is_event, first, log_total))
    terms = jnp.where(is_event, log_total - risks, 0)
    return jnp.zeros_like(terms).at[order].set(terms)


def _tied_fraction(risks: Array, is_event: Array, first: Array, log_total: Array) -> Array:
    """Returns the fraction of the total risk that Efron takes off at each event, for those that share its time."""
    n = len(risks)
    place = jnp.cumsum(is_event) - is_event
    before = place - place[first]
    count = jax.ops.segment_sum(is_event.astype(risks.dtype), first, n)[first]
    # Relative to the total, which is at least as large, nothing overflows.
    shares = jax.ops.segment_sum(jnp.where(is_event, jnp.exp(jnp.where(is_event, risks - log_total, 0)), 0), first, n)
    return jnp.where(is_event, before / jnp.maximum(count, 1) * shares[first], 0)


def weighted_mean(losses: Float[Array, "*batch"], weights: Float[Array, "*leading"] | None = None) -> Float[Array, ""]:
    r"""Returns the weighted mean of the losses.

    .. math:: \sum_i w_i L_i / \sum_i w_i

    The derivative with respect to a weight is :math:`(L_i - \bar L) / \sum_j w_j`, even where the weight is 0.

    ============================  =====================================================================
    case                          mean and derivatives
    ============================  =====================================================================
    weight 0, loss nan or inf     the example is ignored; the derivatives in its loss and weight are 0
    all weights 0                 nan
    ============================  =====================================================================

    Args:
        losses: One loss per example, or several along trailing axes.
        weights: At least 0, for the leading axes of ``losses``; 1 by default.

    Returns:
        A scalar in the unit of the losses.

    Raises:
        ValueError: If the shape of the weights differs from the leading axes of the losses.

    Example:
        >>> float(weighted_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([1.0, 1.0, 0.0])))
        2.0
    """
    if weights is None:
        return jnp.mean(losses)
    if weights.shape != losses.shape[: weights.ndim]:
        raise ValueError(
            f"weights must have the shape of the leading axes of the losses, {losses.shape}; got {weights.shape}. "
            "Pass one weight per example."
        )
    spread = jnp.broadcast_to(weights.reshape(weights.shape + (1,) * (losses.ndim - weights.ndim)), losses.shape)
    counts = (spread != 0) | jnp.isfinite(losses)
    # Mask both factors: the derivative of 0 * nan is nan in either.
    spread, losses = jnp.where(counts, spread, 0), jnp.where(counts, losses, 0)
    return jnp.sum(spread * losses) / jnp.sum(spread)


def _require_same_shape(a: Array, b: Array, name_a: str = "predictions", name_b: str = "targets") -> None:
    """Raises if the shapes of two arrays differ."""
    if jnp.shape(a) != jnp.shape(b):
        remedy = "Reshape one of them: a loss never broadcasts."
        if jnp.ndim(a) == jnp.ndim(b) == 2 and len(a) == len(b) and name_a == "predictions":
            remedy = f"The model has {a.shape[1]} outputs, the target has {b.shape[1]}: make them equal."
        elif jnp.ndim(b) == 1 and jnp.issubdtype(jnp.result_type(b), jnp.integer):
            remedy = (
                "Integers are classes: use a loss of classes, such as softmax_cross_entropy_with_integer_labels, or read them as "
                "values (--task regression)."
            )
        raise ValueError(f"{name_b} must have the shape of {name_a}, {jnp.shape(a)}; got {jnp.shape(b)}. {remedy}")


def _require_classes(logits: Array) -> None:
    """Raises for a single class, whose softmax is 1."""
    if logits.shape[-1] < 2:
        raise ValueError(
            f"logits must have two or more classes on the last axis; got {logits.shape}. Give the model one output per class."
        )


def _require_fraction(name: str, value: float | Array) -> None:
    """Raises if a Python number is outside 0 to 1."""
    if isinstance(value, int | float) and not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1; got {value}. It is a fraction.")


def _is_zero(value: float | Array) -> bool:
    """Returns whether a value is the Python number zero, so that its term can be left out of the program."""
    return isinstance(value, int | float) and value == 0


def _times(weight: float | Array, value: Array) -> Array:
    """Returns the product, 0 for a weight of 0 even if the value is nan or infinite; its derivatives are finite there."""
    return weight * jnp.where((weight == 0) & ~jnp.isfinite(value), 0, value)
