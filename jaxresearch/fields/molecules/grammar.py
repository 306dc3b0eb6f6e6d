"""The grammar of SMILES: a line of text as atoms, bracket atoms, bonds, branches, ring closures and dots."""

import re
from typing import NamedTuple

_TOKEN = re.compile(r"Cl|Br|[BCNOPSFI]|[bcnops]|\*|\[[^\[\]]*\]|[-=#$:/\\]|%\d\d|\d|[()]|\.", re.ASCII)
_BRACKET = re.compile(
    r"\[(?P<isotope>\d{1,3})?(?P<symbol>se|as|te|[bcnops]|[A-Z][a-z]?|\*)"
    r"(?P<chirality>@@|@(?:TH[12]|AL[12]|SP[123]|(?:TB|OH)\d{1,2})?)?"
    r"(?P<hydrogens>H\d?)?(?P<charge>[+-]\d{1,2}|\++|-+)?(?::\d+)?\]",
    re.ASCII,
)
BONDS = {"-": 1, "=": 2, "#": 3, "$": 4, ":": 5, "/": 1, "\\": 1}
AROMATIC = 5  # the order of an aromatic bond
CHIRALITIES = {None: 0, "@": 1, "@TH1": 1, "@@": 2, "@TH2": 2}
OTHER_CHIRALITY = 3  # a geometry other than tetrahedral
SYMBOLS = (
    "* H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb "
    "Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg "
    "Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
).split()
ELEMENTS = {symbol: number for number, symbol in enumerate(SYMBOLS)}


class Atom(NamedTuple):
    """An atom as a token spells it; ``hydrogens`` is None outside brackets, where the valence implies them."""

    element: int
    is_aromatic: bool
    charge: int = 0
    hydrogens: int | None = None
    isotope: int = 0
    chirality: int = 0


def tokens(smiles: str) -> tuple[str, ...]:
    r"""Returns the tokens of a SMILES string; joined, they are the string.

    ============  =======================================================================
    token         examples
    ============  =======================================================================
    atom          ``C``, ``Cl``, ``n``, ``*``
    bracket atom  ``[nH]``, ``[13C@@H]``, ``[O-]``: isotope, chirality, hydrogens, charge
    bond          ``-``, ``=``, ``#``, ``$``, ``:``, ``/``, ``\``
    branch        ``(``, ``)``
    ring closure  ``1``, ``%12``
    dot           ``.``, between molecules
    ============  =======================================================================

    Args:
        smiles: One molecule; white space around it is left out.

    Returns:
        The tokens in order.

    Raises:
        ValueError: If it is no string, or a character is none of the grammar; positions count from 1.

    Example:
        >>> tokens("C[C@H](Cl)c1cc[nH]c1")
        ('C', '[C@H]', '(', 'Cl', ')', 'c', '1', 'c', 'c', '[nH]', 'c', '1')

    References:
        Weininger (1988), SMILES, a chemical language and information system. 1. Introduction to methodology and encoding
        rules, J. Chem. Inf. Comput. Sci. 28(1). https://doi.org/10.1021/ci00057a005
        James et al. (2016), OpenSMILES specification, version 1.0. http://opensmiles.org/opensmiles.html
    """
    require_text(smiles)
    text, found, place = smiles.strip(), [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise refusal("atoms, bonds, branches, ring closures and dots alone", text, place)
        found.append(match[0])
        place = match.end()
    if not found:
        raise ValueError("SMILES must have an atom or more, got nothing. Fill it in or drop the row.")
    return tuple(found)


def require_text(smiles: object) -> None:
    """Raises if SMILES are no string.

    Args:
        smiles: What is to be read.

    Raises:
        ValueError: If they are a missing value, a number or another object.

    Example:
        >>> require_text(None)
        Traceback (most recent call last):
        ...
        ValueError: SMILES must be a string, got None. Fill it in or drop the row.
    """
    if not isinstance(smiles, str):
        got = "None" if smiles is None else type(smiles).__name__
        raise ValueError(f"SMILES must be a string, got {got}. Fill it in or drop the row.")


def refusal(rule: str, text: str, place: int) -> ValueError:
    """Returns the error of a SMILES string that breaks a rule.

    Args:
        rule: What it must have.
        text: The string.
        place: Index of the first character that breaks the rule; the length of the string for its end.

    Returns:
        The error, to be raised; positions count from 1.

    Example:
        >>> str(refusal("known atoms", "C?", 1))
        "SMILES must have known atoms, got '?' at position 2 of C?. Correct it or drop the row."
    """
    what = f"{text[place]!r} at position {place + 1}" if place < len(text) else "the end"
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return ValueError(f"SMILES must have {rule}, got {what} of {shown}. Correct it or drop the row.")


def atom(token: str) -> Atom | None:
    """Returns the atom that a token spells.

    Args:
        token: One of `tokens`.

    Returns:
        The atom; None if the token is no atom, or a bracket atom of an unknown element or form.

    Example:
        >>> atom("[13C@@H]"), atom("n").is_aromatic, atom("(")
        (Atom(element=6, is_aromatic=False, charge=0, hydrogens=1, isotope=13, chirality=2), True, None)
    """
    if not token.startswith("["):
        number = ELEMENTS.get(token.capitalize())
        return None if number is None else Atom(number, token.islower())
    match = _BRACKET.fullmatch(token)
    if match is None or match["symbol"].capitalize() not in ELEMENTS:
        return None
    charge, hydrogens = match["charge"] or "", match["hydrogens"] or ""
    size = int(charge[1:]) if charge[1:].isdigit() else len(charge)
    return Atom(
        ELEMENTS[match["symbol"].capitalize()],
        match["symbol"].islower(),
        -size if charge.startswith("-") else size,
        int(hydrogens[1:] or 1) if hydrogens else 0,
        int(match["isotope"] or 0),
        CHIRALITIES.get(match["chirality"], OTHER_CHIRALITY),
    )
