import gzip
import json

import pytest

from services.shared.chainspec.genesis import GenesisInvalid, genesis_from_json, load_genesis, parse_genesis
from services.shared.ethwire.headers import decode_header
from tests.support.chain_vectors import load_gz

CASES = load_gz("chainspec/genesis_files.json.gz")

MINIMAL = {
    "config": {"chainId": 7, "homesteadBlock": 0},
    "gasLimit": "0x1388",
    "difficulty": "131072",
    "alloc": {"0x" + "11" * 20: {"balance": "1"}},
}


def genesis_with(**changes):
    return genesis_from_json("g.json", {**MINIMAL, **changes})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_genesis_hash_follows_from_the_file(case):
    genesis = genesis_from_json("g.json", case["genesis"])
    assert genesis.header.hash.hex() == case["hash"]
    assert decode_header(genesis.header.header_rlp) == genesis.header


def test_genesis_file_is_read_plain_and_gzipped(tmp_path):
    plain, zipped = tmp_path / "g.json", tmp_path / "g.json.gz"
    plain.write_text(json.dumps(MINIMAL))
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    assert load_genesis(plain) == load_genesis(zipped) == genesis_from_json("g.json", MINIMAL)


def test_keys_are_matched_without_regard_to_case():
    renamed = {key.upper(): value for key, value in MINIMAL.items()}
    assert genesis_from_json("g.json", renamed) == genesis_with()


def test_balance_is_the_same_number_in_decimal_hex_and_as_a_json_integer():
    address = "11" * 20
    roots = {
        genesis_with(alloc={address: {"balance": balance}}).header.state_root for balance in ("4096", "0x1000", 4096)
    }
    assert len(roots) == 1


def test_storage_slot_of_zero_does_not_exist():
    address = "11" * 20
    without = genesis_with(alloc={address: {"balance": "1"}})
    zeroed = genesis_with(alloc={address: {"balance": "1", "storage": {"0x01": "0x00"}}})
    filled = genesis_with(alloc={address: {"balance": "1", "storage": {"0x01": "0x02"}}})
    assert without == zeroed != filled


def test_gas_limit_of_zero_means_the_default():
    assert genesis_with(gasLimit="0x0").header.gas_limit == 4_712_388


def test_base_fee_is_in_the_genesis_only_when_london_starts_there():
    assert genesis_with(config={"chainId": 1, "londonBlock": 1}).header.base_fee is None
    assert genesis_with(config={"chainId": 1, "londonBlock": 0}).header.base_fee == 10**9
    assert genesis_with(config={"chainId": 1, "londonBlock": 0}, baseFeePerGas="0x7").header.base_fee == 7


def test_genesis_without_config_is_a_frontier_chain():
    content = {key: value for key, value in MINIMAL.items() if key != "config"}
    spec = genesis_from_json("g.json", content).spec
    assert spec.seal_engine == "ethash"
    assert spec.homestead_block is None


BAD_FIELDS = [
    ({"gasLimit": None}, "gasLimit", "is required"),
    ({"difficulty": "0xzz"}, "difficulty", "hex integer"),
    ({"difficulty": -1}, "difficulty", "from 0 to"),
    ({"difficulty": True}, "difficulty", "hex integer"),
    ({"difficulty": 1.5}, "difficulty", "hex integer"),
    ({"difficulty": "9" * 5000}, "difficulty", "hex integer"),
    ({"timestamp": "0x1ffffffffffffffff"}, "timestamp", "2^64"),
    ({"number": 1}, "number", "must be 0"),
    ({"extraData": "0xabc"}, "extraData", "even number"),
    ({"mixHash": "0x00"}, "mixHash", "64 hex digits"),
    ({"coinbase": "nobody"}, "coinbase", "40 hex digits"),
    ({"config": [1]}, "config", "JSON object"),
    ({"config": {"chainId": 1, "byzantiumBlock": "later"}}, "config.byzantiumBlock", "hex integer"),
    ({"config": {"chainId": 1, "daoForkSupport": 1}}, "config.daoForkSupport", "true or false"),
    ({"config": {"chainId": 1, "homesteadBlock": 5, "byzantiumBlock": 4}}, "config", "comes before"),
    ({"config": {"chainId": 1, "londonBlock": 0, "shanghaiTime": 0}}, "config.shanghaiTime", "proof-of-stake"),
    ({"alloc": {"0x11": {"balance": "1"}}}, "alloc.0x11", "40 hex digits"),
    ({"alloc": {"aa" * 20: {"balance": "many"}}}, f"alloc.{'aa' * 20}.balance", "hex integer"),
    ({"alloc": {"aa" * 20: "rich"}}, f"alloc.{'aa' * 20}", "JSON object"),
    ({"alloc": {"aa" * 20: {"storage": {"0x1": "0x01"}}}}, f"alloc.{'aa' * 20}.storage.0x1", "64 hex digits"),
    ({"alloc": {"aa" * 20: {}, "0x" + "aa" * 20: {}}}, f"alloc.0x{'aa' * 20}", "given twice"),
    ({"alloc": {"aa" * 20: {}, "AA" * 20: {}}}, f"alloc.{'AA' * 20}", "given twice"),
]


@pytest.mark.parametrize(("changes", "field", "rule"), BAD_FIELDS, ids=str)
def test_bad_field_is_refused_with_file_field_value_and_rule(changes, field, rule):
    with pytest.raises(GenesisInvalid) as caught:
        genesis_with(**changes)
    assert caught.value.field == field
    assert rule in caught.value.rule
    assert str(caught.value).startswith(f"g.json: {field}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "must be a JSON object"),
        (gzip.compress(b"{}")[:-4], "is not a whole gzip file"),
        (b"\x1f\x8bnot gzip", "is not a whole gzip file"),
    ],
    ids=["empty", "cut", "deep", "binary", "list", "cut gzip", "bad gzip"],
)
def test_file_that_is_no_genesis_is_refused_in_one_line(tmp_path, content, problem):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(GenesisInvalid, match=problem) as caught:
        load_genesis(path)
    assert str(path) in str(caught.value)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(GenesisInvalid, match="cannot be read: No such file"):
        load_genesis(tmp_path / "absent.json")


@pytest.mark.parametrize(("opening", "inner", "closing"), [("[", "", "]"), ('{"a":', "1", "}")])
def test_json_of_any_depth_is_refused_as_invalid(opening, inner, closing):
    # Around the depth that the JSON reader still takes there is one at which the value cannot be shown.
    for depth in (1, 10, *range(750, 1001), 100_000):
        with pytest.raises(GenesisInvalid):
            parse_genesis("genesis.json", (opening * depth + inner + closing * depth).encode())
