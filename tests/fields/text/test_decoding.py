"""Decoding with a cache, sampling and beams equals slow, plain recomputation."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxresearch import models
from jaxresearch.fields.text import decoding

PROMPTS = jnp.array([[1, 2, 3], [3, 1, 1]])
GREEDY = decoding.greedy()


def sized(**changes):
    return models.TransformerSizes(
        **{"context": 10, "width": 16, "n_layers": 1, "n_heads": 2, "tied": False, "padding": 0, **changes}
    )


def stirred(n_tokens, sizes, seed=1):
    """Returns parameters far from their initial values, so that each token depends on all previous ones."""
    generator = np.random.default_rng(seed)
    shapes, _ = jax.eval_shape(models.decoder(n_tokens, sizes).init, jax.random.key(seed))

    def draw(path, leaf):  # a large bias would make one token the likeliest everywhere
        centre, deviation = {"scale": (1, 0.1), "bias": (0, 0.1)}.get(path[-1].key, (0, 0.7))
        return jnp.asarray(generator.normal(centre, deviation, leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def writer(n_tokens, sizes, n_rows):
    """Returns a cached decoder and its empty cache."""
    model = models.cached_decoder(n_tokens, sizes, n_rows=n_rows)
    _, cache = jax.eval_shape(model.init, jax.random.key(0))
    return model, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), cache)


@functools.cache
def writing(n_tokens, sizes, n_rows, n_new, choose, end):
    model, cache = writer(n_tokens, sizes, n_rows)

    def write(key, params, prompts):
        return decoding.generate(key, params, cache, prompts, model=model, n_new=n_new, choose=choose, end=end)

    return jax.jit(write)


def written(params, prompts, *, sizes=None, n_new=6, choose=GREEDY, end=None, key=0):
    write = writing(11, sizes or sized(), len(prompts), n_new, choose, end)
    return np.asarray(write(jax.random.key(key), params, prompts))


@functools.cache
def searching(n_tokens, sizes, n_prompts, width, n_new, end):
    model, cache = writer(n_tokens, sizes, n_prompts * width)

    def search(params, prompts, length_penalty):
        choices = {"width": width, "end": end, "length_penalty": length_penalty}
        return decoding.beam_search(params, cache, prompts, model=model, n_new=n_new, **choices)

    return search


@functools.cache
def compiled(function):
    return jax.jit(function)


def searched(params, prompts, *, width, n_tokens=11, sizes=None, n_new=6, end=None, length_penalty=0.0):
    search = compiled(searching(n_tokens, sizes or sized(), len(prompts), width, n_new, end))
    return jax.tree.map(np.asarray, search(params, prompts, length_penalty))


@functools.cache
def logits_of(n_tokens, sizes):
    """Returns the whole decoder, compiled."""
    model = models.decoder(n_tokens, sizes)
    return jax.jit(lambda params, tokens: model.apply(params, {}, tokens)[0])


def rewritten(params, prompts, *, sizes, n_new, end=None):
    """Returns the greedy text, computed by the full decoder on the full context for each token."""
    tokens = np.zeros(
        (len(prompts), sizes.context + 1), np.int32
    )  # the decoder is causal: what follows does not matter
    tokens[:, : prompts.shape[1]] = prompts
    for place in range(prompts.shape[1], prompts.shape[1] + n_new):
        chosen = np.argmax(logits_of(11, sizes)(params, tokens[:, : sizes.context])[:, place - 1], axis=-1)
        ended = (tokens[:, prompts.shape[1] : place] == end).any(axis=1) if end is not None else False
        tokens[:, place] = np.where(ended, end, chosen)
    return tokens[:, prompts.shape[1] : prompts.shape[1] + n_new]


# Greedy

VARIANTS = [{}, {"positions": "learnt"}, {"n_heads": 4, "n_kv_heads": 2, "n_layers": 2, "padding": None}]


@pytest.mark.parametrize("changes", VARIANTS, ids=["rotary", "learnt", "grouped"])
def test_generate_greedily_equals_recomputing_everything(changes):
    sizes = sized(**changes)
    params = stirred(11, sizes)
    expected = rewritten(
        params, PROMPTS, sizes=sizes, n_new=8
    )  # the last one is read from the last position of the context
    assert len(np.unique(expected)) > 3
    np.testing.assert_array_equal(written(params, PROMPTS, sizes=sizes, n_new=8), expected)


def test_generate_fills_up_with_the_end():
    sizes = sized()
    params = stirred(11, sizes)
    free = rewritten(params, PROMPTS, sizes=sizes, n_new=6)
    end = int(free[0, 2])
    expected = rewritten(params, PROMPTS, sizes=sizes, n_new=6, end=end)
    assert (expected[0] == end).sum() >= 4 and (expected != free).any()
    np.testing.assert_array_equal(written(params, PROMPTS, end=end), expected)


@pytest.mark.parametrize("changes", VARIANTS, ids=["rotary", "learnt", "grouped"])
def test_complete_equals_prompt_by_prompt(changes):
    sizes, prompts = sized(**changes), [[1, 2, 3], [3], [4, 1]]
    params = stirred(11, sizes)

    def complete(params):
        return decoding.complete(
            jax.random.key(0), params, prompts, n_tokens=11, sizes=sizes, n_new=5, choose=GREEDY, end=7
        )

    expected = [rewritten(params, np.array([prompt]), sizes=sizes, n_new=5, end=7)[0] for prompt in prompts]
    np.testing.assert_array_equal(jax.jit(complete)(params), expected)


@pytest.mark.long
def test_complete_exceeds_the_context_with_rotary_positions_only():
    def complete(sizes):
        options = {"n_tokens": 11, "sizes": sizes, "n_new": 9, "choose": GREEDY}
        return decoding.complete(jax.random.key(0), stirred(11, sizes), [[1, 2, 3]], **options)

    assert complete(sized()).shape == (1, 9)
    with pytest.raises(ValueError, match="must fit the context of 10; got 3 \\+ 9"):
        complete(sized(positions="learnt"))


@pytest.mark.long
@pytest.mark.parametrize("positions", ["rotary", "learnt"])
def test_generate_with_padded_prompts_equals_single_prompts(positions):
    sizes = sized(positions=positions)
    params = stirred(11, sizes)
    prompts = jnp.array([[1, 2, 3], [0, 0, 4]])
    together = written(params, prompts, sizes=sizes)
    for row, lead in enumerate((0, 2)):
        np.testing.assert_array_equal(together[row], written(params, prompts[row : row + 1, lead:], sizes=sizes)[0])


def test_generate_writes_one_token_too():
    params = stirred(11, sized())
    np.testing.assert_array_equal(written(params, PROMPTS, n_new=1), written(params, PROMPTS)[:, :1])


@pytest.mark.long
def test_generate_is_the_same_eagerly_and_under_vmap():
    model, cache = writer(11, sized(), 2)
    choose = decoding.sampling(temperature=0.8, top_k=5, top_p=0.9)

    def write(params):
        return decoding.generate(jax.random.key(3), params, cache, PROMPTS, model=model, n_new=4, choose=choose)

    params = [stirred(11, sized(), seed) for seed in (1, 2)]
    both = jax.jit(jax.vmap(write))(jax.tree.map(lambda *leaves: jnp.stack(leaves), *params))
    np.testing.assert_array_equal(both[0], write(params[0]))
    np.testing.assert_array_equal(both[1], written(params[1], PROMPTS, n_new=4, choose=choose, key=3))
    assert np.any(both[0] != both[1])


# Without logits

CHOICES = [GREEDY, decoding.sampling(), decoding.sampling(top_k=3, top_p=0.9)]


@pytest.mark.parametrize("choose", CHOICES, ids=["greedy", "softmax", "nucleus"])
@pytest.mark.parametrize("padding", [0, -1])  # the new token is padding, or not
@pytest.mark.parametrize("token", [11, -7])
def test_generate_ends_at_a_token_outside_the_vocabulary(choose, padding, token):
    sizes = sized(padding=padding)
    params = stirred(11, sizes)
    texts = written(params, PROMPTS.at[0, 1].set(token), sizes=sizes, choose=choose, end=5)
    assert (texts[0] == -1).all()
    np.testing.assert_array_equal(texts[1], written(params, PROMPTS, sizes=sizes, choose=choose, end=5)[1])


@pytest.mark.parametrize("padding", [0, -1])
def test_a_beam_ends_after_a_token_outside_the_vocabulary(padding):
    sizes = sized(padding=padding)
    params = stirred(11, sizes)
    texts, scores = searched(params, PROMPTS.at[0, 1].set(11), width=3, sizes=sizes, end=5, length_penalty=0.6)
    assert (texts[0] == -1).all() and np.isnan(scores[0]).all()
    expected, expected_scores = searched(params, PROMPTS, width=3, sizes=sizes, end=5, length_penalty=0.6)
    np.testing.assert_array_equal(texts[1], expected[1])
    np.testing.assert_array_equal(scores[1], expected_scores[1])


@pytest.mark.parametrize("worst", [jnp.nan, jnp.inf, -jnp.inf])
def test_generate_writes_no_token_from_undefined_logits(worst):
    logits = jnp.array([[0.0, 1.0, -jnp.inf], [worst] * 3])
    model, cache = (
        models.Model(lambda key: ({}, {}), lambda *_: (logits[:, None], cache)),
        {"is_real": jnp.ones((2, 9))},
    )
    texts = decoding.generate(jax.random.key(0), {}, cache, PROMPTS, model=model, n_new=2, choose=GREEDY)
    assert texts.tolist() == [[1, 1], [-1, -1]]


def test_generate_continues_a_cache_up_to_the_context():
    model, cache = writer(11, sized(), 2)
    params = stirred(11, sized())

    @jax.jit
    def write(cache, prompts):
        return decoding.generate(jax.random.key(0), params, cache, prompts, model=model, n_new=6, choose=GREEDY)

    read = jax.jit(model.apply)
    _, held = read(params, cache, PROMPTS[:, :1])
    np.testing.assert_array_equal(write(held, PROMPTS[:, 1:]), written(params, PROMPTS))
    _, held = read(params, held, jnp.array([[2, 4, 6, 8], [1, 3, 5, 7]]))  # 5 now; 2 more, and 3 that are read again
    texts = write(held, PROMPTS[:, 1:])
    assert (texts[:, :4] >= 0).all() and (texts[:, 4:] == -1).all()


# Sampling

LOGITS = np.array([1.0, -0.5, 2.0, 0.3, -2.0, 1.1])


def draws_of(choose, logits=LOGITS, n=20_000, key=0):
    """Returns many draws from the same logits: one call, one draw per row."""
    return np.asarray(jax.jit(choose)(jax.random.key(key), jnp.tile(jnp.asarray(logits, jnp.float32), (n, 1))))


def require_frequencies(draws, probabilities):
    """Asserts that the draws follow these probabilities, by a chi-square test at level 0.001."""
    possible = probabilities > 0
    counts = np.bincount(draws, minlength=len(probabilities))
    assert counts.sum() == counts[possible].sum(), "a token of probability 0 was drawn"
    if possible.sum() > 1:
        expected = probabilities[possible] / probabilities.sum() * len(draws)
        assert scipy.stats.chisquare(counts[possible], expected).pvalue > 0.001


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sampling_draws_from_the_softmax(temperature):
    require_frequencies(draws_of(decoding.sampling(temperature=temperature)), np.exp(LOGITS / temperature))


@pytest.mark.parametrize("top_k", [1, 2, 4, 6, 100])
def test_sampling_draws_from_the_k_likeliest(top_k):
    ranks = (LOGITS[None, :] > LOGITS[:, None]).sum(axis=1)
    require_frequencies(draws_of(decoding.sampling(top_k=top_k)), np.where(ranks < top_k, np.exp(LOGITS), 0))


def test_sampling_draws_from_k_tokens_where_more_tie():
    assert len(np.unique(draws_of(decoding.sampling(top_k=2), np.zeros(6)))) == 2


def nucleus(probabilities, top_p):
    """Returns the probabilities of the likeliest tokens, taken one by one until they have the sum."""
    kept, total = np.zeros_like(probabilities), 0.0
    for token in sorted(range(len(probabilities)), key=lambda token: -probabilities[token]):
        kept[token], total = probabilities[token], total + probabilities[token]
        if total >= top_p:
            break
    return kept


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.7, 0.95, 0.9999, 1.0])
@pytest.mark.parametrize("top_k", [None, 3])
def test_sampling_draws_from_the_nucleus(top_p, top_k):
    ranks = (LOGITS[None, :] > LOGITS[:, None]).sum(axis=1)
    probabilities = np.where(ranks < (top_k or 6), np.exp(LOGITS / 0.9), 0)
    expected = nucleus(probabilities / probabilities.sum(), top_p)
    require_frequencies(draws_of(decoding.sampling(temperature=0.9, top_k=top_k, top_p=top_p)), expected)


@pytest.mark.parametrize("seed", range(4))
def test_sampling_draws_from_the_nucleus_of_random_logits(seed):
    logits = np.random.default_rng(seed).normal(size=20)
    expected = nucleus(np.exp(logits) / np.exp(logits).sum(), 0.8)
    require_frequencies(draws_of(decoding.sampling(top_p=0.8), logits, key=seed), expected)


def test_sampling_takes_swept_numbers():
    def draw(temperature, top_p):
        choose = decoding.sampling(temperature=temperature, top_p=top_p)
        return choose(jax.random.key(0), jnp.tile(jnp.asarray(LOGITS, jnp.float32), (100, 1)))

    temperatures, shares = jnp.array([0.01, 1.0, 2.0]), jnp.array([0.9, 0.5, 1.0])
    swept = jax.jit(jax.vmap(draw))(temperatures, shares)
    for i in range(3):
        np.testing.assert_array_equal(swept[i], draw(temperatures[i], shares[i]))


@pytest.mark.parametrize(
    "choice", [{"temperature": 1e-4}, {"top_k": 1}, {"top_p": 1e-6}], ids=["temperature", "top_k", "top_p"]
)
def test_sampling_at_its_limits_is_greedy(choice):
    params = stirred(11, sized())
    np.testing.assert_array_equal(
        written(params, PROMPTS, choose=decoding.sampling(**choice)), written(params, PROMPTS)
    )


def test_generate_draws_each_token_and_row_anew():
    params = jax.tree.map(jnp.zeros_like, stirred(11, sized()))  # all tokens equally likely
    first, again, other = (
        written(params, jnp.ones((200, 1), jnp.int32), n_new=5, choose=decoding.sampling(), key=key)
        for key in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    for a, b in ((first, other), (first[:100], first[100:]), (first[:, :1], first[:, 1:2])):
        # Equal by chance in 1 of 11 places: 0.09, with a standard error of 0.02 where the fewest are compared.
        assert abs((a == b).mean() - 1 / 11) < 0.08


# Beams


@pytest.mark.parametrize("ended", [False, True])
def test_a_beam_of_width_one_is_greedy(ended):
    params = stirred(11, sized())
    free = written(params, PROMPTS)
    end = int(free[0, 2]) if ended else None
    texts, _ = searched(params, PROMPTS, width=1, end=end)
    np.testing.assert_array_equal(texts[:, 0], written(params, PROMPTS, end=end))


def all_texts(params, prompt, *, n_new, end, length_penalty):
    """Returns all texts over four tokens with their log probabilities, the best first, by brute force."""
    texts = np.array(list(itertools.product(range(4), repeat=n_new)))
    tokens = jnp.asarray(np.concatenate([np.tile(prompt, (len(texts), 1)), texts], axis=1))
    logits = logits_of(4, sized(padding=None))(params, tokens)
    steps = np.asarray(jax.nn.log_softmax(logits[:, len(prompt) - 1 : -1]), np.float64)
    found = {}
    for text, step in zip(texts, steps, strict=True):
        length = next((i + 1 for i, token in enumerate(text) if token == end), n_new)
        score = sum(step[i, text[i]] for i in range(length))
        filled = tuple(text[:length]) + (end,) * (n_new - length)
        found[filled] = (score / ((5 + length) / 6) ** length_penalty, score)
    ranked = sorted(found.items(), key=lambda item: -item[1][0])
    return np.array([text for text, _ in ranked]), np.array([score for _, (_, score) in ranked])


@pytest.mark.parametrize(
    ("end", "length_penalty"),
    [(None, 0.0), (2, 0.0), (2, 1.0), (2, 3.0)],
    ids=["no end", "end", "penalty", "great penalty"],
)
def test_a_beam_as_wide_as_all_texts_finds_them_all(end, length_penalty):
    sizes = sized(padding=None)
    params, prompts = stirred(4, sizes), jnp.array([[1, 3], [0, 2]])
    choices = {"n_new": 3, "end": end, "length_penalty": length_penalty}
    texts, scores = searched(params, prompts, width=64, n_tokens=4, sizes=sizes, **choices)
    for row in range(2):
        expected_texts, expected_scores = all_texts(params, np.asarray(prompts[row]), **choices)
        n_texts = 64 if end is None else 1 + 3 + 9 + 27
        assert len(expected_texts) == n_texts
        np.testing.assert_array_equal(texts[row, :n_texts], expected_texts)
        np.testing.assert_allclose(scores[row, :n_texts], expected_scores, rtol=1e-5)  # sums of three in float32
        assert np.all(scores[row, n_texts:] == -np.inf)
        # Only with a penalty does a longer text rank before a likelier one.
        assert np.any(np.diff(expected_scores) > 0) == (length_penalty > 0)
    if end is None:
        np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, rtol=1e-5)  # all texts


@pytest.mark.parametrize("positions", ["rotary", "learnt"])
def test_beams_of_a_batch_of_padded_prompts_equal_row_by_row(positions):
    sizes = sized(positions=positions)
    params = stirred(11, sizes)
    prompts = jnp.array([[1, 2, 3], [0, 0, 4]])
    texts, scores = searched(params, prompts, width=3, sizes=sizes, end=5)
    for row, lead in enumerate((0, 2)):
        alone, alone_scores = searched(params, prompts[row : row + 1, lead:], width=3, sizes=sizes, end=5)
        np.testing.assert_array_equal(texts[row], alone[0])
        np.testing.assert_allclose(scores[row], alone_scores[0], rtol=1e-4)  # sums of six, other shapes of products


def test_scores_of_a_beam_are_the_log_probabilities_of_its_texts():
    sizes = sized()
    params = stirred(11, sizes)
    texts, scores = searched(params, PROMPTS, width=4)
    tokens = np.concatenate([np.repeat(PROMPTS, 4, axis=0), texts.reshape(8, 6)], axis=1)
    steps = jax.nn.log_softmax(logits_of(11, sizes)(params, tokens)[:, 2:-1])
    expected = np.take_along_axis(np.asarray(steps), tokens[:, 3:, None], axis=2).sum(axis=(1, 2))
    np.testing.assert_allclose(scores.ravel(), expected, rtol=1e-4)  # sums of six, other shapes of products
    assert np.all(np.diff(scores, axis=1) <= 0)


@pytest.mark.long
def test_beam_search_is_the_same_eagerly():
    params = stirred(11, sized())
    choices = {"width": 3, "n_new": 4, "end": 5}
    texts, scores = searched(params, PROMPTS, length_penalty=0.6, **choices)
    eager_texts, eager_scores = searching(11, sized(), 2, *choices.values())(params, PROMPTS, 0.6)
    np.testing.assert_array_equal(texts, eager_texts)
    np.testing.assert_allclose(scores, eager_scores, rtol=1e-5)  # fused differently


# Errors


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"temperature": 0.0}, r"temperature must be positive; got 0\.0\. Use greedy\(\) for the likeliest token\."),
        ({"temperature": float("nan")}, r"temperature must be positive; got nan\."),
        ({"top_k": 0}, r"top_k must be 1 or more; got 0\. Leave it out to draw from all tokens\."),
        ({"top_p": 0.0}, r"top_p must be above 0 and at most 1; got 0\.0\. It is a probability\."),
        ({"top_p": 1.5}, r"top_p must be above 0 and at most 1; got 1\.5\. It is a probability\."),
    ],
)
def test_sampling_checks_its_numbers(choice, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        decoding.sampling(**choice)


@pytest.mark.raises
@pytest.mark.parametrize(
    ("prompts", "n_new", "message"),
    [
        (
            jnp.zeros(3, jnp.int32),
            2,
            r"prompts must be tokens \(rows, length\), not empty; got \(3,\)\. Give each a token\.",
        ),
        (
            jnp.zeros((2, 0), jnp.int32),
            2,
            r"prompts must be tokens \(rows, length\), not empty; got \(2, 0\)\. Give each a",
        ),
        (
            jnp.zeros((2, 3)),
            2,
            r"inputs must be tokens \(batch, length\), integers; got float32 \(2, 3\)\. Encode the",
        ),
        (PROMPTS, 0, r"n_new must be 1 or more; got 0\. Pass the number of tokens to generate\."),
        (PROMPTS, 9, r"prompt and new tokens but one must fit the context of 10; got 3 \+ 9\. Write fewer\."),
        (PROMPTS[:1], 2, r"the decoder must have a row for each text, 1; it has 2\. Pass n_rows\."),
    ],
)
def test_prompts_are_checked(prompts, n_new, message):
    (model, cache), params = writer(11, sized(), 2), stirred(11, sized())
    with pytest.raises(ValueError, match=f"^{message}"):
        decoding.generate(jax.random.key(0), params, cache, prompts, model=model, n_new=n_new, choose=decoding.greedy())
    with pytest.raises(ValueError, match=f"^{message}"):
        decoding.beam_search(params, cache, prompts, model=model, n_new=n_new, width=1)


@pytest.mark.parametrize("end", [-1, 11])
def test_what_ends_a_text_is_a_token(end):
    (model, cache), params = writer(11, sized(), 2), stirred(11, sized())
    message = rf"^end must be a token, from 0 to 10; got {end}\. Leave it out"
    with pytest.raises(ValueError, match=message):
        decoding.generate(
            jax.random.key(0), params, cache, PROMPTS, model=model, n_new=2, choose=decoding.greedy(), end=end
        )
    with pytest.raises(ValueError, match=message):
        decoding.beam_search(params, cache, PROMPTS[:1], model=model, n_new=2, width=2, end=end)


@pytest.mark.raises
def test_prompts_may_be_lists():
    (model, cache), params = writer(11, sized(), 2), stirred(11, sized())
    given = {"model": model, "n_new": 2, "choose": decoding.greedy()}
    of_lists, of_arrays = (
        decoding.generate(jax.random.key(0), params, cache, prompts, **given) for prompts in (PROMPTS.tolist(), PROMPTS)
    )
    np.testing.assert_array_equal(of_lists, of_arrays)


@pytest.mark.parametrize(
    ("width", "message"),
    [
        (0, r"width must be 1 or more; got 0\. Pass the number of texts to keep\."),
        (-1, r"width must be 1 or more; got -1\. Pass the number of texts to keep\."),
        (3, r"the decoder must have a row for each text, 6; it has 2\. Pass n_rows\."),
    ],
)
def test_the_width_of_a_beam_is_checked(width, message):
    (model, cache), params = writer(11, sized(), 2), stirred(11, sized())
    with pytest.raises(ValueError, match=f"^{message}"):
        decoding.beam_search(params, cache, PROMPTS, model=model, n_new=2, width=width)


def test_generate_refuses_a_decoder_without_a_cache():
    model = models.decoder(11, sized())
    params, model_state = stirred(11, sized()), {}
    with pytest.raises(
        ValueError, match=r"^the decoder must have a cache; its state holds \[\]\. Pass a cached_decoder\."
    ):
        decoding.generate(
            jax.random.key(0), params, model_state, PROMPTS, model=model, n_new=2, choose=decoding.greedy()
        )


def alternating(n_tokens):
    """Returns the constraint under which odd and even tokens alternate, odd ones first."""
    return decoding.Constraint(
        lambda: jnp.ones((), jnp.int32), lambda odd: jnp.arange(n_tokens) % 2 == odd, lambda odd, token: 1 - odd
    )


@pytest.mark.long
def test_a_constraint_rules_out_tokens_and_no_more():
    sizes, end = sized(), 4
    params = stirred(11, sizes)
    choose = decoding.sampling(temperature=3.0)
    options = {"n_tokens": 11, "sizes": sizes, "n_new": 6, "choose": choose, "end": end}

    def write(constraint):
        key = jax.random.key(0)
        return np.asarray(decoding.complete(key, params, [[1, 2, 3]] * 50, constraint=constraint, **options))

    anything = decoding.Constraint(lambda: (), lambda state: jnp.ones(11, bool), lambda state, token: state)
    np.testing.assert_array_equal(write(anything), write(None))
    for row in write(alternating(11)):
        n = (row == end).argmax() + 1 if (row == end).any() else len(row)
        assert (row[:n] % 2 == (np.arange(n) + 1) % 2).all() and (row[n:] == end).all()
