"""Guarantees and speed on the accelerator of this machine: ``python -m benchmarks.accelerator``.

Takes ten minutes at most and needs no network. First it checks the guarantees that the tests verify on a CPU. Then it times
MNIST with 1, 10 and 64 seeds and two transformers, beside PyTorch on the same work if that is installed. It prints a table,
and rewrites a JSON file after every row, so that an interrupted run keeps its results. Without an accelerator it prints a
notice and runs a few steps of everything on the CPU.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.cases import mnist_file, text_file
from benchmarks.measuring import ROOT, Program, ProgramFailed, machine, python

RESULTS = Path(__file__).parent / "results" / "accelerator.json"


@dataclasses.dataclass(frozen=True)
class Seen:
    """One row of the table: a guarantee and whether it holds, or a measurement and its ratio to the peer's."""

    part: str
    what: str
    holds: bool | None = None
    seen: str = ""
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)


def main() -> int:
    """Returns the exit code: 1 if a guarantee does not hold, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--part", action="append", choices=tuple(PARTS), help="run this part only; may be repeated (default: all)"
    )
    parser.add_argument("--smoke", action="store_true", help="run a few steps of everything, even on an accelerator")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file to write (default: %(default)s)")
    arguments = parser.parse_args()
    console, platform, device = Console(), *accelerator()
    if platform == "cpu":
        console.print("no accelerator found: running a few steps of everything on the CPU; the timings are meaningless")
    smoke = arguments.smoke or platform == "cpu"
    record = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "machine": machine(),
        "smoke": smoke,
    }
    rows: list[Seen] = []
    table = Table("part", "check", "", "result", title=device)
    for part in arguments.part or PARTS:
        for row in measured(part, smoke, platform):
            rows.append(row)
            mark = {True: "holds", False: "fails", None: ""}[row.holds]
            table.add_row(row.part, row.what, mark, row.seen)
            print(f"{row.part}: {row.what}: {mark} {row.seen}", flush=True)
            write(arguments.out, {**record, "rows": [dataclasses.asdict(row) for row in rows]})
    console.print(table)
    console.print(f"written to {arguments.out}")
    return int(any(row.holds is False for row in rows))


def accelerator() -> tuple[str, str]:
    """Returns the platform and kind of JAX's first device, queried in a process of its own, which frees the device's memory."""
    query = "import jax; device = jax.devices()[0]; print(device.platform, device.device_kind, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", query], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"JAX finds no device: {(done.stderr.splitlines() or ['no message'])[-1]}")
    platform, kind = done.stdout.splitlines()[-2:]
    return platform, kind


def measured(part: str, smoke: bool, platform: str) -> Iterator[Seen]:
    """Yields the rows of a part; if a program fails, a row reports it and the next part still runs."""
    try:
        yield from PARTS[part](smoke, platform)
    except (ProgramFailed, OSError) as error:
        yield Seen(part, "not measured", False, f"{error}"[:300])


def promises(smoke: bool, platform: str) -> Iterator[Seen]:
    """Yields a row for each guarantee."""
    figures = Program("promises", python("promises", str(mnist_file()), *(["--smoke"] if smoke else []))).measure()
    for row in figures["promises"]:
        yield Seen("promises", row["promise"], row["holds"], row["seen"])


def mnist(smoke: bool, platform: str) -> Iterator[Seen]:
    """Yields the time of the main job with 1, 10 and 64 seeds, and its ratio to PyTorch's, which runs one seed after another."""
    fewer = ["--train-examples", "3200", "--epochs", "1"] if smoke else []
    peers = {}
    if has_torch() and not smoke:
        device = ["--device", "cuda" if platform in ("gpu", "cuda") else "cpu"]
        words = python("torch_mnist", str(mnist_file()), *device, "--fused")
        for name, more in (("eager", []), ("a CUDA graph", ["--graph"])):
            try:
                peers[name] = Program("torch", (*words, *more)).measure()
            except ProgramFailed as error:
                yield Seen("mnist", f"PyTorch, {name}", None, f"failed: {error}"[:300])
    for name, figures in peers.items():
        seen = f"{figures['train_us']:.3f} us per sample, accuracy {figures['accuracy'][0]:.4f}"
        yield Seen("mnist", f"PyTorch, {name}", None, seen, figures)
    for n_seeds in (1, 2) if smoke else (1, 10, 64):
        words = (
            sys.executable,
            "-m",
            "jaxresearch",
            "run",
            "mnist",
            "--directory",
            "{folder}/run",
            "--seeds",
            str(n_seeds),
        )
        figures = Program("ours", (*words, *fewer)).measure()
        seen = f"{figures['train_us']:.3f} us per sample and seed, {figures['train_seconds']:.2f} s in all"
        seen += f", accuracy {sum(figures['accuracy']) / n_seeds:.4f}"
        for name, peer in peers.items():
            seen += f"; {name} / ours {peer['train_us'] / figures['train_us']:.1f}"
        yield Seen("mnist", f"{n_seeds} seeds", None, seen, figures)


def decoders(smoke: bool, platform: str) -> Iterator[Seen]:
    """Yields tokens per second of two transformers in bfloat16, and their ratio to PyTorch's, eager and compiled."""
    steps = {"cpu": 4} if smoke else {"gpt2": 60, "gpu": 400}
    for size, n_steps in steps.items():
        words = ["--size", size, "--steps", str(n_steps), "--chunk", str(max(n_steps // 4, 1)), "--bfloat16"]
        ours = Program("ours", python("decoder", str(text_file()), *words)).measure()
        yield Seen("decoder", f"{size}, ours", None, of_decoder(ours), ours)
        if not has_torch() or platform not in ("gpu", "cuda") or smoke:
            continue
        for name, more in (("eager", []), ("compiled", ["--compiled"])):
            peer = Program("torch", python("torch_decoder", str(text_file()), *words, "--device", "cuda", *more))
            try:
                theirs = peer.measure()
            except ProgramFailed as error:
                yield Seen("decoder", f"{size}, PyTorch, {name}", None, f"failed: {error}"[:300])
                continue
            seen = f"{of_decoder(theirs)}; PyTorch / ours {theirs['step_ms'] / ours['step_ms']:.2f}"
            yield Seen("decoder", f"{size}, PyTorch, {name}", None, seen, theirs)


def of_decoder(figures: dict[str, Any]) -> str:
    """Returns a decoder's measurements as text."""
    return (
        f"{figures['step_ms']:.2f} ms per step, {figures['tokens_per_second']:.3g} tokens/s, "
        f"loss {figures['train_loss']:.3f}, validation {figures['validation_loss']:.3f}"
    )


def has_torch() -> bool:
    """Returns whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def write(path: Path, record: dict[str, Any]) -> None:
    """Replaces the record in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(record, file, indent=1)
    os.replace(file.name, path)


PARTS = {"promises": promises, "mnist": mnist, "decoder": decoders}

if __name__ == "__main__":
    os.chdir(ROOT)
    raise SystemExit(main())
