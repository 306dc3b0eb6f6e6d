"""Text: cleaning, words, tokens, masking, generation and scores."""

from jaxresearch.fields.text.cleaning import byte_length, normalise, stop_words, without_stop_words, words
from jaxresearch.fields.text.language_model import masked_language_model, masked_pretraining, mean_token_loss
from jaxresearch.fields.text.masking import masked_examples, masked_tokens
from jaxresearch.fields.text.preprocess import fitted_tokeniser, record_windows, word_ids
from jaxresearch.fields.text.rouge import Rouge, fit_lead, lead, rouge_l, rouge_l_comparison, rouge_l_scores, rouge_n
from jaxresearch.fields.text.sequences import next_token_windows, pad, record_stream
from jaxresearch.fields.text.tokenisers import (
    Tokeniser,
    byte_tokeniser,
    fit_bpe_tokeniser,
    fit_character_tokeniser,
    n_bytes,
    saved_tokeniser,
)
from jaxresearch.fields.text.vocabulary import Vocabulary, bag_of_words, encode, fit_vocabulary

__all__ = [
    "Rouge",
    "Tokeniser",
    "Vocabulary",
    "bag_of_words",
    "byte_length",
    "byte_tokeniser",
    "encode",
    "fit_bpe_tokeniser",
    "fit_character_tokeniser",
    "fit_lead",
    "fit_vocabulary",
    "fitted_tokeniser",
    "lead",
    "masked_examples",
    "masked_language_model",
    "masked_pretraining",
    "masked_tokens",
    "mean_token_loss",
    "n_bytes",
    "next_token_windows",
    "normalise",
    "pad",
    "record_stream",
    "record_windows",
    "rouge_l",
    "rouge_l_comparison",
    "rouge_l_scores",
    "rouge_n",
    "saved_tokeniser",
    "stop_words",
    "without_stop_words",
    "word_ids",
    "words",
]
