"""How well does a small convolutional network classify images?

    jaxresearch run FILE --smoke                                    a few steps, to check that everything works
    jaxresearch run FILE                                            one epoch, five seeds: five minutes on two CPU cores
    jaxresearch run FILE --data folder --image-size 32              your own images

As it stands, the file classifies handwritten digits. Change the lines marked CHANGE for your own images.
"""

import optax

from jaxresearch import adjust, augmentations, losses, metrics, models, schedules, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept


@hyperparameters
class Images:
    """The default settings. Each is an option on the command line: --learning-rate 0.01."""

    learning_rate: float = swept(2e-3, "peak step size of Adam; falls to zero", above=0)
    batch_size: int = static(64, "images per step", at_least=1)
    epochs: int = static(1, "passes over the training data", at_least=1)
    channels: tuple[int, ...] = static((8, 16), "filters of each block, which halves height and width", at_least=1)


def algorithm(h, card, plan, fitted):
    """Returns a convolutional classifier, trained on slightly shifted images."""
    height, width, depth = card.feature_shape
    return training.supervised(
        models.cnn((height, width, depth), card.n_classes, channels=h.channels, hidden=64),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=optax.adam(schedules.named("linear", h.learning_rate, plan.n_steps)),
        metrics=metrics.classification(card),
        train_metrics={"accuracy": metrics.accuracy()},
        # CHANGE: augmentations that keep the class of an image; augmentations.flipped() suits photographs, not digits.
        augment=augmentations.shifted(2),
        estimator=plan.estimator,
    )


experiment = Experiment(
    question="How well does a small convolutional network recognise handwritten digits?",  # CHANGE
    # CHANGE: a folder (CLASS/name.png, or train/CLASS/... and test/CLASS/...; --image-size 32 makes images of one size), an
    # .npz file with x and y (or x_train, y_train, x_test, y_test), or tfds:NAME. A fifth is held out if there is no test part.
    source="mnist",
    task="classification",
    hyperparameters=Images(),
    algorithm=algorithm,
    maximise="accuracy",  # how sweeps and studies compare settings, on selection data
    adjust=adjust.grid(learning_rate=[1e-3, 2e-3, 4e-3]),  # what a study tries
    # Once you know what you want to show, replace maximise by a claim; at least five seeds are needed to decide it:
    #     from jaxresearch.statistics import Claim
    #     claim=Claim(text="98 %", metric="test/accuracy", about="new examples", at_least=0.98),
)
