"""Why a model outputs what it does."""

from jaxresearch.explain.gradients import (
    expected_gradients,
    input_x_gradient,
    integrated_gradients,
    saliency,
    smoothgrad,
)
from jaxresearch.explain.groups import columns, laid_out, patches
from jaxresearch.explain.perturbation import ablation, occlusion, permutation_importance
from jaxresearch.explain.shapley import sampled_shapley_values, shapley_values

__all__ = [
    "ablation",
    "columns",
    "expected_gradients",
    "input_x_gradient",
    "integrated_gradients",
    "laid_out",
    "occlusion",
    "patches",
    "permutation_importance",
    "saliency",
    "sampled_shapley_values",
    "shapley_values",
    "smoothgrad",
]
