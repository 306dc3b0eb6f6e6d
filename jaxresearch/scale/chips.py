"""Chips by name, with the peaks of their vendors' data sheets, and the time that a step takes at these peaks."""

from typing import Literal, NamedTuple

ChipName = Literal["v4", "v5e", "v5p", "a100", "h100", "h200", "b200"]
GIB = 2**30


class Chip(NamedTuple):
    """The peaks of one chip.

    Attributes:
        flops: Dense bfloat16 floating-point operations per second.
        memory: Bytes of its high-bandwidth memory.
        memory_rate: Bytes per second from and to that memory.
        network_rate: Bytes per second that it sends to others: over all links of a TPU, over NVLink of a GPU.
        source: Where these numbers are published.
    """

    flops: float
    memory: float
    memory_rate: float
    network_rate: float
    source: str


# Vendors add up both directions of a link, and NVIDIA counts zeros of sparse matrices as work: both are halved here. A B200 is an
# eighth of a DGX B200, whose bfloat16 peak is half of that at 8 bits. The page about v4 has the rate of an all-reduce over a pod,
# 1.1 PB/s for 4096 chips; for v5e, this rate is that of all links in one direction, 51.2 TB/s for 256 chips.
CHIPS: dict[ChipName, Chip] = {
    "v4": Chip(*(275e12, 32 * GIB, 1200e9, 270e9), source="Google, TPU v4, https://docs.cloud.google.com/tpu/docs/v4"),
    "v5e": Chip(
        *(197e12, 16 * GIB, 819e9, 200e9), source="Google, TPU v5e, https://docs.cloud.google.com/tpu/docs/v5e"
    ),
    "v5p": Chip(
        *(459e12, 95 * GIB, 2765e9, 600e9), source="Google, TPU v5p, https://docs.cloud.google.com/tpu/docs/v5p"
    ),
    "a100": Chip(
        *(312e12, 80e9, 2039e9, 300e9), source="NVIDIA, A100 80GB SXM, https://www.nvidia.com/en-us/data-center/a100/"
    ),
    "h100": Chip(
        *(989.5e12, 80e9, 3350e9, 450e9), source="NVIDIA, H100 SXM, https://www.nvidia.com/en-us/data-center/h100/"
    ),
    "h200": Chip(
        *(989.5e12, 141e9, 4800e9, 450e9), source="NVIDIA, H200 SXM, https://www.nvidia.com/en-us/data-center/h200/"
    ),
    "b200": Chip(
        *(2250e12, 180e9, 8000e9, 900e9), source="NVIDIA, DGX B200, https://www.nvidia.com/en-us/data-center/dgx-b200/"
    ),
}


class StepTime(NamedTuple):
    """Seconds per step at the peaks of a chip, of each part alone."""

    compute: float
    memory: float
    network: float

    @property
    def seconds(self) -> float:
        """The longest: what a step takes if all three overlap perfectly."""
        return max(self)

    @property
    def bound(self) -> str:
        """The part that takes longest."""
        return self._fields[self.index(self.seconds)]


def step_time(*, flops: int | float, accessed: int | float, sent: int | float, chip: Chip) -> StepTime:
    r"""Returns the least time of a step by the roofline model.

    .. math:: t \ge \max(\text{FLOPs} / \text{peak}, \; \text{bytes accessed} / \text{rate}, \; \text{bytes sent} / \text{rate})

    Args:
        flops: Floating-point operations per device.
        accessed: Bytes that a device reads and writes in its memory.
        sent: Bytes that a device sends to others.
        chip: Each device.

    Returns:
        Seconds.

    Example:
        >>> time = step_time(flops=197e12, accessed=0, sent=100e9, chip=CHIPS["v5e"])
        >>> time, time.bound
        (StepTime(compute=1.0, memory=0.0, network=0.5), 'compute')

    References:
        Williams, Waterman and Patterson (2009), Roofline: an insightful visual performance model for multicore architectures,
        Communications of the ACM 52. https://doi.org/10.1145/1498765.1498785
    """
    return StepTime(flops / chip.flops, accessed / chip.memory_rate, sent / chip.network_rate)
