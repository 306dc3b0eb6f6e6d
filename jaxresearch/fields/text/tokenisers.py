"""Text as token ids and back: by bytes, by characters, or by byte pairs learned from a corpus (BPE)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxresearch.fields.text.cleaning import utf8

_N_BYTES = 256


class Tokeniser(NamedTuple):
    """A tokeniser as two functions, with the meaning of its ids.

    ``encode(text)`` gives int32 ids, ``decode(ids)`` the text. The bytes of all ids of a text are the bytes of the text:
    ``n_bytes[encode(text)].sum() == byte_length(text)``, so a loss in nats per token becomes bits per byte. Specials have the
    last ids and no bytes: no text encodes to one, not even one that spells its name, and they decode to nothing. Bytes that are
    not UTF-8, which a model may generate, decode to U+FFFD.

    Attributes:
        names: One per id, printable and distinct: the text, or the bytes as ``<0xC3 0xA9>`` if that cannot be printed.
        n_bytes: Number of UTF-8 bytes that each id stands for, int32; 0 for specials.
        encode: ``(text) -> ids``.
        decode: ``(ids) -> text``.
        saved: A learned byte-pair encoding as text, for `saved_tokeniser`; empty for the others.
    """

    names: tuple[str, ...]
    n_bytes: Int[np.ndarray, " tokens"]
    encode: Callable[[str], np.ndarray]
    decode: Callable[[Any], str]
    saved: str = ""


def byte_tokeniser(*, specials: Sequence[str] = ()) -> Tokeniser:
    """Returns the tokeniser whose ids are the UTF-8 bytes of a text, 0 to 255; nothing is learned, and it encodes any text.

    Args:
        specials: Names of further ids, from 256 on.

    Returns:
        A tokeniser that reproduces any text exactly.

    Raises:
        ValueError: If a special is empty, repeated or the name of another token; when encoding, if the text holds a lone
            surrogate; when decoding, if an id is out of range.

    Example:
        >>> tokeniser = byte_tokeniser(specials=("<end>",))
        >>> ids = tokeniser.encode("né")
        >>> ids.tolist(), [tokeniser.names[i] for i in ids], tokeniser.decode([*ids, 256])
        ([110, 195, 169], ['n', '<0xC3>', '<0xA9>'], 'né')
    """
    return _tokeniser(
        [bytes([byte]) for byte in range(_N_BYTES)],
        lambda text: np.frombuffer(utf8(text), np.uint8).astype(np.int32),
        specials,
    )


def fit_character_tokeniser(corpus: Iterable[str], *, specials: Sequence[str] = ()) -> Tokeniser:
    """Returns the tokeniser whose ids are the characters of a corpus, in the order of Unicode.

    A character that is not in the corpus is an error and has no id, so whatever is encoded can be decoded.

    Args:
        corpus: Texts of the training part only; one or more characters in all.
        specials: Names of further ids, after the characters.

    Returns:
        A tokeniser that reproduces exactly what it encodes.

    Raises:
        ValueError: If the corpus is one text instead of several or holds no character, or as for `byte_tokeniser`; when
            encoding, if a character is unknown.

    Example:
        >>> tokeniser = fit_character_tokeniser(["acca", "gt"], specials=("<end>",))
        >>> tokeniser.names, tokeniser.encode("tag").tolist()
        (('a', 'c', 'g', 't', '<end>'), [3, 0, 2])
    """
    characters = sorted(set().union(*_checked_corpus(corpus)))
    if not characters:
        raise ValueError("corpus must hold a character; it holds none. Pass the texts of the training part.")
    known = _code_points("".join(characters))

    def encode(text: str) -> np.ndarray:
        codes = _code_points(text)
        ids = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        unknown = known[ids] != codes
        if unknown.any():
            place = int(np.argmax(unknown))
            raise ValueError(
                f"text must be of the {len(known)} characters that were learnt; got {text[place]!r} at position {place}. "
                "Learn from texts that contain it, or use byte_tokeniser."
            )
        return ids.astype(np.int32)

    return _tokeniser([character.encode() for character in characters], encode, specials)


def fit_bpe_tokeniser(corpus: Iterable[str], *, n_tokens: int, specials: Sequence[str] = ()) -> Tokeniser:
    """Returns a byte-pair encoding learned from a corpus by the library tokenizers (extra ``text``).

    It starts with the 256 bytes and repeatedly joins the most frequent pair of neighbours within words, if it occurs at least
    twice; so it encodes any text. The same corpus gives the same tokens on any number of cores.

    Args:
        corpus: Texts of the training part only.
        n_tokens: Number of ids, with the 256 bytes and the specials; a small corpus gives fewer.
        specials: Names of further ids, after the learned ones.

    Returns:
        A tokeniser that reproduces any text exactly.

    Raises:
        ValueError: If tokenizers is not installed, ``n_tokens`` has no room for the bytes and specials, the corpus is one
            text instead of several, or as for `byte_tokeniser`.

    Example:
        >>> tokeniser = fit_bpe_tokeniser(["zinc ion binding", "iron ion binding"] * 3, n_tokens=300, specials=("<end>",))
        >>> [tokeniser.names[i] for i in tokeniser.encode("zinc ion")]
        ['zinc', ' ion']

    References:
        Sennrich, Haddow and Birch (2016), Neural machine translation of rare words with subword units, ACL, algorithm 1.
        https://arxiv.org/abs/1508.07909
        Radford et al. (2019), Language models are unsupervised multitask learners, section 2.2 (on bytes).
        https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf
    """
    n_learnt = n_tokens - len(specials)
    if n_learnt < _N_BYTES:
        raise ValueError(
            f"n_tokens must be {_N_BYTES + len(specials)} or more, for the bytes and specials; got {n_tokens}. Pass 4096."
        )
    texts, tokenizers = _checked_corpus(corpus), _tokenizers()
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    # The defaults would put a space before each text, which would then not be reproduced exactly.
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    # The library must not know the specials: it would find their names in texts.
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=n_learnt, min_frequency=2, initial_alphabet=alphabet, special_tokens=[], show_progress=False
    )
    model.train_from_iterator(texts, trainer, length=len(texts))
    return saved_tokeniser(model.to_str(), specials=specials)


def saved_tokeniser(saved: str, *, specials: Sequence[str] = ()) -> Tokeniser:
    """Returns a byte-pair encoding that was learned and saved as text; nothing is learned.

    Args:
        saved: `Tokeniser.saved` of one that `fit_bpe_tokeniser` learned.
        specials: Those used for learning.

    Returns:
        The same tokeniser.

    Raises:
        ValueError: If tokenizers is not installed, or the text holds no byte-pair encoding.

    Example:
        >>> learned = fit_bpe_tokeniser(["zinc ion binding"] * 2, n_tokens=260)
        >>> saved_tokeniser(learned.saved).encode("zinc ion").tolist() == learned.encode("zinc ion").tolist()
        True
    """
    try:
        model = _tokenizers().Tokenizer.from_str(saved)
    except ValueError:
        raise
    except Exception as error:  # whatever the library raises for any other text
        raise ValueError(
            f"saved must be a byte-pair encoding as text, got {saved[:20]!r} ({error}). Learn it again."
        ) from error
    byte_of = _byte_of_letter()
    spelt = sorted(model.get_vocab(), key=model.token_to_id)

    def encode(text: str) -> np.ndarray:
        utf8(text)
        return np.array(model.encode(text, add_special_tokens=False).ids, np.int32)

    pieces = [bytes(byte_of[letter] for letter in token) for token in spelt]
    return _tokeniser(pieces, encode, specials)._replace(saved=saved)


def _tokeniser(pieces: list[bytes], encode: Callable[[str], np.ndarray], specials: Sequence[str]) -> Tokeniser:
    """Returns the tokeniser of pieces of bytes, with specials after them."""
    names = [_name(piece) for piece in pieces]
    for i, special in enumerate(specials):
        if not special or special in names or special in specials[:i]:
            raise ValueError(f"specials must have names of their own; got {special!r}. Name it as <end>.")
    all_pieces = [*pieces, *[b""] * len(specials)]

    def decode(ids: Any) -> str:
        ids = np.asarray(ids)
        outside = (ids < 0) | (ids >= len(all_pieces))
        if outside.any():
            raise ValueError(
                f"ids must be from 0 to {len(all_pieces) - 1}; got {ids[outside].flat[0]}. Take out padding, as -1."
            )
        return b"".join(all_pieces[i] for i in ids.tolist()).decode(errors="replace")

    n_bytes = np.array([len(piece) for piece in all_pieces], np.int32)
    return Tokeniser((*names, *specials), n_bytes, encode, decode)


def n_bytes(names: Sequence[str]) -> Int[np.ndarray, " tokens"]:
    """Returns the number of bytes that tokens stand for, from their names; not for specials.

    Args:
        names: As in `Tokeniser.names`.

    Returns:
        Numbers of UTF-8 bytes.

    Example:
        >>> n_bytes(["gene", "é", "<0xC3 0xA9>"]).tolist()
        [4, 2, 2]
    """
    return np.array([name.count("0x") if name.startswith("<0x") else len(name.encode()) for name in names], np.int32)


def _name(piece: bytes) -> str:
    """Returns bytes as printable text, distinct for distinct bytes."""
    text = piece.decode(errors="replace")
    if text.isprintable() and text.encode() == piece and not text.startswith("<0x"):
        return text
    return f"<{' '.join(f'0x{byte:02X}' for byte in piece)}>"


def _code_points(text: str) -> np.ndarray:
    """Returns the code point of each character."""
    utf8(text)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _checked_corpus(corpus: Iterable[str]) -> list[str]:
    """Returns the texts of a corpus after checking them."""
    if isinstance(corpus, str):
        raise ValueError(f"corpus must be several texts; got the text {corpus[:20]!r}. Pass [text].")
    texts = list(corpus)
    for text in texts:
        utf8(text)
    return texts


def _byte_of_letter() -> dict[str, int]:
    """Returns the byte for each of the letters that the library writes for bytes (those of GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(_N_BYTES) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(_N_BYTES + i): byte for i, byte in enumerate(others)}


def _tokenizers() -> Any:
    """Returns the library, imported at first use."""
    try:
        import tokenizers
    except ImportError as error:
        raise ValueError(
            "tokenizers must be installed to learn a byte-pair encoding; it is not. Run: pip install 'jaxresearch[text]'"
        ) from error
    return tokenizers
