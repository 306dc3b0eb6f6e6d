"""The cores of a CPU as devices."""

import os
import re

import jax


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
    n_set = jax.config.values["jax_num_cpu_devices"]
    n_forced = _forced_cpu_devices()
    n = n_devices or (n_set if n_set > 0 else n_forced or n_cores)
    if n_set != n and (n_set > 0 or n_forced != n):
        jax.config.update("jax_num_cpu_devices", n)
    return n


def _forced_cpu_devices() -> int | None:
    """Returns the number of CPU devices in ``XLA_FLAGS``, of which the last one counts; None without it."""
    found = re.findall(r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    return int(found[-1]) if found else None
