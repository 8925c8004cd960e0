import pytest

from services.broadcaster.config import BroadcasterConfig
from services.broadcaster.core.fan_out import FanOut
from services.shared.runtime.config import read_config
from services.shared.runtime.faults import ConfigInvalid


def test_flags_are_read_as_the_stack_gives_them():
    config = read_config(
        BroadcasterConfig, ["--listen", "unix:/run/b.sock", "--coordinator", "unix:/run/c.sock", "--fan-out", "all"], {}
    )
    assert (config.listen, config.coordinator, config.fan_out) == (("unix:/run/b.sock",), "unix:/run/c.sock", "all")


@pytest.mark.parametrize("policy", FanOut)
def test_every_policy_can_be_set_by_its_name(policy):
    config = read_config(BroadcasterConfig, ["--coordinator", "localhost:1", "--fan-out", policy.value], {})
    assert FanOut(config.fan_out) is policy


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--coordinator", "localhost:1", "--fan-out", "most"],
        ["--coordinator", "localhost:1", "--metrics-port", "65536"],
        ["--coordinator", "localhost:1", "--gateway-queue-bytes", "1000"],
        ["--coordinator", "localhost:1", "--price-floor", "-1"],
    ],
    ids=["no coordinator", "unknown policy", "no port", "small queue", "negative price"],
)
def test_a_bad_flag_is_refused_with_its_name(flags):
    with pytest.raises(ConfigInvalid, match="--"):
        read_config(BroadcasterConfig, flags, {})
