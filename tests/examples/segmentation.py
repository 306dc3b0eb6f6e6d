"""Does a small convolutional network tell the digit, its frame and the background apart, pixel by pixel?"""

from functools import partial

import digits
import numpy as np
import optax
from flax import linen

from jaxresearch import losses, metrics, models, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

CLASSES = ("background", "digit", "frame")


@hyperparameters
class Segmentation:
    learning_rate: float = swept(1e-2, "step size of Adam", above=0)
    batch_size: int = static(32, "images per step", at_least=1)
    epochs: int = static(4, "passes over the data", at_least=1)


def collect(source, *, target=None):
    """Returns digits in a frame, with noise, and the class of each pixel."""
    images, _ = digits.images()
    framed = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    targets = (framed[..., 0] > 0.5).astype(np.int32)
    targets[:, [0, -1], :], targets[:, :, [0, -1]] = 2, 2
    framed += 0.75 * (targets == 2)[..., None] + np.random.default_rng(0).normal(0, 0.2, framed.shape)
    return digits.dataset({"inputs": framed.astype(np.float32), "targets": targets}, class_names=CLASSES)


def algorithm(h, card, plan, fitted):
    convolution = partial(linen.Conv, conv_general_dilated=models.conv_general_dilated)
    body = [layer for _ in range(2) for layer in (convolution(8, (3, 3)), linen.relu)]
    network = linen.Sequential([*body, convolution(card.n_classes, (1, 1))])
    return training.supervised(
        models.linen(network, np.zeros((1, *card.feature_shape), np.float32)),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=optax.adam(h.learning_rate),
        metrics={
            "iou": metrics.intersection_over_union(average=None),
            "mean_iou": metrics.intersection_over_union(average="macro"),
            "dice": metrics.dice(average=None),
        },
        estimator=plan.estimator,
    )


experiment = Experiment(
    question="Does a small convolutional network tell the digit, its frame and the background apart?",
    claim=Claim(text="a mean IoU of 0.8", metric="test/mean_iou", about="new examples", at_least=0.8),
    hyperparameters=Segmentation(),
    collect=collect,
    **digits.AS_IT_IS,
    algorithm=algorithm,
)
