"""Attributions equal Captum's on the same convolutional network, for the methods that both have and that draw nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import explain, models

captum = pytest.importorskip("captum", reason="captum is not installed: pip install '.[bench,test]'")
import torch  # noqa: E402
from captum import attr, metrics, robust  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients:UserWarning")
N, SIDE, CLASSES = 3, 8, 4
CLASS_OF = np.array([2, 0, 3])


class Net(torch.nn.Module):
    """The network of `models.cnn` with one block."""

    def __init__(self, params):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 5, 3, padding=1)
        self.hidden, self.outputs = torch.nn.Linear(5 * SIDE**2 // 4, 7), torch.nn.Linear(7, CLASSES)
        layers = {"Conv_0": self.conv, "Dense_0": self.hidden, "Dense_1": self.outputs}
        for name, layer in layers.items():
            kernel = np.asarray(params[name]["kernel"])
            layer.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T)
            layer.bias.data = torch.tensor(np.asarray(params[name]["bias"]))

    def forward(self, x):
        """Returns the logits of images ``(n, channels, height, width)``."""
        x = torch.nn.functional.max_pool2d(torch.relu(self.conv(x)), 2)
        return self.outputs(torch.relu(self.hidden(x.permute(0, 2, 3, 1).flatten(1))))


def channels_first(x):
    return torch.tensor(np.asarray(x).transpose(0, 3, 1, 2).copy())


def channels_last(x):
    return x.detach().numpy().transpose(0, 2, 3, 1)


@pytest.fixture(scope="module")
def case():
    model = models.cnn((SIDE, SIDE, 2), CLASSES, channels=(5,), hidden=7)
    params, model_state = model.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (N, SIDE, SIDE, 2))
    return model, params, model_state, images, Net(params), channels_first(images), torch.tensor(CLASS_OF)


GROUPS = explain.patches((SIDE, SIDE, 2), (4, 4))
MASK = channels_first(GROUPS[None]).long()
TARGET = {"target": jnp.asarray(CLASS_OF)}


def ours(case, method, **options):
    model, params, model_state, images, *_ = case
    predict = lambda x: model.apply(params, model_state, x)[0]  # noqa: E731
    return jax.jit(lambda x: method(predict, x, **TARGET, **options))(images)


def test_the_networks_are_equal(case):
    model, params, model_state, images, net, x, _ = case
    np.testing.assert_allclose(model.apply(params, model_state, images)[0], net(x).detach(), atol=1e-5)


@pytest.mark.parametrize(
    ("method", "theirs", "options", "their_options"),
    [
        (explain.saliency, attr.Saliency, {}, {}),
        (explain.input_x_gradient, attr.InputXGradient, {}, {}),
        (
            lambda *x, **options: explain.integrated_gradients(*x, **options)[0],
            attr.IntegratedGradients,
            {"n_steps": 64, "baseline": 0.2, "batch_size": 2},
            {"n_steps": 64, "baselines": 0.2},
        ),
        (
            explain.occlusion,
            attr.Occlusion,
            {"window": (3, 3), "stride": (2, 2), "baseline": 0.5},
            {"sliding_window_shapes": (2, 3, 3), "strides": (2, 2, 2), "baselines": 0.5},
        ),
        (
            lambda *x, **options: explain.laid_out(explain.ablation(*x, groups=GROUPS, **options), GROUPS),
            attr.FeatureAblation,
            {},
            {"feature_mask": MASK},
        ),
        (
            lambda *x, **options: explain.laid_out(explain.shapley_values(*x, groups=GROUPS, **options), GROUPS),
            attr.ShapleyValues,
            {"baseline": -0.3},
            {"feature_mask": MASK, "baselines": -0.3},
        ),
    ],
    ids=["saliency", "input_x_gradient", "integrated_gradients", "occlusion", "ablation", "shapley_values"],
)
def test_attributions_equal_captums(case, method, theirs, options, their_options):
    *_, net, x, classes = case
    expected = channels_last(theirs(net).attribute(x, target=classes, **their_options))
    np.testing.assert_allclose(ours(case, method, **options), expected, atol=1e-4)  # the promise


def test_completeness_gaps_equal_captums(case):
    *_, net, x, classes = case
    _, expected = attr.IntegratedGradients(net).attribute(x, target=classes, n_steps=8, return_convergence_delta=True)
    _, delta = ours(case, explain.integrated_gradients, n_steps=8)
    np.testing.assert_allclose(delta, expected.detach(), atol=1e-4)


def test_sampled_shapley_values_agree_within_their_errors(case):
    *_, net, x, classes = case
    torch.manual_seed(0)
    theirs = attr.ShapleyValueSampling(net).attribute(x, target=classes, feature_mask=MASK, n_samples=200)
    values, errors = ours(case, lambda *x, **options: explain.sampled_shapley_values(jax.random.key(2), *x, **options),
        groups=GROUPS, n_pairs=100)  # fmt: skip
    difference = abs(explain.laid_out(values, GROUPS) - channels_last(theirs))
    # Captum's own error is about that of as many independent permutations, larger than ours.
    assert (difference <= 8 * explain.laid_out(errors, GROUPS) + 1e-4).all()


def test_layer_methods_equal_captums(case):
    model, params, model_state, images, net, x, classes = case
    before, after = models.split_at(model, params, model_state, layer="Conv_0")
    maps = explain.grad_cam(after, before(images), fixed=images, **TARGET)
    expected = attr.LayerGradCam(net, net.conv).attribute(x, target=classes, relu_attributions=True)
    np.testing.assert_allclose(maps, expected.detach()[:, 0], atol=1e-4)
    integrated, _ = explain.integrated_gradients(
        after, before(images), baseline=before(jnp.zeros_like(images)), fixed=images, **TARGET
    )
    theirs = attr.LayerIntegratedGradients(net, net.conv).attribute(x, target=classes, n_steps=64)
    # Captum goes straight through the inputs and sums the layer's own changes, ours straight through the layer, which is linear
    # in the inputs: both are the same path.
    np.testing.assert_allclose(integrated, channels_last(theirs), atol=1e-4)


def test_infidelity_equals_captums(case):
    model, params, model_state, images, net, x, classes = case
    predict = lambda x: model.apply(params, model_state, x)[0]  # noqa: E731
    gradients = explain.saliency(predict, images, absolute=False, **TARGET)
    found = explain.infidelity(
        jax.random.key(3), predict, images, gradients, perturb=lambda key, x: 0.3 * x, n_samples=2, **TARGET
    )
    theirs = metrics.infidelity(net, lambda x: (0.3 * x, 0.7 * x), x, channels_first(gradients), target=classes)
    np.testing.assert_allclose(found, theirs.detach(), atol=1e-4)


def test_attacks_equal_captums(case):
    model, params, model_state, images, net, x, classes = case
    predict = lambda x: model.apply(params, model_state, x)[0]  # noqa: E731
    moved = explain.fgsm(predict, images, radius=0.1, bounds=(-1, 1), **TARGET)
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    theirs = robust.FGSM(net, loss, lower_bound=-1, upper_bound=1).perturb(x, epsilon=0.1, target=classes)
    np.testing.assert_allclose(moved, channels_last(theirs), atol=1e-4)
    # Steps so small that the loss rises at each: ours is the iterate of the largest loss, Captum's the last.
    for norm, name in (("linf", "Linf"), ("l2", "L2")):
        moved = explain.pgd(None, predict, images, radius=0.03, step_size=0.01, n_steps=3, norm=norm, **TARGET)
        theirs = robust.PGD(net, loss).perturb(x, radius=0.03, step_size=0.01, step_num=3, target=classes, norm=name)
        np.testing.assert_allclose(moved, channels_last(theirs), atol=1e-4, err_msg=norm)
