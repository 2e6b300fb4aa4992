"""The cost of scoring a window: parameters, arithmetic, time and memory.

Arithmetic is counted for the layers as they are written down in the papers, with dense adjacency matrices, so that
architectures can be compared with each other and with what others print. Time and memory are measured on what
really runs: `model.fused.FusedFlow`, which folds those layers.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch

from model.config import DAFlowConfig
from model.flow import CHANNELS, DAFlow
from model.fused import FusedFlow
from model.graph import adjacency
from model.scorer import available_device
from pose.skeleton import NUM_JOINTS

_GATE_KERNEL: Final = 21
_WARM_UP: Final = 5
_STATUS: Final = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Multiply-accumulates of one window. Norms, activations and the coupling itself are not counted.

    Attributes:
        convolutions: Of convolutions with weights only, which is what counters such as thop see.
        total: With the sums over the adjacency matrices.
    """

    convolutions: int
    total: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one call, over repeated calls.

    Attributes:
        median_ms: Median, milliseconds.
        quartiles_ms: The middle half of the calls, milliseconds.
    """

    median_ms: float
    quartiles_ms: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one architecture on one device.

    Attributes:
        parameters: Trained parameters.
        convolution_macs: See `Arithmetic.convolutions`.
        macs: See `Arithmetic.total`.
        latency: Time of one call by the number of windows in it.
        peak_memory_bytes: Memory that scoring the largest batch adds: on a CPU the growth of a fresh process's peak
            resident memory, which is coarse and may be 0; on CUDA the peak of what torch has allocated, weights
            included.
        device: Where it was measured.
        threads: Threads of torch on the CPU.
    """

    parameters: int
    convolution_macs: int
    macs: int
    latency: Mapping[int, Latency]
    peak_memory_bytes: int
    device: str
    threads: int

    def to_dict(self) -> dict[str, Any]:
        """Field names and values, ready for JSON; batch sizes become strings."""
        return asdict(self) | {"latency": {str(size): asdict(latency) for size, latency in self.latency.items()}}


def arithmetic(config: DAFlowConfig) -> Arithmetic:
    """Count the multiply-accumulates of one window."""
    points = config.length * NUM_JOINTS
    partitions = len(adjacency(config.partition, config.max_hop))
    convolutions = partitions * CHANNELS * points
    if config.temporal_conv:
        convolutions += CHANNELS**2 * (config.length // 2 + 1) * points
    if config.attention in ("skeleton", "both"):
        convolutions += _GATE_KERNEL * CHANNELS * NUM_JOINTS
    if config.attention in ("frame", "both"):
        convolutions += _GATE_KERNEL * CHANNELS * config.length
    shortcuts = 0 if config.residual == "none" else (config.steps - 1) * CHANNELS * points
    mixing = config.steps * CHANNELS**2 * points if config.permutation == "conv1x1" else 0
    counted = config.steps * convolutions + shortcuts + mixing
    return Arithmetic(counted, counted + config.steps * partitions * CHANNELS * points * NUM_JOINTS)


def measure(config: DAFlowConfig, *, device: str = "cpu", batches: Sequence[int] = (1, 256), repeats: int = 50) -> Cost:
    """Measure a flow with random weights; what it costs does not depend on them.

    On a CPU a second process is started for the memory, so a script that calls this needs its ``__main__`` guard.

    Args:
        config: The architecture.
        device: Where to score: ``cpu``, ``cuda``, ``cuda:1``.
        batches: Windows in a call.
        repeats: Calls measured of each, after a few that are not.

    Raises:
        ValueError: There is no batch, or a number is below 1.
        DeviceUnavailableError: The device is not there.
    """
    if not batches or min(*batches, repeats) < 1:
        raise ValueError(f"expected batches and repeats of at least 1, got {tuple(batches)} and {repeats}")
    where = available_device(device)
    flow = DAFlow(config).eval()
    counted = arithmetic(config)
    fused = FusedFlow(flow, where)
    return Cost(
        parameters=sum(parameter.numel() for parameter in flow.parameters()),
        convolution_macs=counted.convolutions,
        macs=counted.total,
        latency={size: _latency(fused, size, repeats) for size in batches},
        peak_memory_bytes=_peak_memory(config, where, max(batches)),
        device=torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
    )


def _latency(flow: FusedFlow, size: int, repeats: int) -> Latency:
    x = _windows(flow, size)
    taken = []
    for _ in range(_WARM_UP + repeats):
        start = time.perf_counter()
        flow.nll(x).cpu()  # the scores on the CPU, so a CUDA call has ended
        taken.append(1e3 * (time.perf_counter() - start))
    measured = taken[_WARM_UP:]
    low, median, high = statistics.quantiles(measured * 2 if len(measured) < 2 else measured, n=4, method="inclusive")
    return Latency(median, (low, high))


def _peak_memory(config: DAFlowConfig, device: torch.device, size: int) -> int:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        flow = FusedFlow(DAFlow(config).eval(), device)
        flow.nll(_windows(flow, size)).cpu()
        return torch.cuda.max_memory_allocated(device) - before
    # A fresh process: in this one something else has reached the peak before.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_resident_growth, config, size, torch.get_num_threads()).result()


def _resident_growth(config: DAFlowConfig, size: int, threads: int) -> int:
    torch.set_num_threads(threads)
    flow = FusedFlow(DAFlow(config).eval())
    # One window first: what torch loads at the first call does not belong to the batch.
    flow.nll(_windows(flow, 1))
    before = _peak_resident()
    flow.nll(_windows(flow, size))
    return _peak_resident() - before


def _peak_resident() -> int:
    """Bytes. Linux keeps the peak of the process that was there before it started this program in ``ru_maxrss``."""
    if _STATUS.exists():
        (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _windows(flow: FusedFlow, size: int) -> torch.Tensor:
    return torch.randn(size, CHANNELS, flow.config.length, NUM_JOINTS, device=flow.device)
