import pytest

from services.shared.chainspec.genesis import Genesis
from services.shared.chainspec.networks import network
from services.shared.chainspec.spec import ChainSpec
from services.sync_coordinator.edges.clique_seals import CliqueSeals
from services.sync_coordinator.edges.seal_workers import NoSeal, SealCheckRefused, SealWorkers, open_seal_check
from tests.support.ruled_chain import GENESIS

ETHASH = network("mainnet").genesis
CLIQUE = network("goerli").genesis
SIGNERLESS = Genesis(GENESIS, ChainSpec(chain_id=5, seal_engine="clique"))


@pytest.mark.parametrize("genesis", [ETHASH, CLIQUE, SIGNERLESS])
def test_none_checks_no_seal_on_any_network(genesis):
    assert isinstance(open_seal_check(genesis, "none"), NoSeal)


@pytest.mark.parametrize(
    ("genesis", "wanted", "kind"),
    [
        (ETHASH, "ethash", SealWorkers),
        (ETHASH, None, SealWorkers),
        (CLIQUE, "clique", CliqueSeals),
        (CLIQUE, None, CliqueSeals),
    ],
)
def test_network_gets_its_own_seal_check_whose_workers_have_not_started_yet(genesis, wanted, kind):
    seals = open_seal_check(genesis, wanted)
    assert isinstance(seals, kind)
    assert seals.pids == []


@pytest.mark.parametrize(
    ("genesis", "wanted", "text"),
    [
        (SIGNERLESS, None, "cannot begin a clique chain"),
        (CLIQUE, "ethash", "this network's seals are clique"),
        (ETHASH, "clique", "this network's seals are ethash"),
    ],
)
def test_seal_check_that_does_not_fit_is_refused_in_one_line(genesis, wanted, text):
    with pytest.raises(SealCheckRefused, match=text) as caught:
        open_seal_check(genesis, wanted)
    assert "\n" not in str(caught.value)
