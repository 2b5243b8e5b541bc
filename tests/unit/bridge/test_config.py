from pathlib import Path

import pytest

from bridge.config import ServeConfig, check_address, is_this_machine
from bridge.errors import ConfigError


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:5599", "tcp://*:1", "tcp://[::1]:5599", "tcp://host:*", "ipc:///tmp/x"]
)
def test_addresses_that_zmq_understands_pass(address: str) -> None:
    check_address(address, name="bind")


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:5599", "tcp://127.0.0.1", "tcp://h:70000", "http://h:1", "tcp://h:-1"]
)
def test_other_addresses_are_refused_by_name(address: str) -> None:
    with pytest.raises(ConfigError, match=r"bind: got .* expected tcp://HOST:PORT"):
        check_address(address, name="bind")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fps", float("nan")),
        ("fps", 0),
        ("max_sessions", 0),
        ("max_credit", 9),
        ("jpeg_quality", 0),
        ("seed", -1),
        ("waste", 1.1),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name}: got"):
        ServeConfig(**{name: value})


def test_default_bind_is_loopback() -> None:
    assert ServeConfig().bind.startswith("tcp://127.0.0.1:")


def test_unknown_runner_and_empty_model_are_refused() -> None:
    with pytest.raises(ConfigError, match="runner: got 'cuda'"):
        ServeConfig(runner="cuda")
    with pytest.raises(ConfigError, match="model"):
        ServeConfig(model="")


def test_a_precision_needs_a_runner_that_has_a_choice() -> None:
    assert ServeConfig(precision="fp8").precision == "fp8"
    assert ServeConfig(precision="bf16", runner="torch").runner == "torch"
    with pytest.raises(ConfigError, match="precision: got fp8 with runner onnxruntime, expected runner torch"):
        ServeConfig(precision="fp8", runner="onnxruntime")
    with pytest.raises(ConfigError, match="precision: got 'int4', expected one of auto, fp32, bf16, fp8"):
        ServeConfig(precision="int4", runner="torch")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://127.0.0.1:5599", True),
        ("tcp://127.8.9.1:*", True),
        ("tcp://localhost:1", True),
        ("tcp://[::1]:5599", True),
        ("ipc:///tmp/x", True),
        ("tcp://*:5599", False),
        ("tcp://0.0.0.0:5599", False),
        ("tcp://[::]:5599", False),
        ("tcp://192.168.1.5:5599", False),
        ("tcp://127.0.0.1.example.org:5599", False),
        ("tcp://localhost.example.org:5599", False),
    ],
)
def test_only_loopback_and_ipc_stay_on_this_machine(address: str, expected: bool) -> None:
    assert is_this_machine(address) is expected
    if not expected:
        with pytest.raises(ConfigError, match="other machines"):
            ServeConfig(bind=address)
        assert ServeConfig(bind=address, insecure=True).bind == address


def test_where_states_cannot_be_saved_is_told_at_the_start(tmp_path: Path) -> None:
    assert ServeConfig(states=tmp_path / "new" / "folder").states is not None
    (tmp_path / "file").write_text("")
    for states in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match=r"states: .*file is a file, expected a folder"):
            ServeConfig(states=states)
