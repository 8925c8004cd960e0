import ethash
import pytest
import sha3
from hypothesis import given
from hypothesis import strategies as st

from services.shared.chainspec.networks import network
from services.shared.chainspec.spec import ChainSpec
from services.shared.ethwire.headers import decode_header, with_hash
from services.shared.ethwire.rlp_slices import item_span, split_items, split_list
from services.shared.ethwire.types import BlockHash
from services.sync_coordinator.core.ethash_seal import boundary_of, check_sealable, seal_inputs
from services.sync_coordinator.core.rule_broken import RuleBroken
from services.sync_coordinator.core.seal_frames import (
    LENGTH_BYTES,
    REPLY_HEAD_BYTES,
    SealQuestion,
    decode_first_bad,
    decode_reply_head,
    decode_request,
    decode_signers,
    encode_first_bad,
    encode_reply,
    encode_request,
    encode_signers,
    payload_length,
)
from services.sync_coordinator.edges.ethash_library import open_verifier
from services.sync_coordinator.edges.seal_worker import first_bad_seal
from tests.support.chain_vectors import headers_of
from tests.support.vectors import VECTORS, load_vectors

PUBLISHED = load_vectors("ethash/ethash_tests.json")


@pytest.fixture(scope="module")
def epoch_0():
    return open_verifier(0, 0)


def bad_pow_block():
    dump = (VECTORS / "ethash/besu-badpow.blocks").read_bytes()
    _, first_end, _ = item_span(dump, 0, len(dump))
    _, block = split_items(dump, 0, len(dump))
    assert len(dump) - first_end == len(block)
    return decode_header(split_list(block)[0])


@pytest.mark.parametrize("case", PUBLISHED.values(), ids=PUBLISHED)
def test_seal_hash_matches_the_published_vector(case):
    header = decode_header(bytes.fromhex(case["header"]))
    inputs = seal_inputs(header)
    assert inputs.seal_hash.hex() == case["header_hash"]
    assert (inputs.mix_hash.hex(), f"{inputs.nonce:016x}") == (case["mixHash"], case["nonce"])
    result, mix_hash = ethash.hash(header.number // 30_000, inputs.seal_hash, inputs.nonce)
    assert (result.hex(), mix_hash.hex()) == (case["result"], case["mixHash"])


@pytest.mark.parametrize("name", ["mainnet", "ropsten", "sepolia"])
def test_real_seal_stays_below_its_boundary(name):
    for header in headers_of(name):
        inputs = seal_inputs(header)
        seed = sha3.keccak_512(inputs.seal_hash + inputs.nonce.to_bytes(8, "little")).digest()
        result = sha3.keccak_256(seed + inputs.mix_hash).digest()
        assert result <= inputs.boundary


def test_worker_accepts_real_seals_and_finds_the_first_wrong_one(epoch_0):
    headers = [header for header in headers_of("mainnet") if header.number < 9]
    assert first_bad_seal(headers, epoch_0) == -1
    wrong_nonce = with_hash(headers[3]._replace(nonce=bytes(8)))
    wrong_mix = with_hash(headers[2]._replace(mix_hash=bytes(32)))
    assert first_bad_seal([headers[0], wrong_nonce, headers[1]], epoch_0) == 1
    assert first_bad_seal([headers[0], headers[1], wrong_mix, wrong_nonce], epoch_0) == 2


def test_seal_without_work_is_refused(epoch_0):
    assert first_bad_seal([bad_pow_block()], epoch_0) == 0


def test_boundary_is_cut_to_what_fits_when_the_difficulty_is_one():
    assert boundary_of(1) == b"\xff" * 32
    assert boundary_of(2) == b"\x80" + bytes(31)
    assert boundary_of(2**256 - 1) == bytes(31) + b"\1"


def numbered(number, **changes):
    return with_hash(headers_of("mainnet")[0]._replace(number=number, **changes))


@pytest.mark.parametrize(
    ("spec", "header", "detail"),
    [
        (network("classic").spec, numbered(2048 * 60_000), "above 2047"),
        (ChainSpec(chain_id=1), numbered(1, difficulty=0), "difficulty is 0"),
        (ChainSpec(chain_id=1), numbered(2048 * 30_000), "above 2047"),
    ],
)
def test_seal_that_cannot_be_judged_is_refused_in_one_line(spec, header, detail):
    with pytest.raises(RuleBroken) as caught:
        check_sealable(spec, header)
    assert caught.value.rule == "seal"
    assert detail in caught.value.detail
    assert "\n" not in str(caught.value)


def test_long_epochs_reach_twice_as_far():
    check_sealable(network("classic").spec, numbered(2048 * 60_000 - 1))
    check_sealable(ChainSpec(chain_id=1), numbered(2048 * 30_000 - 1))


def test_request_carries_headers_there_and_back():
    headers = headers_of("mainnet")[:3] + headers_of("sepolia")[:2]
    frame = encode_request(7, SealQuestion.FIRST_BAD, headers)
    assert payload_length(frame[:LENGTH_BYTES]) == len(frame) - LENGTH_BYTES
    request_id, question, arrived = decode_request(frame[LENGTH_BYTES:])
    assert (request_id, question) == (7, SealQuestion.FIRST_BAD)
    assert [header._replace(hash=BlockHash(b"")) for header in headers] == arrived


@given(st.integers(0, 2**32 - 1), st.integers(-1, 2**31 - 1))
def test_reply_carries_its_verdict_there_and_back(request_id, first_bad):
    frame = encode_reply(request_id, encode_first_bad(first_bad))
    head, answer = decode_reply_head(frame[:REPLY_HEAD_BYTES]), frame[REPLY_HEAD_BYTES:]
    assert head == (request_id, len(answer))
    assert decode_first_bad(answer) == first_bad


@pytest.mark.parametrize("count", [0, 1, 64])
def test_reply_carries_signers_there_and_back(count):
    signers = [bytes([index]) * 20 for index in range(count)]
    frame = encode_reply(7, encode_signers(signers))
    head, answer = decode_reply_head(frame[:REPLY_HEAD_BYTES]), frame[REPLY_HEAD_BYTES:]
    assert head == (7, len(answer))
    assert decode_signers(answer) == signers
