"""SMILES as tokens: joined they are the text, and whatever is not SMILES is refused at its place."""

import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.fields import molecules


@pytest.fixture(scope="module")
def smiles():
    """The SMILES of both bundled sets."""
    return [
        str(one)
        for name in ("b3db", "aqsoldb")
        for part in data.load(name).parts().values()
        for one in part["inputs"]["smiles"]
    ]


def test_tokens_join_to_their_smiles(smiles):
    assert len(smiles) == 7807 + 9290
    for one in smiles:
        assert "".join(molecules.tokens(one)) == one.strip()


def test_tokens_are_those_of_the_grammar():
    spelt = "[13C@@H](F)(Cl)/C=C\\c1cc%12ccc1.[NH4+].C%12#N"
    assert molecules.tokens(spelt) == (
        *(
            "[13C@@H]",
            "(",
            "F",
            ")",
            "(",
            "Cl",
            ")",
            "/",
            "C",
            "=",
            "C",
            "\\",
            "c",
            "1",
            "c",
            "c",
            "%12",
            "c",
            "c",
            "c",
            "1",
        ),
        *(".", "[NH4+]", ".", "C", "%12", "#", "N"),
    )


@pytest.mark.parametrize(
    ("smiles", "message"),
    [
        ("", "must have an atom or more, got nothing"),
        ("CC?C", r"must have atoms, bonds, .* alone, got '\?' at position 3 of CC\?C"),
        ("C\u0663CC\u0663", "got '\u0663' at position 2"),  # a digit of another script
        ("C[\u0663H]", r"must have known atoms \(not \[\u0663H\]\), got '\[' at position 2"),
        ("C[Xx]", r"must have known atoms \(not \[Xx\]\), got '\[' at position 2"),
        ("C[13]", r"must have known atoms \(not \[13\]\), got '\[' at position 2"),
        ("C[CH", r"got '\[' at position 2"),
        ("=C", "must have each bond between two atoms, got '=' at position 1"),
        ("C==C", "must have each bond between two atoms, got '=' at position 3"),
        ("CC=", "must have an atom after each bond and dot, got the end of CC="),
        ("CC.", "must have an atom after each bond and dot, got the end of CC."),
        ("C..C", "must have a molecule on each side of a dot, got '.' at position 3"),
        ("(C)C", r"must have each branch after an atom, got '\(' at position 1"),
        ("C()C", r"must have branches that are opened and hold atoms, got '\)' at position 3"),
        ("CC)C", r"must have branches that are opened and hold atoms, got '\)' at position 3"),
        ("C(C.)C", r"must have branches that are opened and hold atoms, got '\)' at position 5"),
        ("CC(C", r"must have branches that are closed, got '\(' at position 3"),
        ("1CC1", "must have each ring closure after an atom, got '1' at position 1"),
        ("C1CC", "must have ring closures that are closed, got '1' at position 2"),
        ("C11", "must have ring closures between two atoms without a bond, got '1' at position 3"),
        ("C1C1", "must have ring closures between two atoms without a bond, got '1' at position 4"),
        ("C=1CCC-1", "must have the same bond at both ends of a ring closure, got '1' at position 8"),
    ],
)
def test_parse_refuses_what_is_not_smiles(smiles, message):
    with pytest.raises(ValueError, match=message) as refused:
        molecules.parse(smiles)
    assert len(str(refused.value).splitlines()) == 1


def test_an_atom_has_what_its_bracket_says():
    one = molecules.parse("[13CH2-:7][N@@H+](C)[2H]")
    assert one.isotopes.tolist() == [13, 0, 0, 2] and one.charges.tolist() == [-1, 1, 0, 0]
    assert one.hydrogens.tolist() == [2, 1, 3, 0] and one.chirality.tolist() == [0, 2, 0, 0]
    assert molecules.parse("[Fe++]").charges.tolist() == molecules.parse("[Fe+2]").charges.tolist() == [2]


@pytest.mark.parametrize(
    ("smiles", "same"),
    [
        ("C[H]", "C"),
        ("c1ccccc1c1ccccc1", "c1ccccc1-c1ccccc1"),  # the bond between two aromatic rings is single
        ("C%10CCCCC%10", "C1CCCCC1"),
        ("C=1CCCCC1", "C1CCCCC=1"),
        ("OC(=O)C", "CC(O)=O"),
        ("c1cc2ccccc2[nH]1", "[nH]1ccc2ccccc12"),
    ],
)
def test_a_molecule_may_be_written_in_several_ways(smiles, same):
    assert molecules.identity(molecules.parse(smiles)) == molecules.identity(molecules.parse(same))


@pytest.mark.parametrize(
    ("smiles", "other"),
    [
        ("C1CCC2CCCCC2C1", "C1CCC(C1)C1CCCC1"),  # equal neighbourhoods up to any radius, but other rings
        ("c1ccncc1", "c1ccccc1"),
        ("CC[NH3+]", "CCN"),
        ("[13CH4]", "C"),
    ],
)
def test_identities_tell_molecules_apart(smiles, other):
    assert molecules.identity(molecules.parse(smiles)) != molecules.identity(molecules.parse(other))


@pytest.mark.parametrize(
    ("smiles", "is_valid"),
    [
        ("c1ccc2[nH]ccc2c1", True),
        ("O=[N+]([O-])c1ccccc1", True),
        ("CN(=O)=O", True),
        ("CS(=O)(=O)N", True),
        ("C[n+]1ccccc1", True),
        ("c1ccoc1", True),
        ("Cn1cnc2c1c(=O)n(C)c(=O)n2C", True),
        ("c1cccc1", False),
        ("c1cc[n]c1", False),  # pyrrole without its hydrogen
        ("C=C(C)(C)C", False),
        ("CN(C)(C)C", False),
        ("FCl=F", False),
        ("Cc", False),
        ("CC(", False),
    ],
)
def test_is_valid_knows_valences_and_aromatic_rings(smiles, is_valid):
    assert molecules.is_valid(smiles) is is_valid


def test_fingerprints_do_not_depend_on_how_smiles_are_written():
    one, other = (molecules.parse(smiles) for smiles in ("Oc1ccccc1C", "Cc1ccccc1O"))
    np.testing.assert_array_equal(*(molecules.fingerprint(each, n_bits=128) for each in (one, other)))
    np.testing.assert_allclose(*(molecules.descriptors(each) for each in (one, other)))
    assert molecules.fingerprint(one, n_bits=128, radius=1).sum() == 2 * 8


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        (  # aspirin
            "CC(=O)Oc1ccccc1C(=O)O",
            {"donors": 1, "acceptors": 4, "rotatable_bonds": 3, "rings": 1, "aromatic_atoms": 6, "carbons": 9}
            | {
                "oxygens": 4,
                "double_bonds": 2,
                "carboxyls": 1,
                "hydroxyls": 1,
                "saturated_carbons": 1,
                "largest_ring": 6,
            },
        ),
        (  # a zwitterion beside an ion with two charges
            "[Ca+2].[NH3+][C@@H](C#N)C([O-])=O",
            {"charge": 2, "charged_atoms": 4, "stereocentres": 1, "triple_bonds": 1, "carboxyls": 1, "hydroxyls": 0}
            | {"nitrogens": 2, "other_elements": 1, "heavy_atoms": 8, "donors": 3, "rings": 0, "largest_ring": 0},
        ),
        (  # a lactam in a ring of four atoms, beside one of ten
            "O=C1CCN1C1CCCCCCCCC1",
            {"amides": 1, "ring_nitrogens": 1, "rotatable_bonds": 1, "rings": 2, "largest_ring": 8, "carboxyls": 0},
        ),
        (
            "FC(Cl)(Br)CSP(I)",
            {"halogens": 4, "fluorines": 1, "chlorines": 1, "bromines": 1, "iodines": 1, "sulphurs": 1},
        ),
    ],
)
def test_descriptors_are_counts_by_hand(smiles, expected):
    found = dict(zip(molecules.DESCRIPTORS, molecules.descriptors(molecules.parse(smiles)).tolist(), strict=True))
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("smiles", "surface"),
    [  # each the sum of entries of table 1 of Ertl, Rohde and Selzer
        ("c1ccncc1", 12.89),
        ("[O-][N+](=O)c1ccccc1", 23.06 + 3.01 + 17.07),
        ("C1CN1", 21.94),
        ("C1CNC1", 12.03),
        ("C1CO1", 12.53),
        ("c1ccoc1", 13.14),
        ("CC#N", 23.79),
        ("C[NH3+]", 27.64),
        ("Cn1cnc2c1c(=O)n(C)c(=O)n2C", 3 * 4.93 + 12.89 + 2 * 17.07),
        ("CC=[N+]=[N-]", 2 * 30.5 - 3 * 8.2),  # neither nitrogen is in the table
    ],
)
def test_polar_surface_sums_the_entries_of_the_table(smiles, surface):
    assert molecules.polar_surface(molecules.parse(smiles)) == pytest.approx(surface, abs=1e-9)


@pytest.mark.raises
@pytest.mark.parametrize(("given", "name"), [(None, "None"), (3, "int"), (b"CCO", "bytes"), (["CCO"], "list")])
def test_smiles_that_are_no_string_are_refused(given, name):
    message = f"SMILES must be a string, got {name}. Fill it in or drop the row."
    for read in (molecules.parse, molecules.tokens):
        with pytest.raises(ValueError, match=f"^{message}"):
            read(given)
    with pytest.raises(ValueError, match=f"^row 2, column drug: {message}"):
        molecules.parse_rows(["CCO", given], column="drug")
