"""Normalised text, its words, and stop words."""

import functools
import re
import unicodedata
from collections.abc import Iterable

from jaxresearch.data.bundled import read_bundled

_STOP_WORDS = "stopwords_en.txt"
_SHA256 = "b73dc8b991b095587f72f9d1553faa4edfbf246a6a3052071319c2d218df753c"
_WORD = re.compile(r"[^\s'-]+(?:['-][^\s'-]+)*")


class _WordCharacters(dict[int, str]):
    """What each character becomes in a word: itself, a joint (hyphen, apostrophe) or a space; computed once per character."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        is_part = unicodedata.category(character)[0] in "LNM"
        self[code] = character if is_part else {"’": "'", "'": "'", "-": "-", "‐": "-"}.get(character, " ")
        return self[code]


_CHARACTERS = _WordCharacters()


def utf8(text: str) -> bytes:
    r"""Returns the UTF-8 bytes of a text.

    Args:
        text: Any Unicode text.

    Returns:
        Bytes, one to four per character.

    Raises:
        ValueError: If the text holds half of a surrogate pair, which is not a character and has no bytes.

    Example:
        >>> utf8("né")
        b'n\xc3\xa9'
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text must be Unicode characters; got the lone surrogate U+{ord(text[error.start]):04X} at position {error.start}. "
            'Read it again with its own encoding, or with errors="replace".'
        ) from error


def byte_length(text: str) -> int:
    """Returns the number of UTF-8 bytes of a text, which makes losses of different tokenisers comparable.

    Args:
        text: Any Unicode text.

    Returns:
        Bytes.

    Raises:
        ValueError: If the text holds a lone surrogate.

    Example:
        >>> byte_length("né")
        3
    """
    return len(utf8(text))


def normalise(text: str) -> str:
    r"""Returns a normalised text: compatible characters unified (NFKC), case folded, single spaces, no control characters.

    Repeated until nothing changes, so that ``normalise(normalise(text)) == normalise(text)`` for every text. Controls are
    the categories Cc and Cf (with the soft hyphen and zero-width joiners); line ends and tabs count as spaces.

    Args:
        text: Any Unicode text.

    Returns:
        The text, stripped.

    Raises:
        ValueError: If the text holds a lone surrogate.

    Example:
        >>> normalise("  Straße\t ﬁve\u00ad-fold\x00\nCO₂ ")
        'strasse five-fold co2'

    References:
        Unicode Consortium, UAX 15, Unicode normalization forms, and chapter 3.13, default case algorithms.
        https://www.unicode.org/reports/tr15/
    """
    utf8(text)
    while (once := _normalised_once(text)) != text:
        text = once
    return text


def words(text: str) -> list[str]:
    """Returns the words of a text, normalised.

    A word is a run of letters, digits and their marks, in any script; a hyphen or apostrophe between two such runs is kept
    (``beta-catenin``, ``don't``; the curly apostrophe becomes the straight one). Everything else separates words.

    Args:
        text: Any Unicode text.

    Returns:
        Words in order.

    Raises:
        ValueError: If the text holds a lone surrogate.

    Example:
        >>> words("The 5'-end of Beta-catenin's mRNA (Zn2+) -- isn't it?")
        ['the', '5', 'end', 'of', "beta-catenin's", 'mrna', 'zn2', "isn't", 'it']
    """
    return _WORD.findall(normalise(text).translate(_CHARACTERS))


def stop_words() -> frozenset[str]:
    """Returns 301 English stop words, bundled with the package.

    Returns:
        Words, normalised.

    Raises:
        ValueError: If the file is not the original one, by its SHA-256.

    Example:
        >>> sorted(stop_words())[:3]
        ['a', 'about', 'above']
    """
    return _stop_words()


def without_stop_words(words: Iterable[str], *, stop_words: frozenset[str] | None = None) -> list[str]:
    """Returns the words that are not stop words, in order.

    Args:
        words: From `words`.
        stop_words: Words to leave out; `stop_words()` by default.

    Returns:
        The remaining words.

    Raises:
        ValueError: If the words are one text instead of a list.

    Example:
        >>> without_stop_words(["the", "transport", "of", "zinc"])
        ['transport', 'zinc']
    """
    if isinstance(words, str):
        raise ValueError(f"words must be a list of words; got the text {words[:20]!r}. Pass words(text).")
    left_out = _stop_words() if stop_words is None else stop_words
    return [word for word in words if word not in left_out]


@functools.cache
def _stop_words() -> frozenset[str]:
    """Returns the stop words, read once."""
    return frozenset(read_bundled("stop_words", _STOP_WORDS, sha256=_SHA256).decode().split())


def _normalised_once(text: str) -> str:
    """Returns a text after one round of removing controls, folding case, NFKC and joining spaces."""
    if not text.isprintable():
        text = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf"))
    return " ".join(unicodedata.normalize("NFKC", text.casefold()).split())
