"""``jaxresearch summary``: the arrays of a training state and the work of a step, without training."""

from rich.table import Table

from jaxresearch.cli import display
from jaxresearch.cli.session import configure, one_line, untrained
from jaxresearch.scale import plan as plans
from jaxresearch.scale import summary as summaries
from jaxresearch.scale.summary import Summary

_UNITS = ("TiB", "GiB", "MiB", "KiB")


def summary(name: str, words: list[str]) -> int:
    """Carries out ``jaxresearch summary NAME WORDS...``; returns the exit code."""
    configure()
    with one_line(name, code=2):
        options, job = untrained("summary", name, words)
        of_job = job.experiment, options.hyperparameters, job.dataset
        sizes = summaries.summary(*of_job)
        cost = plans.step_cost(*of_job)
    console = display.console()
    console.print(_table(sizes))
    for line in totals(sizes):
        print(line)
    print(f"FLOPs per step: {cost.flops:.4g}, as XLA counts them in the compiled step{note_on_loops(cost.n_loops)}")
    return 0


def _table(sizes: Summary) -> Table:
    """Returns one row for each array."""
    table = Table(box=None, pad_edge=False)
    table.add_column("array", overflow="fold")
    table.add_column("shape")
    table.add_column("type")
    for name in ("entries", "bytes"):
        table.add_column(name, justify="right")
    for array in sizes.arrays:
        shape = " x ".join(map(str, array.shape)) or "scalar"
        table.add_row(array.path or "state", shape, array.dtype, f"{array.n:,}", f"{array.n_bytes:,}")
    return table


def totals(sizes: Summary) -> list[str]:
    """Returns the parameters, and the bytes of each part of a state, as lines."""
    parts = [f"{part} {size_text(total.n_bytes)}" for part, total in sizes.totals.items()]
    return [f"parameters: {sizes.n_parameters:,}", f"state: {size_text(sizes.n_bytes)} ({', '.join(parts)})"]


def note_on_loops(n: int) -> str:
    """Returns the reservation about the work in loops."""
    return f"; the work in {'a loop' if n == 1 else f'{n} loops'} counts once" if n else ""


def size_text(n_bytes: int | float) -> str:
    """Returns bytes in the largest binary unit in which they are at least one.

    Example:
        >>> size_text(3 * 2**29), size_text(12), size_text(0)
        ('1.50 GiB', '12 bytes', '0 bytes')
    """
    for place, unit in enumerate(_UNITS):
        scaled = n_bytes / 2 ** (10 * (len(_UNITS) - place))
        if scaled >= 1:
            return f"{scaled:,.2f} {unit}"
    return f"{n_bytes:,.0f} bytes"
