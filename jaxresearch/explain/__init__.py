"""Explanations of predictions: attributions, maps, robustness, how good explanations are, and influence.

All are pure functions of the model as ``predict: inputs -> outputs`` with its parameters in a closure::

    method(predict, inputs, *, target, baseline, fixed, batch_size, ...) -> attributions in the shapes of the inputs

They compose with `jax.jit`, `jax.vmap` and `jax.grad`. Samples, steps and coalitions are added up one after another, so memory
does not grow with their number; ``batch_size`` bounds the rows in a call of ``predict``.

==========================  ==============================================================  =====================================
method                      explains                                                        evaluations of an example
==========================  ==============================================================  =====================================
`saliency`                  the slope at each entry                                         1 gradient
`input_x_gradient`          entry times slope                                               1 gradient
`smoothgrad`                the mean slope nearby                                           1 gradient per sample
`integrated_gradients`      the change of the score from a baseline, entry by entry         1 gradient per step
`expected_gradients`        the same, on average over references                            1 gradient per sample
`occlusion`, `ablation`     the fall of the score without a window, or a group              1 per window, or group
`shapley_values`            the change of the score from a baseline, group by group         2^groups
`sampled_shapley_values`    the same, estimated                                             2 per group and pair of permutations
`permutation_importance`    the rise of a loss over a whole set without a group             1 per group and permutation
`grad_cam`                  where the channels of a layer raise the score                   1 gradient
`attention_rollout`         which inputs attention carries to each position                 none: it takes the weights
==========================  ==============================================================  =====================================

`attributions` carries out a method by its name. `fgsm`, `pgd`, `smallest_perturbation` and `adversarial_accuracy` change
predictions by small changes of the inputs. `infidelity`, `sensitivity`, `deletion_curve`, `insertion_curve` and
`randomised_weights` measure attributions.

`influence` explains predictions by training examples: the derivative of the loss on a test example in the weight of each of them,
through the whole run; `traced_influence` estimates it from checkpoints. `retrained`, `subsets`, `datamodelling_score` and
`linearity` measure their worth; `self_influenced` is a transformation of algorithms that finds wrong labels, and `memorised` one
that trains on random labels.
"""

from jaxresearch.explain.features import column_features
from jaxresearch.explain.gradients import (
    expected_gradients,
    input_x_gradient,
    integrated_gradients,
    saliency,
    smoothgrad,
)
from jaxresearch.explain.groups import columns, laid_out, patches
from jaxresearch.explain.influences import (
    Influence,
    datamodelling_score,
    influence,
    linearity,
    retrained,
    subsets,
)
from jaxresearch.explain.maps import attention_rollout, grad_cam
from jaxresearch.explain.memorisation import Memorised, memorised
from jaxresearch.explain.named import METHODS, attributions
from jaxresearch.explain.perturbation import ablation, occlusion, permutation_importance
from jaxresearch.explain.quality import deletion_curve, infidelity, insertion_curve, randomised_weights, sensitivity
from jaxresearch.explain.robustness import Smallest, adversarial_accuracy, fgsm, pgd, smallest_perturbation
from jaxresearch.explain.self_influence import SelfInfluenced, self_influenced
from jaxresearch.explain.shapley import sampled_shapley_values, shapley_values
from jaxresearch.explain.similarity import gradient_similarity, parameters_of, traced_influence, unroll_with

__all__ = [
    "METHODS",
    "Influence",
    "Memorised",
    "SelfInfluenced",
    "Smallest",
    "ablation",
    "adversarial_accuracy",
    "attention_rollout",
    "attributions",
    "column_features",
    "columns",
    "datamodelling_score",
    "deletion_curve",
    "expected_gradients",
    "fgsm",
    "grad_cam",
    "gradient_similarity",
    "infidelity",
    "influence",
    "input_x_gradient",
    "insertion_curve",
    "integrated_gradients",
    "laid_out",
    "linearity",
    "memorised",
    "occlusion",
    "parameters_of",
    "patches",
    "permutation_importance",
    "pgd",
    "randomised_weights",
    "retrained",
    "saliency",
    "sampled_shapley_values",
    "self_influenced",
    "sensitivity",
    "shapley_values",
    "smallest_perturbation",
    "smoothgrad",
    "subsets",
    "traced_influence",
    "unroll_with",
]
