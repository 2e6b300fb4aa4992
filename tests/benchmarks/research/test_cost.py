import json
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.research.cost import Arithmetic, arithmetic, measure
from model.config import DAFlowConfig
from model.flow import DAFlow
from model.scorer import DeviceUnavailableError


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (DAFlowConfig.a1(), Arithmetic(27_072, 151_488)),
        (DAFlowConfig.a2(), Arithmetic(33_984, 282_816)),
        (DAFlowConfig.stgnf(), Arithmetic(192_672, 317_088)),
        (replace(DAFlowConfig.a1(), attention="none", residual="none"), Arithmetic(6_912, 131_328)),
    ],
)
def test_arithmetic_is_that_of_a_count_by_hand(config: DAFlowConfig, expected: Arithmetic) -> None:
    assert arithmetic(config) == expected


@pytest.mark.parametrize("config", [DAFlowConfig.a1(), DAFlowConfig.stgnf(), DAFlowConfig.stgnf(16)])
def test_arithmetic_is_what_torch_counts_but_for_the_convolutions_written_without_one(config: DAFlowConfig) -> None:
    flow = DAFlow(config).eval()
    counts = []
    for windows in (1, 2):
        with FlopCounterMode(display=False) as counter:
            flow.nll(torch.randn(windows, 2, config.length, 18))
        counts.append(counter.get_total_flops() // 2)
    # What a second window adds leaves out the matrices that are made once a call.
    unseen = (2 * config.steps - 1) * 2 * config.length * 18  # 1x1 convolutions of graph and shortcut
    assert counts[1] - counts[0] == arithmetic(config).total - unseen


@pytest.mark.slow
def test_a_measurement_has_a_latency_for_each_batch_and_fits_into_json() -> None:
    config = DAFlowConfig(length=8, steps=2)
    cost = measure(config, batches=(1, 64), repeats=3)
    assert (cost.parameters, cost.macs) == (116, arithmetic(config).total)
    for latency in cost.latency.values():
        low, high = latency.quartiles_ms
        assert 0 < low <= latency.median_ms <= high
    assert cost.peak_memory_bytes >= 0
    document = json.loads(json.dumps(cost.to_dict()))
    assert list(document["latency"]) == ["1", "64"]
    assert document["device"] == "cpu"
    assert document["threads"] == torch.get_num_threads()


@pytest.mark.slow
def test_scoring_many_windows_takes_memory() -> None:
    assert measure(DAFlowConfig(), batches=(4096,), repeats=1).peak_memory_bytes > 4096 * 2 * 24 * 18 * 4


@pytest.mark.parametrize("change", [{"batches": ()}, {"batches": (0,)}, {"repeats": 0}])
def test_nothing_to_measure_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        measure(DAFlowConfig(length=8), **change)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(DeviceUnavailableError):
        measure(DAFlowConfig(length=8), device="cuda:99")
