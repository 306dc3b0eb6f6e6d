"""Text: normalisation, words and their counts; tokenisers that reproduce every text exactly."""

import os
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from jaxresearch.fields import text

CORPUS = ["Zinc ion binding. It's 5'-UTR;\n  zinc\tion transport", "The transport of zinc ions (Zn2+) — née «ÎLE»"] * 3
PLANES = [
    (0, 0x80),
    (0, 0x800),
    (0x300, 0x370),
    (0x800, 0xD800),
    (0xE000, 0x10000),
    (0x1F300, 0x1FB00),
    (0x10000, 0x110000),
]


def _random_texts(n, seed=0):
    """Returns texts from all planes: ASCII with controls, marks, emoji, private and unassigned characters."""
    generator = np.random.default_rng(seed)
    for _ in range(n):
        low, high = PLANES[generator.integers(len(PLANES))]
        codes = generator.integers(low, high, generator.integers(0, 12))
        ascii_codes = generator.integers(0, 128, generator.integers(0, 6))
        yield "".join(map(chr, generator.permutation(np.concatenate([codes, ascii_codes]))))


HARD = [
    "",
    "\0",
    " ",
    "  a",
    "a ",
    "\n\n",
    "\r\n",
    "\t",
    "e\u0301",
    "👩‍👩‍👧‍👦",
    "\ufeffx",
    "<end>",
    "é" * 999,
    "\U0010ffff",
]


def test_normalise_is_idempotent_for_every_changed_character():
    unlike = [
        c for c in map(chr, range(sys.maxunicode + 1)) if not c.isalnum() or c.lower() != c or not c.isidentifier()
    ]
    assigned = [c for c in unlike if unicodedata.category(c) not in ("Cn", "Co", "Cs")]
    assert len(assigned) > 10_000
    for character in assigned:
        for made in (character, f"a{character}\u0301"):
            once = text.normalise(made)
            assert text.normalise(once) == once, hex(ord(character))


def test_normalise_is_idempotent_and_leaves_one_form():
    for made in [*_random_texts(5000), *HARD]:
        once = text.normalise(made)
        assert text.normalise(once) == once == unicodedata.normalize("NFKC", once) == " ".join(once.split())
        assert not any(unicodedata.category(character) in ("Cc", "Cf") for character in once)


@pytest.mark.parametrize(
    "one, other",
    [
        ("STRASSE", "straße"),
        ("ﬁn", "FIN"),
        ("e\u0301", "É"),
        ("①", "1"),
        ("ｚｎ", "Zn"),
        ("a\u00adb", "ab"),
        ("a\u3000\r\nb", "a b"),
    ],
)
def test_normalise_unifies_equivalent_texts(one, other):
    assert text.normalise(one) == text.normalise(other)


@pytest.mark.raises
@pytest.mark.parametrize("fun", [text.normalise, text.words, text.byte_length, text.byte_tokeniser().encode])
def test_a_lone_surrogate_is_refused(fun):
    with pytest.raises(
        ValueError, match=r"text must be Unicode characters; got the lone surrogate U\+D83D at position 2"
    ):
        fun("ab\ud83d")


@pytest.mark.parametrize(
    "given, expected",
    [
        ("", []),
        ("--'' - ' _ !", []),
        ("beta-catenin's 5'-end-", ["beta-catenin's", "5", "end"]),
        ("a--b a-'b rock‐’n’‐roll", ["a", "b", "a", "b", "rock", "n", "roll"]),
        ("don’t non\u2011zero", ["don't", "non-zero"]),
        ("snake_case,1.5e3", ["snake", "case", "1", "5e3"]),
        ("Ελλάδα हिन्दी 日本語", ["ελλάδα", "हिन्दी", "日本語"]),
    ],
)
def test_words_follow_the_rule(given, expected):
    assert text.words(given) == expected


def test_words_are_those_of_the_normalised_text():
    for made in _random_texts(2000, seed=1):
        assert text.words(made) == text.words(text.normalise(made)) == text.words(" ".join(text.words(made)))


def test_stop_words_are_left_out():
    assert len(text.stop_words()) == 301 and all(text.words(word) == [word] for word in text.stop_words())
    assert text.without_stop_words(text.words("The transport of zinc")) == ["transport", "zinc"]
    assert text.without_stop_words(["the", "zinc"], stop_words=frozenset(["zinc"])) == ["the"]


@pytest.mark.raises
def test_without_stop_words_refuses_a_text():
    with pytest.raises(ValueError, match="words must be a list of words; got the text 'the zinc'"):
        text.without_stop_words("the zinc")


DOCUMENTS = [["b", "a", "c"], ["c", "b", "d"], [], ["c"]]


def test_fit_vocabulary_orders_by_count_then_alphabet():
    assert text.fit_vocabulary(DOCUMENTS).tokens == ("c", "b", "a", "d")
    assert text.fit_vocabulary(DOCUMENTS, min_count=2).tokens == ("c", "b")
    assert text.fit_vocabulary(iter(DOCUMENTS), n_most=3).tokens == ("c", "b", "a")


@pytest.mark.raises
@pytest.mark.parametrize(
    "documents, settings, message",
    [
        (["a b"], {}, "documents must be lists of words; got the text 'a b'"),
        ([[]], {}, "documents must hold a word that occurs 1 times or more; they do not"),
        ([["a"]], {"min_count": 2}, "documents must hold a word that occurs 2 times or more"),
        ([["a"]], {"min_count": 0}, "min_count must be 1 or more; got 0"),
        ([["a"]], {"n_most": 0}, "n_most must be 1 or more; got 0"),
    ],
)
def test_fit_vocabulary_refuses(documents, settings, message):
    with pytest.raises(ValueError, match=message):
        text.fit_vocabulary(documents, **settings)


def test_encode_gives_unknown_words_the_last_id():
    vocabulary = text.fit_vocabulary(DOCUMENTS)
    ids = text.encode(vocabulary, ["d", "x", "c", "y"])
    assert ids.tolist() == [3, 4, 0, 4] and ids.dtype == np.int32


def test_bag_of_words_agrees_with_scikit_learn():
    generator = np.random.default_rng(0)
    documents = [[f"w{i}" for i in generator.zipf(1.5, generator.integers(0, 50)) if i < 90] for _ in range(200)]
    vocabulary = text.fit_vocabulary(documents, n_most=40)
    peer = CountVectorizer(analyzer=lambda words: words, vocabulary=list(vocabulary.tokens))
    counts = text.bag_of_words(vocabulary, documents)
    assert counts.dtype == np.float32 and np.array_equal(counts, peer.transform(documents).toarray())


@pytest.mark.raises
def test_bag_of_words_and_encode_refuse_a_text():
    vocabulary = text.fit_vocabulary(DOCUMENTS)
    with pytest.raises(ValueError, match="documents must be lists of words; got the text 'c b'"):
        text.bag_of_words(vocabulary, ["c b"])
    with pytest.raises(ValueError, match="documents must be lists of words; got the text 'c b'"):
        text.encode(vocabulary, "c b")


SPECIALS = ("<end>", "<pad>")
MAKERS = {
    "byte": lambda specials=(): text.byte_tokeniser(specials=specials),
    "character": lambda specials=(): text.fit_character_tokeniser(CORPUS, specials=specials),
    "bpe": lambda specials=(): text.fit_bpe_tokeniser(CORPUS, n_tokens=300, specials=specials),
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@pytest.mark.parametrize("make", [MAKERS["byte"], MAKERS["bpe"]], ids=["byte", "bpe"])
def test_a_tokeniser_gives_back_any_text_and_its_bytes(make):
    tokeniser = make(SPECIALS)
    for made in [*_random_texts(4000), *HARD, *CORPUS]:
        ids = tokeniser.encode(made)
        assert tokeniser.decode(ids) == made
        assert ids.dtype == np.int32 and tokeniser.n_bytes[ids].sum() == text.byte_length(made)
        assert np.all(ids < len(tokeniser.names) - 2), "a text produced a special token"


def test_a_character_tokeniser_gives_back_what_it_knows():
    tokeniser = text.fit_character_tokeniser(HARD + CORPUS, specials=SPECIALS)
    for made in HARD + CORPUS:
        ids = tokeniser.encode(made)
        assert tokeniser.decode(ids) == made and len(ids) == len(made)
        assert tokeniser.n_bytes[ids].sum() == text.byte_length(made)


@makers
def test_specials_are_last_empty_and_never_made_from_text(make):
    plain, tokeniser = make(), make(SPECIALS)
    assert tokeniser.names[-2:] == SPECIALS and tokeniser.n_bytes[-2:].tolist() == [0, 0]
    assert np.all(tokeniser.n_bytes[:-2] >= 1)
    n = len(tokeniser.names)
    assert tokeniser.decode([n - 2, *tokeniser.encode("zinc"), n - 1]) == "zinc"
    assert len(plain.names) >= n - 2


@pytest.mark.parametrize("name", ["<end>", "zinc"])
def test_a_text_that_spells_a_special_stays_text(name):
    for tokeniser in (
        text.byte_tokeniser(specials=(name,)),
        text.fit_bpe_tokeniser(["<e nd>"], n_tokens=257, specials=(name,)),
    ):
        ids = tokeniser.encode(f"a{name}b")
        assert tokeniser.decode(ids) == f"a{name}b" and len(tokeniser.names) - 1 not in ids


@makers
def test_names_are_printable_and_no_two_alike(make):
    tokeniser = make(SPECIALS)
    assert len(set(tokeniser.names)) == len(tokeniser.names) == len(tokeniser.n_bytes)
    assert all(name.isprintable() and name for name in tokeniser.names)
    known = [(i, name) for i, name in enumerate(tokeniser.names[:-2]) if not name.startswith("<0x")]
    assert known and all(tokeniser.decode([i]) == name for i, name in known)


@makers
@pytest.mark.raises
@pytest.mark.parametrize("specials", [("",), ("<end>", "<end>"), ("z",)])
def test_specials_need_names_of_their_own(make, specials):
    with pytest.raises(ValueError, match=f"specials must have names of their own; got {specials[-1]!r}"):
        make(specials)


@makers
@pytest.mark.raises
@pytest.mark.parametrize("wrong", [-1, 10**6])
def test_decode_refuses_an_id_out_of_range(make, wrong):
    tokeniser = make()
    with pytest.raises(ValueError, match=f"ids must be from 0 to {len(tokeniser.names) - 1}; got {wrong}"):
        tokeniser.decode([0, wrong])


def test_invalid_bytes_decode_to_the_replacement_character():
    assert text.byte_tokeniser().decode([97, 0xFF, 98, 0xC3]) == "a\ufffdb\ufffd"


@pytest.mark.raises
def test_a_character_tokeniser_refuses_what_it_does_not_know():
    tokeniser = text.fit_character_tokeniser(["abc"])
    for unknown in ("d", "B", "\0", "\U0010ffff"):
        with pytest.raises(ValueError, match="text must be of the 3 characters that were learnt; got .* at position 1"):
            tokeniser.encode(f"a{unknown}")


@pytest.mark.raises
@pytest.mark.parametrize(
    "fit", [text.fit_character_tokeniser, lambda corpus: text.fit_bpe_tokeniser(corpus, n_tokens=300)]
)
def test_a_corpus_is_several_texts_of_characters(fit):
    with pytest.raises(ValueError, match=r"corpus must be several texts; got the text 'abc'. Pass \[text\]"):
        fit("abc")
    with pytest.raises(ValueError, match=r"got the lone surrogate U\+DC00 at position 0"):
        fit(["\udc00"])


@pytest.mark.raises
def test_a_corpus_of_characters_must_not_be_empty():
    with pytest.raises(ValueError, match="corpus must hold a character; it holds none"):
        text.fit_character_tokeniser(["", ""])


@pytest.mark.raises
def test_fit_bpe_tokeniser_needs_room_for_the_bytes():
    with pytest.raises(ValueError, match="n_tokens must be 258 or more, for the bytes and specials; got 257"):
        text.fit_bpe_tokeniser(CORPUS, n_tokens=257, specials=SPECIALS)


@pytest.mark.raises
def test_fit_bpe_tokeniser_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"tokenizers must be installed.*pip install 'jaxresearch\[text\]'"):
        text.fit_bpe_tokeniser(CORPUS, n_tokens=300)


def test_fit_bpe_tokeniser_knows_all_text_from_an_empty_corpus():
    tokeniser = text.fit_bpe_tokeniser([], n_tokens=1000)
    assert len(tokeniser.names) == 256 and tokeniser.decode(tokeniser.encode("née\0")) == "née\0"


def _plain_bpe(word_counts, n_merges):
    """Returns the pairs that the textbook's loop joins, the most frequent first; for corpora without ties."""
    words, merges = {tuple(word): count for word, count in word_counts.items()}, []
    for _ in range(n_merges):
        pairs = {}
        for word, count in words.items():
            for pair in zip(word, word[1:], strict=False):
                pairs[pair] = pairs.get(pair, 0) + count
        best = max(pairs, key=pairs.get)
        assert sum(count == pairs[best] for count in pairs.values()) == 1, "a tie: choose another corpus"
        merges.append("".join(best))
        joined = {}
        for word, count in words.items():
            made, i = [], 0
            while i < len(word):
                both = word[i : i + 2] == best
                made.append("".join(best) if both else word[i])
                i += 1 + both
            joined[tuple(made)] = count
        words = joined
    return merges


def test_fit_bpe_tokeniser_joins_what_the_plain_loop_joins():
    counts = {"abcd": 40, "abx": 30, "cdy": 11, "zab": 5, "yz": 3}
    corpus = [word for word, count in counts.items() for _ in range(count)]
    assert list(text.fit_bpe_tokeniser(corpus, n_tokens=260).names[256:]) == _plain_bpe(counts, 4)


@pytest.mark.long
def test_fit_bpe_tokeniser_learns_the_same_in_every_process():
    script = (
        "import hashlib; from jaxresearch.fields import text; from jaxresearch import data; "
        "corpus = data.load('gene_ontology').test['inputs']['definition'].tolist(); "
        "names = text.fit_bpe_tokeniser(corpus, n_tokens=1500).names; "
        "print(len(names), hashlib.sha256('\\n'.join(names).encode()).hexdigest())"
    )
    outs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "TOKENIZERS_PARALLELISM": parallel},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, parallel in (("1", "false"), ("2", "true"))
    }
    (out,) = outs
    assert out.startswith("1500 ")
