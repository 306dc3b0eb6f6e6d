"""DNA: FASTA read whole or refused in one line; bases, k-mers and windows against plain loops."""

import gzip
import hashlib
import inspect
import itertools
import lzma
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import clustering, data
from jaxresearch.fields import dna

IUPAC = "ACGTURYSWKMBDHVN"
COMPLEMENT = dict(zip("ACGTN", "TGCAN", strict=True))


def _random_bases(shape, seed=0, highest=4):
    return np.random.default_rng(seed).integers(0, highest + 1, shape).astype(np.int8)


def _written(path, content):
    path.write_bytes(content)
    return path


CONTENT = b"\xef\xbb\xbf\r\n>one the first\r\nacgu\r\n\r\n  ACGT\r\n>two\r\nRYNn"


@pytest.mark.parametrize("suffix, pack", [(".fa", bytes), (".fa.gz", gzip.compress), (".fa.xz", lzma.compress)])
def test_read_fasta_takes_every_form(tmp_path, suffix, pack):
    path = _written(tmp_path / f"mine{suffix}", pack(CONTENT))
    assert dna.read_fasta(path) == dna.read_fasta(str(path)) == {"one": "ACGTACGT", "two": "RYNN"}


@pytest.mark.parametrize("width", [1, 7, 60, 1000])
def test_read_fasta_does_not_depend_on_where_lines_break(tmp_path, width):
    sequence = dna.letters(_random_bases(500))
    lines = "\n".join(sequence[i : i + width] for i in range(0, len(sequence), width))
    assert dna.read_fasta(_written(tmp_path / "mine.fa", f">x\n{lines}\n".encode())) == {"x": sequence}


@pytest.mark.raises
@pytest.mark.parametrize(
    "content, message",
    [
        (b"", r"mine.fa must hold a FASTA record; it is empty"),
        (b"\r\n \n", r"mine.fa must hold a FASTA record; it is empty"),
        (b"\nACGT\n>x\nA", r"mine.fa must start with a header, as >name; got 'ACGT' \(non-FASTA\)"),
        (b"@x\nACGT\n+\nIIII", r"got '@x' \(non-FASTA\)"),
        (
            b">x\nACG\nTJA",
            r"record 'x' of .*mine.fa must hold nucleotide letters \(IUPAC\) alone; got 'J' at position 5",
        ),
        (b">x\nACGT*", r"got '\*' at position 5. Remove gaps"),
        (b">x\nAC-GT", r"got '-' at position 3"),
        (">x\nAſ".encode(), r"got 'ſ' at position 2"),  # its capital is S, which is a letter of the code
        (b">x\nA\xff", r"got '\ufffd' at position 2"),
        (b">x\n>y\nA", r"record 'x' of .*mine.fa must hold bases; it holds none"),
        (b">x a\nA\n>x b\nC", r"mine.fa must give each record a name of its own; got 'x' twice"),
        (b"> \nA", r"mine.fa must give each record a name of its own; one has none"),
    ],
)
def test_read_fasta_refuses_in_one_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        dna.read_fasta(_written(tmp_path / "mine.fa", content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix, pack", [(".gz", gzip.compress), (".xz", lzma.compress)])
@pytest.mark.parametrize("damage", [lambda raw: raw[:-9], lambda raw: raw[:9], lambda raw: b"no" + raw[2:]])
def test_read_fasta_refuses_a_damaged_file(tmp_path, suffix, pack, damage):
    path = _written(tmp_path / f"mine.fa{suffix}", damage(pack(b">x\n" + b"ACGT" * 99)))
    with pytest.raises(ValueError, match=rf"mine.fa{suffix} must be an intact {suffix} file, got a damaged one"):
        dna.read_fasta(path)


def test_chromosome_3_is_the_original(monkeypatch):
    ((name, sequence),) = dna.chromosome_3().items()
    assert name == "hg19_chr3:42000001-44000000" and set(sequence) == set("ACGT")
    # Its own module, since doctest collection may have imported a second copy;
    # unwrapped, since the type checker wraps it in a function of another module.
    monkeypatch.setitem(inspect.unwrap(dna.chromosome_3).__globals__, "_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"human_chr3_42-44mb.fa.xz must have SHA-256 0+, got 6c92e7ff"):
        dna.chromosome_3()


def test_bases_knows_every_letter_of_the_code():
    expected = [0, 1, 2, 3, 3] + [4] * 11
    assert dna.bases(IUPAC).tolist() == dna.bases(IUPAC.lower()).tolist() == expected
    assert dna.bases(IUPAC).dtype == np.int8 and dna.bases("").shape == (0,)


@pytest.mark.parametrize("letter", sorted({chr(code) for code in range(300)} - set(IUPAC) - set(IUPAC.lower())))
def test_bases_refuses_every_other_letter(letter):
    with pytest.raises(
        ValueError, match=r"sequence must hold nucleotide letters \(IUPAC\) alone; got .* at position 3"
    ):
        dna.bases(f"AC{letter}G")


def test_bases_and_letters_are_inverse():
    made = _random_bases(1000)
    assert np.array_equal(dna.bases(dna.letters(made)), made)
    changed = dna.bases("AC")
    changed[0] = 3  # a new array
    assert dna.letters(changed) == "TC" and dna.bases("AC")[0] == 0


@pytest.mark.raises
@pytest.mark.parametrize("wrong", [np.array([5]), np.array([-1]), np.array([0.0]), np.array(1)])
def test_letters_refuses_what_is_no_base(wrong):
    with pytest.raises(ValueError, match="bases must be integers from 0 to 4, of one axis or more; got"):
        dna.letters(wrong)


@pytest.mark.raises
def test_letters_refuses_several_sequences():
    with pytest.raises(ValueError, match=r"bases must be one sequence \(length,\); got shape \(1, 2\)"):
        dna.letters(np.zeros((1, 2), np.int8))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
def test_reverse_complement_is_the_other_strand_in_numpy_and_jax(dtype):
    made = _random_bases((3, 50)).astype(dtype)
    other = dna.reverse_complement(made)
    for row, strand in zip(made, other, strict=True):
        assert dna.letters(strand) == "".join(COMPLEMENT[letter] for letter in reversed(dna.letters(row)))
    assert other.dtype == dtype and np.array_equal(dna.reverse_complement(other), made)
    in_jax = dna.reverse_complement(jnp.asarray(made))
    assert in_jax.dtype == dtype and np.array_equal(in_jax, other)


@pytest.mark.parametrize("k, stride", list(itertools.product([1, 2, 3, 6, 15], [1, 2, 5, 40])))
def test_kmers_agree_with_a_loop(k, stride):
    made = _random_bases((2, 3, 31), seed=k)
    tokens = dna.kmers(made, k=k, stride=stride)
    for place in np.ndindex(2, 3):
        row = made[place].tolist()
        cut = [row[i : i + k] for i in range(0, 31 - k + 1, stride)]
        expected = [4**k if 4 in window else int("".join(map(str, window)), 4) for window in cut]
        assert tokens[place].tolist() == expected
    assert tokens.dtype == np.int32


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.uint32, np.uint64])
def test_kmers_are_int32_whatever_the_bases_are(kind):
    made = _random_bases((2, 20)).astype(kind)
    tokens = dna.kmers(made, k=15)
    assert tokens.dtype == np.int32
    np.testing.assert_array_equal(tokens, dna.kmers(made.astype(np.int8), k=15))


def test_kmers_name_each_kmer_once():
    every = np.array(list(itertools.product(range(4), repeat=4)), np.int8)
    assert dna.kmers(every, k=4)[:, 0].tolist() == list(range(256))


@pytest.mark.raises
@pytest.mark.parametrize(
    "settings, message",
    [
        ({"k": 0}, "k must be from 1 to 15; got 0"),
        ({"k": 16}, "k must be from 1 to 15; got 16"),
        ({"k": 2, "stride": 0}, "stride must be 1 or more; got 0"),
        ({"k": 6}, "sequences must be k = 6 bases or longer; got 5"),
    ],
)
def test_kmers_refuse_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        dna.kmers(np.zeros(5, np.int8), **settings)


@pytest.mark.raises
def test_kmers_refuse_letters_as_numbers():
    with pytest.raises(ValueError, match=r"bases must be integers from 0 to 4.*got uint8 of shape \(4,\)"):
        dna.kmers(np.frombuffer(b"ACGT", np.uint8), k=2)


@pytest.mark.parametrize("stride", [None, 1, 4])
def test_encode_is_the_kmers_of_each_sequence(stride):
    sequences = [dna.letters(row) for row in _random_bases((5, 24))]
    expected = [dna.kmers(dna.bases(one), k=3, stride=stride or 3) for one in sequences]
    np.testing.assert_array_equal(dna.encode(np.array(sequences), k=3, stride=stride), expected)


@pytest.mark.raises
@pytest.mark.parametrize(("sequences", "got"), [([], "none"), (["ACG", "AC", "ACGTT"], "lengths from 2 to 5")])
def test_encode_refuses_sequences_of_different_lengths(sequences, got):
    with pytest.raises(ValueError, match=f"^sequences must be one or more of equal length, got {got}"):
        dna.encode(sequences, k=2)


def test_duplicates_agree_with_a_loop_whatever_the_type():
    sequences, known = _random_bases((60, 3), highest=1), _random_bases((5, 3), seed=1, highest=1).astype(np.int32)
    expected = [any((row == other).all() for other in known) for row in sequences]
    assert dna.duplicates(sequences, known).tolist() == expected and 0 < sum(expected) < 60
    assert dna.duplicates(sequences[:0], known).shape == (0,)


@pytest.mark.raises
@pytest.mark.parametrize("shape", [(3,), (2, 4)])
def test_duplicates_refuse_rows_of_other_lengths(shape):
    with pytest.raises(ValueError, match="^sequences and known must be rows of equal length, got shapes"):
        dna.duplicates(np.zeros((2, 3), np.int8), np.zeros(shape, np.int8))


@pytest.mark.parametrize("length, stride", list(itertools.product([1, 3, 10], [None, 1, 2, 7])))
def test_windows_agree_with_a_loop(length, stride):
    made = _random_bases(10)
    step = length if stride is None else stride
    expected = [made[i : i + length].tolist() for i in range(0, 10 - length + 1, step)]
    assert dna.windows(made, length=length, stride=stride).tolist() == expected


@pytest.mark.raises
@pytest.mark.parametrize(
    "shape, settings, message",
    [
        (5, {"length": 6}, r"bases must be one sequence of 6 or more; got shape \(5,\)"),
        ((5, 5), {"length": 2}, r"bases must be one sequence of 2 or more; got shape \(5, 5\)"),
        (5, {"length": 0}, "length must be 1 or more; got 0"),
        (5, {"length": 2, "stride": 0}, "stride must be 1 or more; got 0"),
    ],
)
def test_windows_refuse_what_does_not_fit(shape, settings, message):
    with pytest.raises(ValueError, match=message):
        dna.windows(np.zeros(shape, np.int8), **settings)


def test_kmer_counts_agree_with_a_loop_without_ambiguous_ones():
    made = _random_bases((4, 200))
    counts = dna.kmer_counts(made, k=3)
    assert counts.shape == (4, 64) and counts.dtype == np.float32
    for row, of_row in zip(made, counts, strict=True):
        sequence = dna.letters(row)
        for token, kmer in enumerate(map("".join, itertools.product("ACGT", repeat=3))):
            assert of_row[token] == sum(sequence[i : i + 3] == kmer for i in range(198))
    padded = np.concatenate([made, np.full((4, 9), 4, np.int8)], axis=1)
    assert np.array_equal(dna.kmer_counts(padded, k=3), counts)


@pytest.mark.raises
def test_kmer_counts_refuse_a_single_sequence():
    with pytest.raises(ValueError, match=r"bases must have shape \(n, length\); got \(4,\)"):
        dna.kmer_counts(np.zeros(4, np.int8), k=2)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_kmer_bases_invert_kmers_and_names_spell_them(k):
    made = _random_bases((7, 10 * k), highest=3)
    tokens = dna.kmers(made, k=k, stride=k)
    np.testing.assert_array_equal(dna.kmer_bases(tokens, k=k), made)
    names = dna.kmer_names(k)
    assert len(names) == 4**k + 1
    assert ["".join(names[token] for token in row) for row in tokens] == [dna.letters(row) for row in made]
    assert dna.kmer_bases(np.zeros((0, 3), np.int32), k=k).shape == (0, 3 * k)
    assert dna.letters(dna.kmer_bases(np.array([4**k, -1, 4**k + 1]), k=k)) == "N" * 3 * k


def test_records_shorter_than_a_window_are_left_out(tmp_path):
    letters = "".join(np.random.default_rng(0).choice(list("ACGT"), size=300))
    (tmp_path / "my.fa").write_text(f">short\nACGT\n>long\n{letters}\n>last\n{letters[:59]}\n")
    made = dna.load_genome(tmp_path / "my.fa", length=60, stride=20)
    windows = dna.windows(dna.bases(letters), length=60, stride=20)
    np.testing.assert_array_equal(made.train["inputs"], windows[:10])
    np.testing.assert_array_equal(made.test["inputs"], windows[12:])  # the two between share bases with it


@pytest.mark.parametrize("stride", [7, 20, 60])
def test_held_out_windows_share_no_base_with_training(tmp_path, stride):
    (tmp_path / "my.fa").write_text(">one\n" + "".join(np.random.default_rng(0).choice(list("ACGT"), size=4000)) + "\n")
    made = dna.load_genome(tmp_path / "my.fa", length=60, stride=stride)
    carved = data.with_validation(made, fraction=0.1)
    starts = {
        window.tobytes(): i * stride
        for i, window in enumerate(dna.windows(bases_of(tmp_path), length=60, stride=stride))
    }
    last, *others = (
        [starts[row.tobytes()] for row in part["inputs"]] for part in (carved.train, carved.validation, carved.test)
    )
    for part in others:
        assert min(part) >= max(last) + 60
        last = part


def bases_of(folder):
    """Returns the bases of a file with one record."""
    (sequence,) = dna.read_fasta(folder / "my.fa").values()
    return dna.bases(sequence)


def test_the_card_of_a_genome_names_its_source(tmp_path):
    (tmp_path / "my.fa").write_text(">one\n" + "ACGT" * 30)
    digest = hashlib.sha256((tmp_path / "my.fa").read_bytes()).hexdigest()
    card = dna.load_genome(tmp_path / "my.fa", length=60, stride=20).card
    assert card.sha256 == (("my.fa", digest),) and card.name == "my"
    bundled = dna.load_genome("chr3", length=60, stride=20).card
    path = Path(data.__file__).parent / "archives" / "chromosome_3" / bundled.sha256[0][0]
    assert bundled.sha256[0][1] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert bundled.licence and bundled.citation


@pytest.mark.long
def test_class_recovery_is_k_means_of_embeddings_and_of_counts(key):
    generator = np.random.default_rng(0)
    classes = np.arange(60) % 3
    letters = [generator.choice(list("ACGT"), size=30, p=np.roll([7, 1, 1, 1], c) / 10) for c in classes]
    sequences = np.stack([dna.bases("".join(one)) for one in letters])
    noise = jnp.asarray(generator.normal(size=(60, 4)), jnp.float32)
    of_noise, of_counts = dna.class_recovery(key, noise, sequences, classes, n_classes=3, k=1)
    assert of_counts > 0.9 > 0.2 > of_noise
    clusters = clustering.k_means(jax.random.clone(key), noise, n_clusters=3).labels
    expected = clustering.adjusted_rand_index(jnp.asarray(classes), clusters, n_labels=3, n_clusters=3)
    assert of_noise == float(expected)
    assert (
        dna.class_recovery(jax.random.clone(key), jax.nn.one_hot(classes, 3), sequences, classes, n_classes=3)[0] == 1
    )
