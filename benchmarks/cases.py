"""The cases: what is compared, and the bound that each ratio should meet."""

import lzma
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import ROOT, Program, ProgramFailed, in_turn, python


@dataclass(frozen=True)
class Row:
    """One row of the table: a metric's values over the pairs, and the bound that their median should meet."""

    case: str
    what: str
    values: tuple[float, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def median(self) -> float | None:
        """Returns the median, or None if nothing was measured."""
        return statistics.median(self.values) if self.values else None

    @property
    def holds(self) -> bool | None:
        """Returns whether the median meets its bound; None without a bound or a value."""
        if self.median is None or (self.at_least is None and self.at_most is None):
            return None
        return (self.at_least is None or self.median >= self.at_least) and (
            self.at_most is None or self.median <= self.at_most
        )


def command(*words: str, cache: str | None = None) -> Program:
    """Returns a run of the main job from the command line, with its directory in the program's folder."""
    jaxresearch = str(Path(sys.executable).with_name("jaxresearch"))
    name = f"jaxresearch {' '.join(words)}{' (warm)' if cache else ''}"
    return Program(name, (jaxresearch, "run", "mnist", "--directory", "{folder}/run", *words), cache=cache)


def peers(seeds: int) -> dict[str, Program]:
    """Returns the peers' programs for the main job."""
    data, count = str(mnist_file()), str(seeds)
    keras = python("keras_mnist", data, "--seeds", count)
    return {
        "Keras on TensorFlow": Program("Keras on TensorFlow", keras, {"KERAS_BACKEND": "tensorflow"}),
        "PyTorch": Program("PyTorch", python("torch_mnist", data, "--seeds", count)),
        "Keras on JAX": Program("Keras on JAX", keras, {"KERAS_BACKEND": "jax"}),
    }


def mnist_one(pairs: int) -> Iterator[Row]:
    """Compares one seed of the main job with each peer: training alone, and whole processes with a cold and a warm cache."""
    least = {"Keras on TensorFlow": (10, 5), "PyTorch": (5, None), "Keras on JAX": (3, None)}
    yield from _against("mnist-one", command("--seeds", "1"), peers(1), least, pairs)
    warm = command("--seeds", "1", cache="one")
    warm.measure()  # fills the cache
    tensorflow = peers(1)["Keras on TensorFlow"]
    yield from _ratios("mnist-one", warm, tensorflow, pairs, (("process_seconds", "process, warm cache", 7),))
    cold = command("--seeds", "1")
    measured = in_turn(warm, cold, pairs=pairs)

    def first_step(figures: dict[str, Any]) -> float:
        after = figures["train_seconds"] + figures["evaluate_seconds"]
        return figures["process_seconds"] - after

    ratios = tuple(first_step(slow) / first_step(fast) for fast, slow in measured)
    yield Row("mnist-one", "process without training: cold / warm", ratios, at_least=3)
    ratios = tuple(slow["compile_seconds"] / fast["compile_seconds"] for fast, slow in measured)
    yield Row("mnist-one", "compilation: cold / warm", ratios)


def mnist_ten(pairs: int) -> Iterator[Row]:
    """Compares ten seeds of the main job with ten runs of each peer in one process."""
    least = {"Keras on TensorFlow": (16, None), "PyTorch": (7, None), "Keras on JAX": (5, None)}
    yield from _against("mnist-ten", command("--seeds", "10", cache="ten"), peers(10), least, pairs)


def share(pairs: int) -> Iterator[Row]:
    """Measures the fraction of the machine's best matrix-product rate that ten seeds reach, and the time of each part."""
    measured = [Program("share", python("share")).measure() for _ in range(pairs)]
    yield Row("share", "rate / best matrix product", _each(measured, "share"), at_least=0.7)
    for name in ("whole", "arithmetic", "products", "adam", "gather"):
        yield Row("share", f"{name}, us per sample", _each(measured, f"{name}_us"))


def learning_rates(pairs: int) -> Iterator[Row]:
    """Compares a sweep of 64 learning rates with the same runs one after another, and in a process each."""
    ours = Program("sweep", python("learning_rates", "sweep"))
    for how, what, least in (("loop", "one after another", 1.5), ("processes", "64 processes", 5)):
        other = Program(how, python("learning_rates", how), cache="rates" if how == "processes" else None)
        yield from _ratios("learning-rates", ours, other, pairs, (("sweep_seconds", what, least),))


def shell(pairs: int) -> Iterator[Row]:
    """Measures the time that progress, metrics and records add to a bare compiled run."""
    measured = [Program("shell", python("shell")).measure() for _ in range(pairs)]
    yield Row("shell", "overhead / bare run", _each(measured, "overhead"), at_most=0.03)


INFLUENCE_SIZES = ((250, 64), (1000, 64), (4000, 64), (1000, 256), (1000, 1024))  # steps and width
SIZES = {
    "examples": (3_200, 6_400, 12_800, 25_600, 51_200),
    "seeds": (1, 2, 4, 8, 16, 32, 64),
    "width": (32, 64, 128, 256, 512, 1024, 2048, 4096),
}


def growth(pairs: int) -> Iterator[Row]:
    """Fits the log-log slope of seconds and bytes against each size: 1 is proportional to the work."""
    for axis, sizes in SIZES.items():
        slopes: dict[str, list[float]] = {"seconds": [], "megabytes": []}
        for _ in range(pairs):
            measured = [Program(axis, python("growth", axis, str(size))).measure() for size in sizes]
            for name, fitted in slopes.items():
                fitted.append(float(np.polyfit(np.log(sizes), np.log(_each(measured, name)), 1)[0]))
        for name, fitted in slopes.items():
            yield Row("growth", f"slope of {name} against {axis}", tuple(fitted), at_most=1.05)


def start_up(pairs: int) -> Iterator[Row]:
    """Times help, and the import of the core against that of JAX and Optax."""
    jaxresearch = str(Path(sys.executable).with_name("jaxresearch"))
    help_ = Program("help", (jaxresearch, "--help"), reports=False)
    core = "import jaxresearch.training, jaxresearch.sweeps, jaxresearch.experiment"
    ours = Program("core", (sys.executable, "-c", core), reports=False)
    theirs = Program("jax and optax", (sys.executable, "-c", "import jax, optax"), reports=False)
    seconds = _each([help_.measure() for _ in range(pairs)], "process_seconds")
    yield Row("start-up", "help, seconds", seconds, at_most=0.5)
    measured = in_turn(ours, theirs, pairs=pairs)
    ratios = tuple(one["process_seconds"] / other["process_seconds"] for one, other in measured)
    yield Row("start-up", "import of the core / import of jax and optax", ratios, at_most=1.2)


def decoder(pairs: int) -> Iterator[Row]:
    """Compares a small language model with PyTorch's: tokens per second, and final losses."""
    text = str(text_file())
    ours, peer = (Program(name, python(name, text)) for name in ("decoder", "torch_decoder"))
    try:
        measured = in_turn(ours, peer, pairs=pairs)
    except (ProgramFailed, OSError) as error:
        yield Row("decoder", "training, ours and PyTorch's", note=f"failed: {error}"[:160])
        return
    sides = list(zip(*measured, strict=True))
    mine, theirs = (statistics.median(_each(side, "step_ms")) for side in sides)
    ratios = tuple(one["tokens_per_second"] / other["tokens_per_second"] for one, other in measured)
    yield Row("decoder", "PyTorch: training", ratios, at_least=1.2, note=f"{theirs:.3g} / {mine:.3g} ms per step")
    for figure, what in (("train_loss", "last 100 steps"), ("validation_loss", "validation")):
        for name, side in zip(("ours", "PyTorch's"), sides, strict=True):
            yield Row("decoder", f"loss, {what}, {name}, nats", _each(side, figure))


def streaming(pairs: int) -> Iterator[Row]:
    """Compares the main job streamed from disk with the same in memory, and with other loaders that feed its step."""
    file = str(mnist_file())
    words = ("--seeds", "1", "--data", file)
    streamed = command(*words, "--stream", cache="streamed")
    resident = command(*words, cache="resident")
    yield from _ratios("streaming", streamed, resident, pairs, (("train_us", "in memory: training", 0.95),))
    for loader in ("grain", "tf.data"):
        peer = Program(loader, python("loaders", loader, file))
        yield from _ratios("streaming", streamed, peer, pairs, (("train_us", f"{loader}: training", 1),))


def processes(pairs: int) -> Iterator[Row]:
    """Measures the rate of joined processes, on a core each, relative to that of as many independent ones together."""
    text = str(text_file())
    of_work = (
        ("sweep", "sweep", 0.94),
        ("large", "decoder, 32 windows of 128, one sum per step", 0.85),
        ("nano", "decoder, 12 windows of 64, one sum per step", None),
        ("decoder", "decoder, 12 windows of 64", None),
    )
    for work, name, least in of_work:
        for n in (1, 2):
            what, bound = f"{name}: {n} joined / independent", least if n > 1 else None
            ours, others = (
                Program(how, python("processes", work, how, str(n), text)) for how in ("joined", "independent")
            )
            try:
                measured = in_turn(ours, others, pairs=pairs)
            except (ProgramFailed, OSError) as error:
                yield Row("processes", what, note=f"failed: {error}"[:160])
                continue
            sides = [_each(list(side), "examples_per_second") for side in zip(*measured, strict=True)]
            ratios = tuple(one / other for one, other in zip(*sides, strict=True))
            mine, theirs = (statistics.median(side) for side in sides)
            yield Row("processes", what, ratios, bound, note=f"{theirs:.4g} / {mine:.4g} examples per second")
            if n > 1 and work == "large":
                waiting = _each([other for _, other in measured], "in_step")
                ratios = tuple(one / other for one, other in zip(waiting, sides[1], strict=True))
                yield Row(
                    "processes", f"{name}: {n} independent, if each waited for the slower after every step", ratios
                )


def private(pairs: int) -> Iterator[Row]:
    """Compares private training with the same without privacy, and with each mode of Opacus."""
    alone = Program("ours", python("private", "mlp", str(mnist_file()), "--plain"))
    measured = [alone.measure() for _ in range(pairs)]
    ratios = tuple((one["step_ms"] - one["noise_ms"]) / one["plain_ms"] for one in measured)
    times = " / ".join(f"{statistics.median(_each(measured, f'{name}_ms')):.3g}" for name in ("step", "noise", "plain"))
    what = "mlp: (private - noise by threefry2x32) / without privacy"
    yield Row("private", what, ratios, at_most=2, note=f"{times} ms per step: private / noise / without")
    for work, n_steps, modes, least in (
        ("mlp", "100", ("hooks", "functorch", "ghost"), 10),
        ("cnn", "20", ("hooks", "functorch", "ghost"), 5),
        ("decoder", "10", ("hooks", "functorch"), 3),
    ):
        data = str(text_file() if work == "decoder" else mnist_file())
        ours = Program("ours", python("private", work, data, "--steps", n_steps, "--chunk", "5"))
        for mode in modes:
            peer = Program(f"Opacus {mode}", python("opacus_private", work, data, "--steps", n_steps, "--mode", mode))
            yield from _ratios("private", ours, peer, pairs, (("step_ms", f"{work}: Opacus, {mode}", least),))


EXPLAINED = {  # method: what is compared, bound
    "integrated": ("integrated gradients, 1,000 images, 64 steps", 6),
    "shapley": ("Shapley sampling, 1,000 rows, 20 columns, 100 permutations", 5),
    "occlusion": ("occlusion, 1,000 images, 169 windows", 5),
}


def explain(pairs: int) -> Iterator[Row]:
    """Compares attributions with Captum's, of the same network and images; the totals beside it are equal if both are right."""
    file = str(network_file())
    for method, (what, least) in EXPLAINED.items():
        ours, peer = (Program(name, python(name, file, method)) for name in ("explain", "captum_explain"))
        try:
            measured = in_turn(ours, peer, pairs=pairs)
        except (ProgramFailed, OSError) as error:
            yield Row("explain", what, note=f"failed: {error}"[:160])
            continue
        mine, theirs = ([pair[side] for pair in measured] for side in (0, 1))
        ratios = tuple(b["attribute_seconds"] / a["attribute_seconds"] for a, b in measured)
        seconds = " / ".join(f"{statistics.median(_each(side, 'attribute_seconds')):.3g}" for side in (theirs, mine))
        totals = " / ".join(f"{side[0]['total']:.5g}" for side in (theirs, mine))
        yield Row("explain", what, ratios, least, note=f"{seconds} seconds; total {totals}")


def influence(pairs: int) -> Iterator[Row]:
    """Measures exact influence of two test examples against the steps of the run and the width of its network."""
    for steps, width in INFLUENCE_SIZES:
        words = ("--steps", str(steps), "--width", str(width))
        measured = [Program("influence", python("influence", *words)).measure() for _ in range(pairs)]
        size = f"{steps:,} steps, {measured[0]['parameters']:,} parameters"
        yield Row("influence", f"MiB that it adds, {size}", _each(measured, "added_megabytes"))
        yield Row("influence", f"peak MiB, {size}", _each(measured, "peak_megabytes"))
        yield Row("influence", f"CPU seconds, {size}", _each(measured, "cpu_seconds"))


CASES: dict[str, Callable[[int], Iterator[Row]]] = {
    "mnist-one": mnist_one,
    "mnist-ten": mnist_ten,
    "share": share,
    "learning-rates": learning_rates,
    "shell": shell,
    "growth": growth,
    "start-up": start_up,
    "decoder": decoder,
    "streaming": streaming,
    "processes": processes,
    "private": private,
    "explain": explain,
    "influence": influence,
}


def _against(
    case: str, ours: Program, others: dict[str, Program], least: dict[str, tuple], pairs: int
) -> Iterator[Row]:
    """Compares ours with each peer: training without compiling, and whole processes."""
    for name, peer in others.items():
        training, process = least[name]
        figures = (("train_us", f"{name}: training", training), ("process_seconds", f"{name}: process", process))
        yield from _ratios(case, ours, peer, pairs, figures)


def _ratios(case: str, ours: Program, peer: Program, pairs: int, figures: tuple) -> Iterator[Row]:
    """Yields the ratio peer / ours of each metric, with the accuracies beside it, or the reason why there is none."""
    try:
        measured = in_turn(ours, peer, pairs=pairs)
    except (ProgramFailed, OSError) as error:
        yield from (Row(case, what, note=f"failed: {error}"[:160]) for _, what, _ in figures)
        return
    for figure, what, least in figures:
        mine, theirs = (statistics.median(pair[side][figure] for pair in measured) for side in (0, 1))
        accuracy = tuple(np.mean(pair[side]["accuracy"]) for pair in measured[:1] for side in (0, 1))
        note = f"{theirs:.3g} / {mine:.3g}; accuracy {accuracy[1]:.4f} / {accuracy[0]:.4f}"
        yield Row(case, what, tuple(other[figure] / one[figure] for one, other in measured), least, note=note)


def _each(measured: list[dict[str, Any]], name: str) -> tuple[float, ...]:
    """Returns one metric of each process."""
    return tuple(figures[name] for figures in measured)


def text_file() -> Path:
    """Returns the definitions of the gene ontology as character indices, with the last tenth for validation."""

    def arrays():
        bundled = ROOT / "jaxresearch" / "data" / "archives" / "gene_ontology" / "go_definitions.tsv.xz"
        rows = lzma.decompress(bundled.read_bytes()).decode().splitlines()[1:]
        letters = np.array(list("\n".join(row.split("\t")[-1] for row in rows)))
        alphabet, numbers = np.unique(letters, return_inverse=True)
        train, validation = np.split(numbers.astype(np.uint8), [len(numbers) * 9 // 10])
        return {"train": train, "validation": validation, "n_tokens": len(alphabet)}

    return _written_once("jaxresearch-bench-definitions.npz", arrays)


def network_file() -> Path:
    """Returns the images of `mnist_file` with the weights of a network that was trained on them for two epochs."""

    def arrays():
        import jax
        import optax

        from jaxresearch import losses, models, training

        with np.load(mnist_file()) as file:
            arrays = {name: file[name] for name in file.files}
        data = {"inputs": arrays["x_train"][..., None], "targets": arrays["y_train"].astype(np.int32)}
        loss = losses.softmax_cross_entropy_with_integer_labels
        algorithm = training.supervised(models.mlp(784, (128,), 10), loss, optimizer=optax.adam(1e-3), metrics={})
        run = jax.jit(
            lambda data: training.run(jax.random.key(0), data, algorithm=algorithm, plan=training.Plan(100, 1200))
        )
        params = run(jax.tree.map(jax.numpy.asarray, data))[0].params
        layers = [params[f"Dense_{i}"] for i in range(2)]
        weights = {f"kernel_{i}": np.asarray(layer["kernel"]) for i, layer in enumerate(layers)}
        return {**arrays, **weights, **{f"bias_{i}": np.asarray(layer["bias"]) for i, layer in enumerate(layers)}}

    return _written_once("jaxresearch-bench-network.npz", arrays)


def mnist_file() -> Path:
    """Returns the file that Keras would have downloaded, written from the bundled archives."""

    def arrays():
        from jaxresearch import data

        mnist = data.load("mnist")
        return {
            f"{short}_{part}": getattr(mnist, part)[name].squeeze().astype(np.uint8)
            for part in ("train", "test")
            for short, name in (("x", "inputs"), ("y", "targets"))
        }

    return _written_once("jaxresearch-bench-mnist.npz", arrays)


def _written_once(name: str, arrays: Callable[[], dict[str, Any]]) -> Path:
    """Returns a file of arrays in the temporary folder, which appears there only once it is complete."""
    path = Path(tempfile.gettempdir()) / name
    if not path.is_file():
        part = path.with_name(f"{os.getpid()}-{name}")
        np.savez(part, **arrays())
        part.replace(path)
    return path
