"""Tables for others to read: generalised so that rows hide among k, with pseudonyms, and what could still identify a row.

::

    made = anonymity.anonymise(table, quasi=["age", "zip"], k=5, sensitive="diagnosis", l_diversity=2)
    found = anonymity.identifiability(made.table, quasi=["age", "zip"], sensitive="diagnosis")
"""

from jaxresearch.privacy.anonymity.anonymised import Anonymised, anonymise
from jaxresearch.privacy.anonymity.digests import pseudonym, pseudonyms
from jaxresearch.privacy.anonymity.risks import Identifiability, Linked, Pair, identifiability

__all__ = [
    "Anonymised",
    "Identifiability",
    "Linked",
    "Pair",
    "anonymise",
    "identifiability",
    "pseudonym",
    "pseudonyms",
]
