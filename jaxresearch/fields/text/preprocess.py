"""Preprocessing of text: columns of a table as ids of words, or as windows of one long text."""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

from jaxresearch.data import DataCard, Fitted, Preprocessor, require_texts, unused_notes
from jaxresearch.data.parts import Part
from jaxresearch.fields.text.cleaning import words
from jaxresearch.fields.text.sequences import next_token_windows, pad, record_stream
from jaxresearch.fields.text.tokenisers import Tokeniser, fit_bpe_tokeniser, saved_tokeniser
from jaxresearch.fields.text.vocabulary import Vocabulary, encode, fit_vocabulary


def word_ids(column: str, *, n_most: int, length: int, uncounted: Collection[str] = ()) -> Preprocessor:
    """Returns the preprocessor that encodes a column of texts as rows of word ids.

    The most frequent word of the training part has id 0; the id after the words stands for all others, and the last is padding.
    There are ``n_most + 2`` ids in every fold, though a fold may have fewer words. ``fitted["is_counted"]`` marks the ids
    that a bag of words counts: words that are not among ``uncounted``.

    Args:
        column: Of texts.
        n_most: Largest number of words in the vocabulary.
        length: Words per row; longer texts are cut.
        uncounted: Words that a bag of words leaves out.

    Returns:
        A preprocessor; inputs become int32 ``(n, length)``.

    Raises:
        ValueError: When fitted, if the data have no such column of texts.

    Example:
        >>> part = {"inputs": {"note": ["the ion", "an ion binds"]}}
        >>> ids = word_ids("note", n_most=3, length=3)
        >>> fitted = ids.fit(part, DataCard(name="mine", source="memory"))
        >>> fitted["words"].tolist(), ids.apply(fitted, part, training=True)["inputs"].tolist()
        (['ion', 'an', 'binds'], [[3, 0, 4], [1, 0, 2]])
    """

    def fit(train: Part, card: DataCard) -> Fitted:
        require_texts(train, card, column)
        known = fit_vocabulary(map(words, train["inputs"][column]), n_most=n_most).tokens
        is_counted = [word not in uncounted for word in known]
        unused = [False] * (n_most + 1 - len(known))
        return {"words": np.array(known), "is_counted": np.array([*is_counted, True, *unused])}

    def apply(fitted: Fitted, part: Part, *, training: bool) -> Part:
        del training
        vocabulary = Vocabulary(tuple(fitted["words"].tolist()))
        ids = [encode(vocabulary, words(text)) for text in part["inputs"][column]]
        return {**part, "inputs": pad(ids, length=length, padding=n_most + 1)}

    def describe(fitted: Fitted, card: DataCard) -> DataCard:
        unused = [f"<unused {i}>" for i in range(n_most - len(fitted["words"]))]
        notes = (*card.notes, *unused_notes(card, card.feature_names, used=[column]))
        return dataclasses.replace(
            card, vocabulary=(*fitted["words"].tolist(), "<unknown>", *unused, "<pad>"), notes=notes
        )

    return Preprocessor(fit, apply, describe=describe)


def record_windows(
    columns: Sequence[str], *, n_tokens: int, length: int, specials: Sequence[str], overlap: int = 0
) -> Preprocessor:
    """Returns the preprocessor that joins all records into one text and cuts it into windows: examples for a decoder.

    The byte-pair encoding is learned from the training part. A record is the sequence of its columns, each followed by its own
    special. ``fitted["n_bytes"]`` has the number of bytes of each token; each end counts as one, like a line end.

    Args:
        columns: Of texts.
        n_tokens: Number of ids, with the specials.
        length: Tokens per window.
        specials: One for the end of each column, then the padding.
        overlap: Tokens that a window repeats from the one before as context, in parts to evaluate on; training windows are
            adjacent.

    Returns:
        A preprocessor; inputs and targets become int32 ``(windows, length)``, with targets shifted by one token.

    Raises:
        ValueError: When fitted, if the data lack a column of texts, or as for `fit_bpe_tokeniser`; when applied, as for
            `next_token_windows`.

    Example:
        >>> part = {"inputs": {"term": ["zinc", "ion"], "text": ["a metal", "a charge"]}}
        >>> windows = record_windows(("term", "text"), n_tokens=260, length=8, specials=("<text>", "<end>", "<pad>"))
        >>> fitted = windows.fit(part, DataCard(name="mine", source="memory"))
        >>> windows.apply(fitted, part, training=True)["inputs"].shape
        (3, 8)
    """

    def fit(train: Part, card: DataCard) -> Fitted:
        require_texts(train, card, *columns)
        corpus = [text for column in columns for text in train["inputs"][column]]
        tokeniser = fit_bpe_tokeniser(corpus, n_tokens=n_tokens, specials=specials)
        n_bytes = [*tokeniser.n_bytes[: -len(specials)], *[1] * len(columns), 0]
        return {"tokeniser": np.array(tokeniser.saved), "specials": np.array(specials), "n_bytes": np.array(n_bytes)}

    def apply(fitted: Fitted, part: Part, *, training: bool) -> Part:
        tokeniser = fitted_tokeniser(fitted)
        *ends, padding = range(len(tokeniser.names))[-len(specials) :]
        stream = record_stream(tokeniser, [part["inputs"][column] for column in columns], ends=ends)
        shared = 0 if training else overlap
        return next_token_windows(stream, length=length, padding=padding, drop_last=training, overlap=shared)

    def describe(fitted: Fitted, card: DataCard) -> DataCard:
        names = fitted_tokeniser(fitted).names
        line = f"examples are windows of {length} tokens, into which the text of a part is cut"
        notes = (*card.notes, *unused_notes(card, card.feature_names, used=columns), line)
        return dataclasses.replace(card, class_names=names, vocabulary=names, notes=notes)

    return Preprocessor(fit, apply, describe=describe)


def fitted_tokeniser(fitted: Fitted) -> Tokeniser:
    """Returns the tokeniser that `record_windows` fitted.

    Args:
        fitted: Of the data.

    Returns:
        The byte-pair encoding, with its specials.

    Example:
        >>> windows = record_windows(("text",), n_tokens=258, length=2, specials=("<end>", "<pad>"))
        >>> fitted = windows.fit({"inputs": {"text": ["zinc"]}}, DataCard(name="mine", source="memory"))
        >>> fitted_tokeniser(fitted).names[-2:]
        ('<end>', '<pad>')
    """
    return saved_tokeniser(fitted["tokeniser"].item(), specials=fitted["specials"].tolist())
