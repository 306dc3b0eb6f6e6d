"""The cores of a CPU as devices."""

import os
import re

import jax

_N_WAITING = 8  # collectives of a device at a time; a decoder over runs and fsdp has more than one


def split_cpu(n_devices: int | None = None) -> int:
    """Make each CPU core a device, so that a sweep uses all of them; call it before creating any array.

    Accelerators are not affected. A number that the user has set is kept: ``jax_num_cpu_devices`` of `jax.config`, the
    environment variable ``JAX_NUM_CPU_DEVICES``, or ``XLA_FLAGS=--xla_force_host_platform_device_count=N``.

    Args:
        n_devices: Number of CPU devices; by default the number that is set, else one per core. The last digits of results
            depend on it: to reproduce a run bit for bit, use the same number, whatever the number of cores.

    Returns:
        The number of CPU devices.

    Raises:
        RuntimeError: If JAX is already initialised with a different number of CPU devices.

    Example:
        At the start of a program on a machine with eight cores:

        >>> from jaxresearch import devices
        >>> devices.split_cpu()  # doctest: +SKIP
        8
    """
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n = n_devices or _chosen() or n_cores
    if _chosen() != n:
        jax.config.update("jax_num_cpu_devices", n)
    return n


def let_wait() -> None:
    """Give XLA enough threads for the collectives of virtual devices; call it before creating any array.

    Several collectives of a device wait for the other devices at a time, each on a thread of XLA's pool. With XLA's one thread
    per device, some never start. More threads than devices slow down programs without collectives, so a sweep without a mesh has
    none. A number in the environment variable ``PJRT_NPROC`` is kept.

    Example:
        >>> let_wait()
    """
    n_devices = _chosen() or 1
    if n_devices > 1:
        os.environ.setdefault("PJRT_NPROC", str(_N_WAITING * n_devices))


def _chosen() -> int | None:
    """Returns the number of CPU devices that the user or `split_cpu` has set, if any."""
    n_set = jax.config.values["jax_num_cpu_devices"]
    return n_set if n_set > 0 else _forced_cpu_devices()


def _forced_cpu_devices() -> int | None:
    """Returns the number of CPU devices in ``XLA_FLAGS``, of which the last one counts; None without it."""
    found = re.findall(r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    return int(found[-1]) if found else None
