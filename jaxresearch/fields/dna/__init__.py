"""DNA: genomes, k-mers and windows in NumPy on the host; random sequences with planted motifs in JAX."""

from jaxresearch.fields.dna.bases import (
    bases,
    duplicates,
    encode,
    kmer_bases,
    kmer_counts,
    kmer_names,
    kmers,
    letters,
    reverse_complement,
    windows,
)
from jaxresearch.fields.dna.clusters import class_recovery
from jaxresearch.fields.dna.fasta import CHROMOSOME_3, chromosome_3, fasta_card, load_genome, read_fasta
from jaxresearch.fields.dna.motifs import JASPAR, jaspar, load_motifs, parse_motifs, read_motifs
from jaxresearch.fields.dna.planting import (
    dinucleotide_shuffle,
    one_hot,
    planted,
    random_sequences,
    recovered,
    recovered_bases,
    transitions,
)
from jaxresearch.fields.dna.preprocess import kmer_tokens

__all__ = [
    "CHROMOSOME_3",
    "JASPAR",
    "bases",
    "chromosome_3",
    "class_recovery",
    "dinucleotide_shuffle",
    "duplicates",
    "encode",
    "fasta_card",
    "jaspar",
    "kmer_bases",
    "kmer_counts",
    "kmer_names",
    "kmer_tokens",
    "kmers",
    "letters",
    "load_genome",
    "load_motifs",
    "one_hot",
    "parse_motifs",
    "planted",
    "random_sequences",
    "read_fasta",
    "read_motifs",
    "recovered",
    "recovered_bases",
    "reverse_complement",
    "transitions",
    "windows",
]
