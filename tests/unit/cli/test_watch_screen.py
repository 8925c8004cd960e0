"""The screen of `trisync watch`: what it shows, and that it always fits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console, Group

from tests.support.node_statuses import IDLE, at_head, downloading
from tests.support.watched_nodes import FAILED_SYNC, NO_PEERS_SYNC, peer, relayed
from trisync.cli.watch_numbers import compact, compact_bytes, grouped, signed
from trisync.cli.watch_screen import screen
from trisync.cli.watch_state import WatchModel, WatchState
from trisync.node_status import ChainHead, NodeStatus, SyncMode

SIZES = [(80, 24), (120, 40), (40, 10), (200, 60), (20, 5), (1, 1)]
HUGE = 2**256 - 1


def model(status: NodeStatus = IDLE, *, now: float = 0.0) -> WatchModel:
    made = WatchModel("127.0.0.1:7450")
    made.on_status(status, now)
    return made


def crowded() -> WatchState:
    """Everything is long, big or many."""
    head = ChainHead(b"\xff" * 32, 2**64 - 1, HUGE)
    made = model()
    status = replace(downloading(10**19, of=2**64 - 1), best_peer_head=head, peer_count=300, mode=SyncMode.FAST)
    made.on_status(status, 1.0)
    names = ["Geth/" + "x" * 500, "名前" * 40, "\x1b[2Jbad\nname\t", "", "e\u0301" * 60, "👩‍👩‍👧‍👧" * 30]
    peers = [peer(number, client_name=names[number % len(names)], total_difficulty=HUGE) for number in range(60)]
    made.on_peers(peers, replace(NO_PEERS_SYNC, explanation="why " * 100))
    for number in range(120):
        made.on_propagation(relayed(2**64 - 1 - number))
    return made.state


def drawn(state: WatchState, width: int, height: int) -> list[str]:
    """What a terminal of this size gets; a line that wrapped would be two here."""
    console = Console(width=width, height=height, color_system=None, force_terminal=True, legacy_windows=False)
    with console.capture() as captured:
        console.print(Group(*screen(state, width, height)), end="")
    return captured.get().rstrip("\n").split("\n")


def shown(state: WatchState, width: int = 80, height: int = 24) -> str:
    return "\n".join(drawn(state, width, height))


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("case", ["crowded", "lost", "idle", "new"])
def test_screen_fits_whatever_it_shows(case: str, width: int, height: int):
    lost = model()
    lost.on_lost(5.0)
    states = {
        "crowded": crowded(),
        "lost": replace(crowded(), connection=lost.state.connection, lost_s=1e9),
        "idle": model().state,
        "new": WatchState(address="unix:/" + "long/" * 60),
    }
    lines = drawn(states[case], width, height)
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    assert len(lines) == len(screen(states[case], width, height))


def test_words_of_peers_move_no_cursor():
    assert "\x1b" not in shown(crowded(), 200, 60)
    assert "?[2Jbad?name?" in shown(crowded(), 200, 60)


def test_low_screen_keeps_what_matters_most():
    text = shown(crowded(), 40, 10)
    assert "trisync  network 1337" in text
    assert "downloading" in text
    assert "sync: no peers" in text
    assert "60 peers" in text


def test_wide_screen_shows_more_of_each_peer():
    assert "address" not in shown(crowded(), 80, 24)
    assert "address" in shown(crowded(), 120, 40)


def test_both_lists_have_their_part_and_say_how_much_is_left_out():
    text = shown(crowded())
    assert "last blocks, and how they spread" in text
    assert text.count("more") == 2
    assert len(text.splitlines()) == 24


def test_progress_rate_and_time_left_are_shown():
    made = model(downloading(0, of=10_000))
    made.on_status(downloading(2000, of=10_000), 10.0)
    text = shown(made.state)
    assert "2,000 of 10,000" in text
    assert "20.0 %" in text
    assert "200 blocks/s" in text
    assert "40 s left" in text


def test_best_peer_and_ours_are_compared():
    assert "total difficulty +200 to ours" in shown(model(downloading(100, of=300)).state)
    assert "as heavy as ours" in shown(model(at_head(300, syncs_done=1)).state)
    assert "no peer" in shown(model().state)


def test_node_without_peers_says_why_no_sync_runs():
    made = model()
    made.on_peers([], NO_PEERS_SYNC)
    text = shown(made.state)
    assert "no peers" in text
    assert "sync: no peers: there is nobody to follow" in text


def test_reason_of_a_failed_sync_is_shown_while_none_runs():
    made = model()
    made.on_peers([], FAILED_SYNC)
    assert "last sync failed 4 s ago: protocol too old (no peer has receipts)" in shown(made.state)


def test_broadcaster_that_is_away_is_told_and_the_rest_is_shown():
    made = model(at_head(300, syncs_done=1))
    made.on_peers([peer(1)], NO_PEERS_SYNC)
    made.on_propagation_problem("no broadcaster answers")
    text = shown(made.state)
    assert "propagation: no broadcaster answers" in text
    assert "1 peer, 1 in, 0 out" in text


def test_way_of_a_block_is_one_line():
    made = model()
    made.on_propagation(relayed(41))
    line = shown(made.state, 120, 40).splitlines()[-1]
    name = f"0x{relayed(41).block_hash.hex()[:8]}…"
    assert " ".join(line.split()) == f"41 {name} peer 2.5 ms 10 ms 4 of 9 5 2"


def test_node_that_went_away_keeps_its_screen_and_the_time_runs():
    made = model(at_head(300, syncs_done=1), now=100.0)
    made.on_peers([peer(1)], NO_PEERS_SYNC)
    made.on_lost(101.0)
    made.on_lost(103.0)
    text = shown(made.at(111.0))
    assert "reconnecting to 127.0.0.1:7450 for 10 s" in text
    assert "1 peer" in text
    made.on_status(at_head(300, syncs_done=0), 112.0)
    assert "reconnecting" not in shown(made.at(113.0))


def test_block_that_is_told_again_is_one_line():
    made = model()
    made.on_propagation(relayed(41))
    made.on_propagation(replace(relayed(41), duplicates=7))
    assert [one.duplicates for one in made.state.propagations] == [7]


def test_only_news_count_as_changes():
    made = model()
    made.on_peers([peer(1)], NO_PEERS_SYNC)
    before = made.changes
    made.on_peers([peer(1)], NO_PEERS_SYNC)
    made.on_propagation_problem("")
    made.at(1000.0)
    assert made.changes == before


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (9999, "9999"), (10_000, "10.0k"), (0.25, "0.2"), (1_250_000, "1.2M"), (-5, "-5"), (3 * 10**26, "300Y")],
)
def test_numbers_are_short(number: float, text: str):
    assert compact(number) == text


def test_no_number_is_too_big():
    assert compact(10**40) == "1e40"
    assert compact(2**40_000) == "1e12041"
    assert grouped(2**64 - 1) == "18.4E"
    assert (grouped(1_234_567), signed(0), signed(7), signed(-7)) == ("1,234,567", "level", "+7", "-7")


def test_uptime_goes_on_while_nothing_changes_and_stands_still_while_the_node_is_away():
    watched = model(replace(IDLE, uptime_s=5), now=100.0)
    assert "up 5 s" in shown(watched.at(100.2))
    assert "up 2 min 05 s" in shown(watched.at(220.0))
    watched.on_lost(221.0)
    assert watched.changes == 2
    assert "up 2 min 06 s" in shown(watched.at(300.0))


@pytest.mark.parametrize(("size", "shown"), [(0.0, "0.0 B"), (812.0, "812 B"), (32_412.0, "32.4 kB"), (2e9, "2.0 GB")])
def test_bytes_have_their_unit_behind_a_blank(size: float, shown: str):
    assert compact_bytes(size) == shown
