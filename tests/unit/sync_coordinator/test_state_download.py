"""The state below a root: what is asked for, of whom, and when it is handed to the store."""

from __future__ import annotations

import pytest
import rlp

from services.shared.ethwire.hashing import EMPTY_CODE_HASH, EMPTY_TRIE_ROOT, keccak256
from services.shared.ethwire.types import StateEntry
from services.sync_coordinator.core.downloader_config import DownloaderConfig
from services.sync_coordinator.core.sync_faults import SyncFailed, SyncFault
from tests.support.peers import ALICE, BOB, CAROL
from tests.support.state_fetch import LARGE_COMMITS, SMALL_COMMITS, StateFetch, entries_of
from tests.support.state_trie import Account, add_secure_trie, made_state, seeded_accounts, seeded_state

STATE = seeded_state(3, 1500)


def test_empty_state_is_complete_without_a_question():
    fetch = StateFetch(EMPTY_TRIE_ROOT)
    fetch.settle()
    assert fetch.download.is_complete
    assert not fetch.asked


def test_state_that_is_stored_is_complete_without_a_question():
    fetch = StateFetch(STATE.root)
    fetch.finish(STATE.entries)
    fetch.restart(STATE.root)
    assert fetch.download.is_complete


def test_whole_state_arrives_each_entry_asked_for_once_when_all_goes_well():
    fetch = StateFetch(STATE.root, [ALICE, BOB, CAROL])
    fetch.finish(STATE.entries)
    assert fetch.chain.state == STATE.entries
    assert len(fetch.asked) == len(set(fetch.asked)) == len(STATE)
    assert fetch.download.pulled == fetch.download.known == len(STATE)


def test_entries_that_several_refer_to_are_asked_for_once():
    storage = {slot.to_bytes(32): slot + 1 for slot in range(40)}
    state = made_state({bytes([at]) * 20: Account(at, at, storage, b"shared code") for at in range(60)})
    fetch = StateFetch(state.root)
    fetch.finish(state.entries)
    assert fetch.asked.count(keccak256(b"shared code")) == 1
    assert len(fetch.asked) == len(state)


def test_download_that_starts_again_asks_for_nothing_that_is_stored():
    fetch = StateFetch(STATE.root, [ALICE, BOB])
    while len(fetch.chain.state) < len(STATE) // 2:
        fetch.settle()
        if fetch.commit is not None:
            fetch.store()
        fetch.answer_all(STATE.entries)
    stored = set(fetch.chain.state)
    fetch.asked.clear()
    fetch.restart(STATE.root)
    fetch.finish(STATE.entries)
    assert not stored & set(fetch.asked)
    assert fetch.chain.state == STATE.entries


def test_what_is_shared_with_the_old_state_stays_when_the_root_moves():
    accounts = seeded_accounts(3, 1500)
    moved = made_state({**accounts, **seeded_accounts(5, 3)})
    fetch = StateFetch(STATE.root)
    fetch.finish(STATE.entries)
    fetch.asked.clear()
    fetch.move_to(moved.root)
    assert not fetch.download.is_complete
    fetch.finish(moved.entries)
    assert set(fetch.asked) == moved.entries.keys() - STATE.entries.keys()


def test_complete_entries_that_wait_are_stored_and_open_requests_are_stale_when_the_root_moves():
    fetch = StateFetch(STATE.root, config=DownloaderConfig(state_commit=20, max_waiting_commits=100))
    while fetch.commit is None:
        fetch.settle()
        fetch.answer_all(STATE.entries)
    fetch.settle()
    [request] = fetch.open.values()
    fetch.move_to(EMPTY_TRIE_ROOT)
    late = entries_of(STATE.entries, request.hashes)
    assert fetch.download.on_node_data(request.request_id, late, fetch.now) == (False, None)
    assert fetch.download.is_busy
    assert not fetch.download.is_complete
    fetch.finish({})
    assert len(fetch.chain.state) >= 20


def test_peers_of_eth_62_are_not_asked():
    fetch = StateFetch(STATE.root, [])
    fetch.peers.join(ALICE, 62)
    fetch.peers.join(BOB, 63)
    fetch.settle()
    assert [request.peer for request in fetch.open.values()] == [BOB]
    fetch.leave(BOB)
    with pytest.raises(SyncFailed, match=r"no peer has the state \(entries to fetch: 1\)") as failure:
        fetch.settle()
    assert failure.value.fault is SyncFault.PEERS_UNAVAILABLE


def test_entry_is_asked_of_others_when_the_reply_is_empty_until_nobody_is_left():
    fetch = StateFetch(STATE.root, [ALICE, BOB])
    fetch.settle()
    asked = []
    for _ in range(2):
        [request] = fetch.open.values()
        asked.append(request.peer)
        assert fetch.answer(request, []) is None
        assert fetch.download.lacking(request.peer) == 1
        if len(asked) == 1:
            fetch.settle()
    assert sorted(asked) == [ALICE, BOB]
    with pytest.raises(SyncFailed) as failure:
        fetch.settle()
    assert failure.value.fault is SyncFault.PEERS_UNAVAILABLE


def test_what_is_complete_is_handed_out_before_nobody_is_left_to_ask():
    fetch = StateFetch(STATE.root, config=LARGE_COMMITS)
    while fetch.download.pulled < len(STATE) // 2:
        fetch.settle()
        fetch.answer_all(STATE.entries)
    fetch.settle()
    assert fetch.commit is None
    fetch.leave(ALICE)
    fetch.advance()
    assert fetch.commit is not None, "nothing more comes, so it need not wait for more"
    with pytest.raises(SyncFailed) as failure:
        fetch.advance()
    assert failure.value.fault is SyncFault.PEERS_UNAVAILABLE
    fetch.store()
    assert len(fetch.chain.state) > 100


def wide_fetch(peers=(ALICE,), config=SMALL_COMMITS):
    """A download whose root is here and whose branches are asked for."""
    fetch = StateFetch(STATE.root, peers, config)
    for _ in range(3):
        fetch.settle()
        fetch.answer_all(STATE.entries)
    fetch.settle()
    return fetch


def test_rest_of_a_partial_reply_is_asked_for_again_of_the_same_peer():
    fetch = wide_fetch()
    [request] = fetch.open.values()
    assert len(request.hashes) > 2
    fetch.answer(request, list(reversed(entries_of(STATE.entries, request.hashes)))[:1])
    assert fetch.download.lacking(ALICE) == 0
    fetch.asked.clear()
    fetch.finish(STATE.entries)
    assert set(request.hashes[:-1]) <= set(fetch.asked)


def test_peer_is_guilty_of_an_entry_that_was_not_asked_for_and_the_rest_counts():
    fetch = wide_fetch()
    [request] = fetch.open.values()
    entries = entries_of(STATE.entries, request.hashes)
    foreign = StateEntry(b"foreign", keccak256(b"foreign"))
    assert fetch.answer(request, [entries[0], foreign]) == ALICE
    fetch.finish(STATE.entries)
    assert foreign.hash not in fetch.chain.state


def test_peer_is_not_guilty_of_an_entry_that_comes_twice():
    fetch = wide_fetch()
    [request] = fetch.open.values()
    entries = entries_of(STATE.entries, request.hashes)
    assert fetch.answer(request, [*entries, entries[0]]) is None


@pytest.mark.parametrize(
    "root", [rlp.encode([b"not", b"a", b"node"]), rlp.encode([b"\x20" + bytes(32), b"no account"]), b"\x00"]
)
def test_chain_is_invalid_when_an_entry_with_the_right_hash_is_no_node(root):
    fetch = StateFetch(keccak256(root))
    fetch.settle()
    [request] = fetch.open.values()
    assert fetch.answer(request, [StateEntry(root, keccak256(root))]) is None
    with pytest.raises(SyncFailed) as failure:
        fetch.settle()
    assert failure.value.fault is SyncFault.INVALID_CHAIN


def test_deepest_entries_are_asked_for_first_so_that_few_wait():
    config = DownloaderConfig(state_per_request=16, state_commit=16)
    fetch = StateFetch(STATE.root, config=config)
    most = 0
    while not fetch.download.is_complete:
        fetch.settle()
        most = max(most, fetch.download.held)
        if fetch.commit is not None:
            fetch.store()
        fetch.answer_all(STATE.entries)
    assert most < len(STATE) / 4


def test_batches_grow_with_what_a_peer_delivers_to_384_at_most():
    big = seeded_state(6, 6000)
    fetch = StateFetch(big.root, config=DownloaderConfig())
    sizes = []
    while not fetch.download.is_complete:
        fetch.settle()
        if fetch.commit is not None:
            fetch.store()
        fetch.now += 0.1
        for request in list(fetch.open.values()):
            sizes.append(len(request.hashes))
            fetch.answer(request, entries_of(big.entries, request.hashes))
    assert sizes[0] == 1
    assert max(sizes) == 384
    assert sizes.count(384) > len(sizes) / 3


@pytest.mark.parametrize(
    "config", [DownloaderConfig(state_commit=100), DownloaderConfig(state_commit_bytes=5000)], ids=["entries", "bytes"]
)
def test_commits_are_of_a_certain_size(config):
    fetch = StateFetch(STATE.root, config=config)
    sizes = []
    while not fetch.download.is_complete:
        fetch.settle()
        if fetch.commit is not None:
            sizes.append((len(fetch.commit.entries), sum(len(entry.value) for entry in fetch.commit.entries)))
            fetch.store()
        fetch.answer_all(STATE.entries)
    assert all(count <= config.state_commit for count, _ in sizes)
    assert all(size < config.state_commit_bytes + 1000 for _, size in sizes)
    full = [count == config.state_commit or size >= config.state_commit_bytes for count, size in sizes]
    assert all(full[:-1])
    assert len(sizes) > 10


def test_few_complete_entries_are_stored_once_they_have_waited_long_enough():
    fetch = StateFetch(STATE.root, config=LARGE_COMMITS)
    while fetch.download.pulled < len(STATE) // 2:
        fetch.settle()
        fetch.answer_all(STATE.entries)
    fetch.settle()
    assert fetch.commit is None
    fetch.now += 0.99
    fetch.settle()
    assert fetch.commit is None
    fetch.now += 0.02
    due = fetch.download.next_wakeup()
    assert due is not None
    assert due <= fetch.now
    fetch.settle()
    assert fetch.commit is not None


def test_nothing_is_asked_for_while_the_store_is_far_behind():
    config = DownloaderConfig(state_commit=10, max_waiting_commits=2)
    fetch = StateFetch(STATE.root, [ALICE, BOB], config)
    for _ in range(200):
        fetch.settle()
        fetch.answer_all(STATE.entries)
    assert fetch.commit is not None
    assert not fetch.open
    assert fetch.download.pulled < len(STATE)
    assert fetch.download.next_wakeup() is None, "the answer to the commit wakes it"
    waiting = fetch.download.held
    while not fetch.open:
        fetch.store()
        fetch.settle()
    assert fetch.download.held < waiting


def test_requests_that_take_too_long_are_asked_of_others():
    fetch = StateFetch(STATE.root, [ALICE, BOB])
    fetch.settle()
    [request] = fetch.open.values()
    due = fetch.download.next_wakeup()
    assert due is not None
    fetch.now = due - 0.1
    assert fetch.expire() == []
    fetch.now = due
    assert fetch.expire() == [request.peer], "too slow for a single entry"
    fetch.leave(request.peer)
    fetch.settle()
    [again] = fetch.open.values()
    assert again.hashes == request.hashes
    assert again.peer != request.peer
    assert fetch.download.timeouts == 1


def test_peer_is_spared_for_a_while_when_a_request_to_it_was_lost():
    fetch = StateFetch(STATE.root)
    fetch.settle()
    [request] = fetch.open.values()
    assert fetch.download.on_request_lost(request.request_id, fetch.now)
    fetch.open.clear()
    fetch.settle()
    assert not fetch.open
    fetch.now += fetch.config.lost_request_pause_s
    fetch.settle()
    assert [again.hashes for again in fetch.open.values()] == [request.hashes]


def test_nothing_more_is_asked_for_and_the_commit_is_still_answered_for_when_cancelled():
    fetch = StateFetch(STATE.root)
    while fetch.commit is None:
        fetch.settle()
        fetch.answer_all(STATE.entries)
    fetch.settle()
    fetch.download.cancel()
    assert fetch.download.advance(fetch.now) == []
    assert fetch.download.next_wakeup() is None
    assert fetch.download.open_requests == 0
    assert fetch.download.is_busy
    fetch.store()
    assert not fetch.download.is_busy
    assert not fetch.download.is_complete
    assert fetch.download.held == 0


def test_download_is_over_when_a_commit_fails():
    fetch = StateFetch(STATE.root)
    while fetch.commit is None:
        fetch.settle()
        fetch.answer_all(STATE.entries)
    fetch.download.on_store_failed(fetch.commit.batch_id)
    assert not fetch.download.is_busy
    assert not fetch.download.is_complete
    assert fetch.download.advance(fetch.now) == []


STORAGE = {slot.to_bytes(32): slot + 1 for slot in range(40)}
BELOW_NODE: dict[bytes, bytes] = {}
NODE_HASH = add_secure_trie({slot: rlp.encode(value) for slot, value in STORAGE.items()}, BELOW_NODE)
NODE = BELOW_NODE[NODE_HASH]


@pytest.mark.parametrize(
    "last",
    [EMPTY_CODE_HASH, EMPTY_TRIE_ROOT, NODE],
    ids=["who-has-the-node", "who-has-the-code", "the-bytes-themselves"],
)
def test_code_with_the_bytes_of_a_node_does_not_vouch_for_what_is_below_the_node(last):
    state = made_state({b"a" * 20: Account(code=NODE), b"b" * 20: Account(storage=STORAGE)})
    fetch = StateFetch(state.root, [ALICE, BOB])
    withheld = [entry_hash for entry_hash, value in state.entries.items() if last in value]
    assert len(withheld) == 1
    for _ in range(20):
        fetch.settle()
        if fetch.commit is not None:
            fetch.store()
        for request in list(fetch.open.values()):
            wanted = [entry for entry in request.hashes if entry not in withheld]
            if wanted:
                fetch.answer(request, entries_of(state.entries, wanted))
        fetch.now += 1.0
    assert not fetch.download.is_complete
    fetch.finish(state.entries)
    assert fetch.chain.state == state.entries


def test_code_with_the_bytes_of_a_node_is_complete_in_itself_when_nobody_needs_the_node():
    state = made_state({b"a" * 20: Account(code=NODE), b"c" * 20: Account(code=b"other")})
    fetch = StateFetch(state.root)
    fetch.finish(state.entries)
    assert fetch.chain.state == state.entries
