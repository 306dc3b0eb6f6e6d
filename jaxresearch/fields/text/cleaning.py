"""Text brought to one form, its words, and the words that say little."""

import functools
import re
import unicodedata
from collections.abc import Iterable

from jaxresearch.data.bundled import read_bundled

_STOP_WORDS = "stopwords_en.txt"
_SHA256 = "b73dc8b991b095587f72f9d1553faa4edfbf246a6a3052071319c2d218df753c"
_WORD = re.compile(r"[^\s'-]+(?:['-][^\s'-]+)*")


class _WordCharacters(dict[int, str]):
    """What each character is to a word: itself, a joint (hyphen, apostrophe) or a space; looked up once for each."""

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
        Bytes, one to four a character.

    Raises:
        ValueError: If the text holds half of a surrogate pair, which is no character and has no bytes.

    Example:
        >>> utf8("né")
        b'n\xc3\xa9'

    References:
        Yergeau (2003), UTF-8, a transformation format of ISO 10646, RFC 3629. https://www.rfc-editor.org/rfc/rfc3629
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text must be Unicode characters; got the lone surrogate U+{ord(text[error.start]):04X} at position {error.start}. "
            'Read it anew with its own encoding, or with errors="replace".'
        ) from error


def byte_length(text: str) -> int:
    """Returns the number of UTF-8 bytes of a text: what losses of different tokenisers are divided by to be compared.

    Args:
        text: Any Unicode text.

    Returns:
        Bytes.

    Raises:
        ValueError: If the text holds a lone surrogate.

    Example:
        >>> byte_length("né")
        3

    References:
        Gao et al. (2020), The Pile, section 3.1 (bits per byte). https://arxiv.org/abs/2101.00027
    """
    return len(utf8(text))


def normalise(text: str) -> str:
    r"""Returns a text in one form: compatible characters the same (NFKC), without case, single spaces, no controls.

    Repeated until nothing changes, so that ``normalise(normalise(text)) == normalise(text)`` for every text. Controls are
    the categories Cc and Cf (also the soft hyphen and the joiners of no width); line ends and tabs count as spaces.

    Args:
        text: Any Unicode text.

    Returns:
        The text, without spaces at its ends.

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
    (``beta-catenin``, ``don't``; the curly apostrophe as the straight one), elsewhere it separates, as all else does.

    Args:
        text: Any Unicode text.

    Returns:
        Words in their order.

    Raises:
        ValueError: If the text holds a lone surrogate.

    Example:
        >>> words("The 5'-end of Beta-catenin's mRNA (Zn2+) -- isn't it?")
        ['the', '5', 'end', 'of', "beta-catenin's", 'mrna', 'zn2', "isn't", 'it']

    References:
        Unicode Consortium, UAX 29, Unicode text segmentation, section 4 (word boundaries).
        https://www.unicode.org/reports/tr29/
    """
    return _WORD.findall(normalise(text).translate(_CHARACTERS))


def stop_words() -> frozenset[str]:
    """Returns 301 English words that say little about what a text is about; they come with the package.

    Returns:
        Words, normalised.

    Raises:
        ValueError: If the file is not the original one, by its SHA-256.

    Example:
        >>> sorted(stop_words())[:3]
        ['a', 'about', 'above']

    References:
        Luhn (1958), The automatic creation of literature abstracts, IBM J. Res. Dev. 2(2).
        https://doi.org/10.1147/rd.22.0159
    """
    return _stop_words()


def without_stop_words(words: Iterable[str], *, stop_words: frozenset[str] | None = None) -> list[str]:
    """Returns the words that are no stop words, in their order.

    Args:
        words: From `words`.
        stop_words: Words to leave out; those of `stop_words` unless given.

    Returns:
        The words that are left.

    Raises:
        ValueError: If the words are one text instead of a list.

    Example:
        >>> without_stop_words(["the", "transport", "of", "zinc"])
        ['transport', 'zinc']

    References:
        Manning, Raghavan and Schütze (2008), Introduction to information retrieval, section 2.2.2.
        https://nlp.stanford.edu/IR-book/
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
    """Returns a text after one round: controls out, case folded, NFKC, spaces."""
    if not text.isprintable():
        text = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf"))
    return " ".join(unicodedata.normalize("NFKC", text.casefold()).split())
