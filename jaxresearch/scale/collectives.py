"""The communication of a compiled program: its collective operations, counted in the text of its HLO."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\) -> .* \{$")
_CALLED = re.compile(r"\b(?:calls|to_apply|condition|body|true_computation|false_computation)=%?([\w.-]+)")
_BRANCHES = re.compile(r"\b(?:branch_computations|called_computations)=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_COLLECTIVE = re.compile(rf"^(?:ROOT )?%?[\w.-]+ = (.*?) ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d\w*)\[([\d,]*)\]")


class Collective(NamedTuple):
    """One kind of communication in a program.

    Attributes:
        kind: One of `KINDS`.
        number: Operations per execution of the program.
        n_bytes: Bytes that each device sends for them, if they go around a ring.
    """

    kind: str
    number: int
    n_bytes: float


class Communication(NamedTuple):
    """The collectives of a program by kind, and the number of its loops whose length is unknown, each counted as one pass."""

    collectives: tuple[Collective, ...]
    n_unknown_loops: int

    @property
    def n_bytes(self) -> float:
        """Bytes that each device sends."""
        return sum((collective.n_bytes for collective in self.collectives), 0.0)


def communication(text: str, *, n_devices: int) -> Communication:
    r"""Returns the collectives of a compiled program, those in loops as often as the loop runs.

    For an array of :math:`B` bytes on each of :math:`g` devices, a ring sends:

    ======================  ===============================================================
    ``all-reduce``          :math:`2 B (g - 1) / g`
    ``all-gather``          :math:`B (g - 1) / g`, with B the gathered array
    ``reduce-scatter``      :math:`B (g - 1)`, with B the scattered array
    ``all-to-all``          :math:`B (g - 1) / g`
    ``collective-permute``  :math:`B`
    ======================  ===============================================================

    Args:
        text: The HLO of the program, from ``jax.stages.Compiled.as_text``.
        n_devices: Number of devices of the program.

    Returns:
        The kinds that occur, in the order of `KINDS`.

    Example:
        >>> communication(
        ...     "ENTRY %main (x: f32[4]) -> f32[8] {\n"
        ...     "  ROOT %g = f32[8] all-gather(%x), replica_groups=[1,2]<=[2], dimensions={0}\n"
        ...     "}", n_devices=2).collectives
        (Collective(kind='all-gather', number=1, n_bytes=16.0),)

    References:
        Patarasuk and Yuan (2009), Bandwidth optimal all-reduce algorithms for clusters of workstations, JPDC 69.
        https://doi.org/10.1016/j.jpdc.2008.09.002
    """
    bodies, entry = _computations(text)
    times, n_unknown = _executions(bodies, entry)
    totals = {kind: [0, 0.0] for kind in KINDS}
    for name, lines in bodies.items():
        for line in lines:
            if found := _COLLECTIVE.match(line):
                shapes, kind, start = found.groups()
                sizes = [_n_bytes(*shape) for shape in _ARRAY.findall(shapes)]
                group = _group_size(line, n_devices)
                totals[kind][0] += times[name]
                totals[kind][1] += times[name] * _sent(kind, _result(kind, sizes, bool(start)), group)
    kinds = tuple(Collective(kind, number, n_bytes) for kind, (number, n_bytes) in totals.items() if number)
    return Communication(kinds, n_unknown)


def n_loops(text: str) -> int:
    """Returns the number of loops in a program, whose bodies XLA's cost analysis counts once.

    Args:
        text: As for `communication`.

    Returns:
        The number of ``while`` instructions.

    Example:
        >>> n_loops("%w = (s32[], f32[4]) while(%t), condition=%c, body=%b")
        1
    """
    return len(re.findall(r"\bwhile\(", text))


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Returns the instructions of each computation, and the name of the first to run."""
    bodies: dict[str, list[str]] = {}
    entry = name = ""
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            name = found[2]
            bodies[name] = []
            entry = name if found[1] else entry
        elif name and line.startswith(" "):
            bodies[name].append(line.strip())
    return bodies, entry


def _executions(bodies: dict[str, list[str]], entry: str) -> tuple[dict[str, int], int]:
    """Returns how often each computation runs, and the number of loops of unknown length."""
    times, n_unknown = dict.fromkeys(bodies, 0), 0

    def visit(name: str, n: int) -> None:
        nonlocal n_unknown
        times[name] += n
        for line in bodies[name]:
            trips = 1
            if re.search(r"\bwhile\(", line):
                known = _n_passes(line, bodies)
                trips, n_unknown = known or 1, n_unknown + (known is None)
            for called in _called(line):
                if called in bodies:
                    visit(called, n * trips)

    visit(entry, 1)
    return times, n_unknown


def _n_passes(line: str, bodies: dict[str, list[str]]) -> int | None:
    """Returns how often a loop runs, as XLA notes it, or else by its condition; None if it is unknown."""
    if found := _TRIPS.search(line):
        return int(found[1])
    condition = re.search(r"\bcondition=%?([\w.-]+)", line)
    text = "\n".join(bodies.get(condition[1], ())) if condition else ""
    # The loops into which XLA for TPUs splits products count from 0 to a constant, and have no note.
    compared = re.search(r"^ROOT .* compare\([^,]*, (?:\S+ )?(%[\w.-]+)\), direction=LT", text, re.M)
    bound = compared and re.search(rf"^{re.escape(compared[1])} = \S+ constant\((\d+)\)", text, re.M)
    return int(bound[1]) if bound else None


def _called(line: str) -> Iterator[str]:
    """Yields the computations that an instruction runs."""
    yield from _CALLED.findall(line)
    for names in _BRANCHES.findall(line):
        yield from (name.strip().removeprefix("%") for name in names.split(","))


def _n_bytes(kind: str, shape: str) -> float:
    """Returns the bytes of an array such as ``bf16[8,128]``."""
    bits = 8 if kind == "pred" else int(re.sub(r"^[a-z]+(\d+).*", r"\1", kind))
    return math.prod(map(int, filter(None, shape.split(",")))) * bits / 8


def _result(kind: str, sizes: list[float], is_start: bool) -> float:
    """Returns the bytes of the result; some that start lead with their operands, and end with small handles."""
    if not is_start or kind in ("all-reduce", "reduce-scatter"):
        return sum(sizes)
    if kind == "collective-permute":
        return sizes[len(sizes) > 1]
    return sum(sizes[len(sizes) // 2 :])


def _group_size(line: str, n_devices: int) -> int:
    """Returns the number of devices that take part: ``{{0,1},{2,3}}``, ``[2,4]<=[8]``, or axes of a mesh."""
    if found := re.search(r"replica_groups=\{\{([\d,]*)\}", line):
        return found[1].count(",") + 1
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(found[1])
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\([^)]*\))? *\{([^}]*)\}", line):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", found[1]))
        return math.prod(int(sizes[name]) for name in re.findall(r"'([^']+)'", found[2]))
    return n_devices


def _sent(kind: str, n_bytes: float, group: int) -> float:
    """Returns the bytes that each device sends in a ring."""
    if kind == "collective-permute":
        return n_bytes
    return n_bytes * (group - 1) / (1 if kind == "reduce-scatter" else group) * (2 if kind == "all-reduce" else 1)
