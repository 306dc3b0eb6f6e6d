"""Text: cleaned and counted in words, or cut into tokens that give it back exactly; NumPy on the host."""

from jaxresearch.fields.text.cleaning import byte_length, normalise, stop_words, without_stop_words, words
from jaxresearch.fields.text.language_model import masked_language_model
from jaxresearch.fields.text.rouge import Rouge, rouge_l, rouge_n
from jaxresearch.fields.text.tokenisers import (
    Tokeniser,
    byte_tokeniser,
    fit_bpe_tokeniser,
    fit_character_tokeniser,
    n_bytes,
)
from jaxresearch.fields.text.vocabulary import Vocabulary, bag_of_words, encode, fit_vocabulary

__all__ = [
    "Rouge",
    "rouge_l",
    "rouge_n",
    "masked_language_model",
    "Tokeniser",
    "Vocabulary",
    "bag_of_words",
    "byte_length",
    "byte_tokeniser",
    "encode",
    "fit_bpe_tokeniser",
    "fit_character_tokeniser",
    "fit_vocabulary",
    "n_bytes",
    "normalise",
    "stop_words",
    "without_stop_words",
    "words",
]
