import pytest

from model.config import DAFlowConfig


@pytest.mark.parametrize(
    "config",
    [DAFlowConfig(), DAFlowConfig.a1(16), DAFlowConfig(gcn_bias=True, attention_norm="plain"), DAFlowConfig.stgnf()],
)
def test_a_config_survives_its_dictionary(config: DAFlowConfig) -> None:
    assert DAFlowConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"partition": "ring"}, "partition must be one of"),
        ({"attention": "all"}, "attention must be one of"),
        ({"length": 1}, r"length must lie in 2\.\.512"),
        ({"steps": 10**9}, r"steps must lie in 1\.\.64"),
        ({"max_hop": 9}, r"max_hop must lie in 1\.\.8"),
        ({"length": "24"}, "length must be int"),
        ({"final_relu": 1}, "final_relu must be bool"),
        ({"length": 18, "temporal_conv": True}, "divisible by 4"),
    ],
)
def test_impossible_values_are_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DAFlowConfig.from_dict(DAFlowConfig().to_dict() | change)


def test_missing_and_unknown_fields_are_named() -> None:
    fields = DAFlowConfig().to_dict()
    del fields["steps"]
    with pytest.raises(ValueError, match=r"missing \['steps'\], unknown \['stride'\]"):
        DAFlowConfig.from_dict(fields | {"stride": 1})
