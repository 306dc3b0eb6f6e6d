"""A model that starts from the parameters of another: shared arrays are copied, the rest is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import losses, models, training

SIZES = models.TransformerSizes(context=6, width=16, n_layers=1, n_heads=2)
CLASSIFIER = models.classifier(5, 3, SIZES)


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def without_head(params):
    return {name: leaf for name, leaf in params.items() if name != "head"}


@pytest.mark.long
@pytest.mark.parametrize("tied", [True, False])
def test_a_classifier_begins_with_all_of_an_encoder_but_the_head(tied):
    sizes = models.TransformerSizes(context=6, width=16, n_layers=1, n_heads=2, tied=tied)
    pretrained, _ = models.encoder(5, sizes).init(jax.random.key(7))
    classifier = models.classifier(5, 3, sizes)
    params, model_state = models.warm_started(classifier, pretrained).init(jax.random.key(0))
    drawn, _ = classifier.init(jax.random.key(0))
    same(without_head(params), without_head(pretrained))
    same(params["head"], drawn["head"])
    assert model_state == {} and np.any(drawn["embedding"] != params["embedding"])


@pytest.mark.long
def test_an_embedder_leaves_the_head_of_a_classifier_aside():
    pretrained, _ = CLASSIFIER.init(jax.random.key(7))
    embedder = models.embedder(5, SIZES)
    params, _ = models.warm_started(embedder, pretrained).init(jax.random.key(0))
    same(params, without_head(pretrained))
    tokens = jnp.array([[1, 2, 3, 0]])
    same(embedder.apply(params, {}, tokens), embedder.apply(pretrained, {}, tokens))  # also takes them unchanged


def test_any_model_may_begin_with_another():
    pretrained, _ = models.mlp(4, (8,), 3).init(jax.random.key(7))
    deeper = models.mlp(4, (8, 3), 2)
    params, _ = models.warm_started(deeper, pretrained).init(jax.random.key(0))
    same({name: params[name] for name in pretrained}, pretrained)
    same(params["Dense_2"], deeper.init(jax.random.key(0))[0]["Dense_2"])


def test_batch_statistics_begin_where_the_parameters_do():
    model = models.mlp(4, (8,), 3, batch_norm=True)
    pretrained, statistics = jax.tree.map(lambda leaf: leaf + 1, model.init(jax.random.key(7)))
    warm = models.warm_started(model, pretrained, statistics)
    params, model_state = warm.init(jax.random.key(0))
    same(params, pretrained)
    same(model_state, statistics)
    assert warm.apply is model.apply
    _, fresh = models.warm_started(model, pretrained, {}).init(jax.random.key(0))
    same(fresh, model.init(jax.random.key(0))[1])
    both = models.warm_started(models.ensemble(model, n_members=3), pretrained, statistics).init(jax.random.key(0))
    same(jax.tree.map(lambda leaf: leaf[2], both), (pretrained, statistics))


def test_parameters_without_their_batch_statistics_are_refused():
    model = models.mlp(4, (8,), 3, batch_norm=True)
    pretrained, _ = model.init(jax.random.key(7))
    message = (
        r"^pre-trained parameters of a model with batch statistics must come with these; got parameters alone\. "
        r"Pass its whole state, or \{\} as model_state to start with fresh ones\.$"
    )
    with pytest.raises(ValueError, match=message):
        models.warm_started(model, pretrained).init(jax.random.key(0))


def test_random_keys_of_a_state_stay_the_models_own():
    model = models.Model(lambda key: ({"w": jnp.zeros(2)}, {"key": key, "count": jnp.int32(0)}), lambda *_: None)
    other = {"key": jax.random.key(7), "count": jnp.int32(5)}
    _, model_state = models.warm_started(model, {"w": jnp.ones(2)}, other).init(jax.random.key(0))
    assert model_state["count"] == 5 and model_state["key"] == jax.random.key(0)


@pytest.mark.long
def test_arrays_are_converted_to_the_types_of_the_model():
    pretrained, _ = models.encoder(5, SIZES).init(jax.random.key(7))
    saved = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), pretrained)
    params, _ = models.warm_started(CLASSIFIER, saved).init(jax.random.key(0))
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    same(without_head(params), pretrained)


def test_init_under_jit_and_vmap_takes_pretrained_parameters():
    pretrained, _ = models.encoder(5, SIZES).init(jax.random.key(7))

    def init(key, pretrained):
        return models.warm_started(CLASSIFIER, pretrained).init(key)[0]

    stacked = jax.jit(jax.vmap(init, (0, None)))(jax.vmap(jax.random.key)(jnp.arange(2)), pretrained)
    assert np.any(stacked["head"]["kernel"][0] != stacked["head"]["kernel"][1])
    for seed in (0, 1):
        single = init(jax.random.key(seed), pretrained)
        same(without_head(jax.tree.map(lambda leaf, seed=seed: leaf[seed], stacked)), without_head(single))
        # Initial draws pass through erfinv, fused differently under jit.
        np.testing.assert_allclose(stacked["head"]["kernel"][seed], single["head"]["kernel"], rtol=1e-5, atol=1e-7)


def test_a_run_starts_from_pretrained_parameters():
    pretrained, _ = models.encoder(5, SIZES).init(jax.random.key(7))
    model = models.warm_started(CLASSIFIER, pretrained)
    still = optax.sgd(0.0)  # nothing else is trained
    algorithm = training.supervised(
        model, losses.softmax_cross_entropy_with_integer_labels, optimizer=still, metrics={}
    )
    plan = training.plan_of(4, batch_size=2, epochs=1)
    data = {"inputs": jnp.arange(24).reshape(4, 6) % 5, "targets": jnp.arange(4) % 3}
    state, _ = jax.jit(lambda key: training.run(key, data, algorithm=algorithm, plan=plan))(jax.random.key(0))
    same(without_head(state.params), pretrained)


@pytest.mark.parametrize(
    ("n_tokens", "width", "message"),
    [
        (
            6,
            16,
            r"\['embedding'\] is \(6, 16\), and must be \(5, 16\)\. Use the same vocabulary and sizes in both, or leave that ",
        ),
        (5, 18, r"\['block_0'\]\['mix'\]\['bias'\] is \(18,\), and must be \(16,\)\. Use the same vocabulary and"),
    ],
)
def test_an_array_of_another_shape_is_named(n_tokens, width, message):
    sizes = models.TransformerSizes(context=6, width=width, n_layers=1, n_heads=2 if width == 16 else 1)
    pretrained = jax.jit(models.encoder(n_tokens, sizes).init)(jax.random.key(7))[0]
    with pytest.raises(ValueError, match=f"^pre-trained parameters must fit the model; {message}"):
        models.warm_started(CLASSIFIER, pretrained).init(jax.random.key(0))


def test_another_number_of_heads_is_named():
    sizes = models.TransformerSizes(context=6, width=16, n_layers=1, n_heads=4)
    pretrained = jax.jit(models.encoder(5, sizes).init)(jax.random.key(7))[0]
    message = r"\['queries_keys_values'\]\['bias'\] is \(12, 4\), and must be \(6, 8\)"
    with pytest.raises(ValueError, match=message):
        models.warm_started(CLASSIFIER, pretrained).init(jax.random.key(0))


@pytest.mark.parametrize("model", [CLASSIFIER, models.linear(4, 3)], ids=["transformer", "linear"])
def test_parameters_with_nothing_in_common_are_refused(model):
    pretrained = {"blocks": {"first": jnp.zeros(3)}, "other": jnp.zeros(2)}
    message = (
        r"^pre-trained parameters must share a name with the model's; got \['blocks'\]\['first'\], \['other'\]\. Pass"
    )
    with pytest.raises(ValueError, match=message):
        models.warm_started(model, pretrained).init(jax.random.key(0))


def test_a_classifier_of_other_classes_leaves_out_the_head():
    pretrained, _ = models.classifier(5, 7, SIZES).init(jax.random.key(7))
    message = (
        r"^pre-trained parameters must fit the model; \['head'\]\['bias'\] is \(7,\), and must be \(3,\)\. "
        r"Use the same vocabulary and sizes in both, or leave that array out of `pretrained`\.$"
    )
    with pytest.raises(ValueError, match=message):
        models.warm_started(CLASSIFIER, pretrained).init(jax.random.key(0))
    params, _ = models.warm_started(CLASSIFIER, without_head(pretrained)).init(jax.random.key(0))
    same(without_head(params), without_head(pretrained))


def test_an_array_that_lacks_an_axis_is_refused():
    model = models.function(
        lambda key: {"table": jnp.zeros((5, 3)), "scale": jnp.ones(3)}, lambda params, inputs: inputs
    )
    message = r"^pre-trained parameters must fit the model; \['table'\] is \(3,\), and must be \(5, 3\)\. Use"
    with pytest.raises(ValueError, match=message):
        models.warm_started(model, {"table": jnp.ones(3), "scale": jnp.ones(3)}).init(jax.random.key(0))


def test_an_array_with_an_extra_axis_is_refused_with_its_shape():
    model = models.linear(4, 3)
    params, _ = model.init(jax.random.key(7))
    message = r"is \(1, 3\), and must be \(3,\)\. Use"
    with pytest.raises(ValueError, match=message):
        models.warm_started(model, jax.tree.map(lambda leaf: leaf[None], params)).init(jax.random.key(0))


def test_a_member_that_does_not_fit_an_ensemble_is_refused():
    shapes, _ = jax.eval_shape(models.encoder(6, SIZES).init, jax.random.key(7))
    pretrained = jax.tree.map(lambda leaf: np.zeros(leaf.shape), shapes)
    model = models.warm_started(models.ensemble(CLASSIFIER, n_members=5), pretrained)
    with pytest.raises(ValueError, match=r"\['embedding'\] is \(6, 16\), and must be \(5, 16\)\. Use the same"):
        jax.eval_shape(model.init, jax.random.key(0))
