"""Compile once, and warn if a program is recompiled."""

import dataclasses
import inspect
import re
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxresearch.execution import memory


class Grouping(NamedTuple):
    """The same function with fewer of its runs at a time, for a program that exceeds the memory of a device.

    ``n_runs`` is the number of runs on a device; ``function_of`` returns the function with a number of them at a time.
    """

    n_runs: int
    function_of: Callable[[int], Callable[..., Any]]


class RecompilationWarning(UserWarning):
    """A program was recompiled because the shape, type or a static field of an argument changed."""


class CompiledFunction:
    """A jitted function that measures its compile time and warns if it is recompiled.

    Attributes:
        seconds: Time spent compiling so far.
        n_compilations: Programs compiled so far.

    Args:
        fun: A pure function of positional arguments.
        donate_argnums: Arguments whose memory the result may reuse; they must not be read afterwards.
        grouping: How to save memory where the device reports its size. The function is compiled as it is first, and again only
            if it does not fit.

    Example:
        >>> import warnings, jax.numpy as jnp
        >>> double = CompiledFunction(lambda values: 2 * values)
        >>> double(jnp.ones(2)).tolist(), double(jnp.ones(2)).tolist(), double.n_compilations
        ([2.0, 2.0], [2.0, 2.0], 1)
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     _ = double(jnp.ones(3))
        >>> print(caught[0].message)
        <lambda> was recompiled: values changed from float32[2] to float32[3].
    """

    def __init__(
        self, fun: Callable[..., Any], *, donate_argnums: tuple[int, ...] = (), grouping: Grouping | None = None
    ):
        self.seconds = 0.0
        self.n_compilations = 0
        self._name = getattr(fun, "__name__", "a function")
        parameters = inspect.signature(fun).parameters.values()
        self._arguments = tuple(one.name for one in parameters if one.kind != inspect.Parameter.KEYWORD_ONLY)
        self._fun, self._donated, self._grouping = fun, donate_argnums, grouping
        self._programs: dict[Any, Callable[..., Any]] = {}
        self._first: dict[str, str] = {}

    def __call__(self, *args: Any) -> Any:
        """Returns ``fun(*args)``, compiled at the first call with these shapes and types."""
        signature = _signature(self._arguments, args)
        key = tuple(signature.items())
        if key not in self._programs:
            self._programs[key] = self._compile(signature, args)
        return self._programs[key](*args)

    def _compile(self, signature: dict[str, str], args: tuple) -> Callable[..., Any]:
        """Returns the program for these arguments; warns if it is not the first."""
        if self._first:
            message = f"{self._name} was recompiled: {_difference(self._first, signature)}."
            warnings.warn(message, RecompilationWarning, stacklevel=3)
        self._first = self._first or signature
        start = time.perf_counter()
        try:
            return self._fitting(args)
        finally:
            self.seconds += time.perf_counter() - start

    def _fitting(self, args: tuple) -> Callable[..., Any]:
        """Returns the program with as many runs at a time as fit into the memory of a device, or with one."""
        available = None if self._grouping is None else memory.limit()
        if self._grouping is None or available is None:
            return self._program(self._fun, args)
        n_runs = at_once = self._grouping.n_runs
        fun = self._fun
        while at_once > 1:
            program = self._program_or_none(fun, args)
            needed, temporary = memory.bytes_of(program) if program else (2 * available, 2 * available)  # unknown
            if program is not None and needed <= available:
                return program
            at_once = memory.fewer(n_runs, at_once, needed=needed, temporary=temporary, available=available)
            fun = self._grouping.function_of(at_once)
        return self._program(fun, args)

    def _program_or_none(self, fun: Callable[..., Any], args: tuple) -> Any:
        """Returns a function compiled for these arguments; None if the compiler finds that it exceeds the memory."""
        try:
            return self._program(fun, args)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" in str(error):
                return None
            raise

    def _program(self, fun: Callable[..., Any], args: tuple) -> Any:
        """Returns a function compiled for these arguments."""
        lowered = jax.jit(fun, donate_argnums=self._donated).lower(*args)
        program = lowered.compile(compiler_options(lowered))
        self.n_compilations += 1
        return program


def compiler_options(program: jax.stages.Lowered | None = None) -> dict[str, Any]:
    """Returns the XLA options that the toolkit compiles with; pass them to your own programs.

    On a CPU: the widest vectors of the machine (XLA prefers 256 bits because old processors slowed down with wider ones;
    with 512, Adam's update takes two thirds of the time), and LLVM's optimization level 2 (level 3 compiles for half as
    long again and speeds up nothing here: benchmarks/README.md).

    With vectors of 512 bits, releases of JAX before 0.12 compute wrong values of ``jnp.arctan`` and of ``jnp.arctan2(x, 1)``,
    off by up to two radians. There, only a program that is known to be without it gets them.

    Args:
        program: A lowered program to compile. Without one, the options are safe for any program.

    Returns:
        Options by name; none for accelerators.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> lowered = jax.jit(jnp.sqrt).lower(4.0)
        >>> lowered.compile(compiler_options(lowered))(4.0).item()
        2.0
    """
    if jax.default_backend() != "cpu":
        return {}
    options: dict[str, Any] = {"xla_cpu_prefer_vector_width": 512, "xla_backend_optimization_level": 2}
    if jax.__version_info__ < (0, 12):
        options["xla_cpu_use_fusion_emitters"] = True  # the default, and no option of later ones; tests are without it
        if program is None or _has_arctan(program):
            options["xla_cpu_prefer_vector_width"] = 256
    return options


def _has_arctan(program: jax.stages.Lowered) -> bool:
    """Returns whether a program computes ``jnp.arctan`` or ``jnp.arctan2`` anywhere (jax-ml/jax#39352)."""
    module: Any = program.compiler_ir("stablehlo")
    text = module.operation.get_asm(large_elements_limit=16)
    return re.search(r"chlo\.atan\b|stablehlo\.atan2\b", text) is not None


def _signature(names: tuple[str, ...], args: tuple) -> dict[str, str]:
    """Returns what a program is compiled for: the type of each array and each static field, by its path."""
    signature = {}
    for name, arg in zip(names, args, strict=True):
        leaves, treedef = jax.tree_util.tree_flatten_with_path(arg)
        for path, leaf in leaves:
            signature[name + jax.tree_util.keystr(path)] = _type(leaf)
        if dataclasses.is_dataclass(arg):
            for field in dataclasses.fields(arg):
                if field.metadata.get("static"):
                    signature[f"{name}.{field.name}"] = repr(getattr(arg, field.name))
        else:
            signature[f"the structure of {name}"] = str(treedef)
    return signature


def _type(leaf: Any) -> str:
    """Returns the type of an array as JAX writes it; Python numbers are weakly typed."""
    aval = jax.typeof(leaf) if isinstance(leaf, jax.Array | np.ndarray) else jax.typeof(jnp.asarray(leaf))
    weak = not isinstance(leaf, jax.Array | np.ndarray) or getattr(leaf, "weak_type", False)
    return f"{aval.str_short()}{' (weak)' if weak else ''}"


def _difference(before: dict[str, str], now: dict[str, str]) -> str:
    """Returns the first argument that changed, with both types."""
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            return f"{name} changed from {before.get(name, 'nothing')} to {now.get(name, 'nothing')}"
    return "an argument changed"
