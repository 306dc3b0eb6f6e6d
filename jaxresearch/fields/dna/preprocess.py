"""Preprocessing of DNA: sequences as tokens of k bases."""

import dataclasses
from collections.abc import Callable

import numpy as np

from jaxresearch.data import DataCard, Fitted, Preprocessor, require_texts, unused_notes
from jaxresearch.data.parts import Part
from jaxresearch.fields.dna.bases import encode, kmer_names, kmers


def kmer_tokens(
    k: int, *, column: str = "sequence", hidden: Callable[[np.ndarray], Part] | None = None
) -> Preprocessor:
    """Returns the preprocessor that encodes adjacent ``k``-mers as tokens; the last of the vocabulary is ``mask``.

    ====================  =====================================================================================
    data                  what it becomes
    ====================  =====================================================================================
    a table, classes      tokens of the column; as many as the longest sequence of the training part has (of folds, as
                          the longest of all), shorter ones filled up with N, longer ones cut
    bases, no classes     tokens that are their own targets; parts that are not trained on ask for hidden ones
    ====================  =====================================================================================

    Args:
        k: Bases per token, 1 to 15.
        column: Of the sequences, where the data are a table.
        hidden: Returns the part that asks for tokens that it hides, as `jaxresearch.fields.text.masked_examples` does; for
            data without classes.

    Returns:
        A preprocessor; inputs become int32 ``(n, tokens)``.

    Raises:
        ValueError: When fitted or applied, if the data have no such column of texts, or a letter is none of DNA.

    Example:
        >>> part = {"inputs": {"sequence": ["ACGTAC", "ACG"]}}
        >>> tokens, card = kmer_tokens(3), DataCard(name="mine", source="memory", class_names=("a", "b"))
        >>> tokens.apply(tokens.fit(part, card), part, training=True)["inputs"].tolist()
        [[6, 49], [6, 64]]
    """
    names = (*kmer_names(k), "mask")

    def fit(train: Part, card: DataCard) -> Fitted:
        if not card.class_names:
            return {"length": np.array(0)}
        require_texts(train, card, column)
        return {"length": np.array(-(-max(map(len, train["inputs"][column])) // k) * k)}

    def apply(fitted: Fitted, part: Part, *, training: bool) -> Part:
        if length := int(fitted["length"]):
            sequences = [str(sequence)[:length].ljust(length, "N") for sequence in part["inputs"][column]]
            return {**part, "inputs": encode(sequences, k=k)}
        tokens = kmers(part["inputs"], k=k, stride=k)
        return {"inputs": tokens, "targets": tokens} if training or hidden is None else hidden(tokens)

    def describe(fitted: Fitted, card: DataCard) -> DataCard:
        del fitted
        notes = (*card.notes, *unused_notes(card, card.feature_names, used=[column]))
        return dataclasses.replace(card, vocabulary=names, padding=names.index("N" * k), notes=notes)

    return Preprocessor(fit, apply, describe=describe)
