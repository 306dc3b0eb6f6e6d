"""Devices of TPU slices that this machine lacks, for which libtpu can compile."""

import importlib.util
import os
from typing import Any

from jax.experimental import topologies

_NO_TPU = {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "TPU_ACCELERATOR_TYPE": "v5litepod-1"}


def tpu_devices(topology: str) -> list[Any]:
    """Returns the devices of a TPU slice that this machine lacks, for which libtpu can still compile.

    Args:
        topology: The kind of chip and the shape of the slice, such as ``"v5e:4x4"`` or ``"v5p:2x2x1"``.

    Returns:
        Descriptions of devices, for `jaxresearch.devices.mesh_over`. Nothing can run on them.

    Raises:
        ValueError: If libtpu is not installed, or knows no such topology.

    Example:
        >>> tpu_devices("v5e:4x4")[0].device_kind  # doctest: +SKIP
        'TPU v5 lite'
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError("topology needs libtpu, got none. Install the extra tpu: pip install 'jaxresearch[tpu]'")
    # Otherwise libtpu asks the network which TPU this machine has, and complains on standard error.
    for name, value in _NO_TPU.items():
        os.environ.setdefault(name, value)
    # By default, a description of v4 has two devices per chip, which JAX refuses in a mesh.
    config = {"chip_config_name": "megacore"} if topology.startswith("v4") else {}
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology, **config).devices)
    except Exception as error:  # of the plugin
        reason = " ".join(str(error).split())
        raise ValueError(
            f"topology must be one that libtpu knows, got {topology!r} ({reason}). Write: v5e:4x4"
        ) from error
