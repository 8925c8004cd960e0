import pytest

from services.shared.chainspec.enode import EnodeInvalid, parse_enode
from tests.support.vectors import load_vectors

URLS = load_vectors("chainspec/enode_urls.json")


@pytest.mark.parametrize("case", URLS["valid"], ids=lambda case: case["url"][-40:])
def test_valid_url_is_read_and_written_back(case):
    node = parse_enode(case["url"])
    assert (node.host, node.tcp_port, node.udp_port) == (case["host"], case["tcp"], case["udp"])
    assert node.node_id.hex() == case["id"]
    assert parse_enode(str(node)) == node


@pytest.mark.parametrize("case", URLS["invalid"], ids=lambda case: case["problem"])
def test_invalid_url_is_refused_with_its_problem(case):
    with pytest.raises(EnodeInvalid) as caught:
        parse_enode(case["url"])
    assert case["problem"] in caught.value.problem
    assert "\n" not in str(caught.value)
