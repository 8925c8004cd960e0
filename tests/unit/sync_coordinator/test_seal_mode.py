import pytest

from services.shared.chainspec.spec import ChainSpec
from services.sync_coordinator.edges.seal_workers import NoSeal, SealCheckRefused, SealWorkers, open_seal_check

ETHASH = ChainSpec(chain_id=1)
CLIQUE = ChainSpec(chain_id=5, seal_engine="clique")


@pytest.mark.parametrize("spec", [ETHASH, CLIQUE])
def test_none_checks_no_seal_on_any_network(spec):
    assert isinstance(open_seal_check(spec, "none"), NoSeal)


@pytest.mark.parametrize("wanted", ["ethash", None])
def test_ethash_network_gets_workers_that_have_not_started_yet(wanted):
    seals = open_seal_check(ETHASH, wanted)
    assert isinstance(seals, SealWorkers)
    assert seals.pids == []


@pytest.mark.parametrize(
    ("spec", "wanted", "text"),
    [
        (CLIQUE, None, "not supported yet, use --seal-check none"),
        (CLIQUE, "clique", "not supported yet, use --seal-check none"),
        (CLIQUE, "ethash", "this network's seals are clique"),
        (ETHASH, "clique", "this network's seals are ethash"),
    ],
)
def test_seal_check_that_does_not_fit_is_refused_in_one_line(spec, wanted, text):
    with pytest.raises(SealCheckRefused, match=text) as caught:
        open_seal_check(spec, wanted)
    assert "\n" not in str(caught.value)
