"""Decisions, pure: input and `now` in, actions out.

Peers: `peer_set` with its `places`, `reunion` after a restart, `node_list` and `node_file` of static and trusted
nodes, `dial_plan`, `challenges`, `reply_router`, `ban_list`, `disconnect_log`, `read_once`. Syncs: `sync_cycle` says
when, `sync_mode` in which mode; `downloader` is one sync, made of `ancestor_search`, `sync_start` and `chain_download`:
`header_download` (`skeleton`, `linked_headers`), `block_download` (`content_fetch`, `part_queue`, `part_fetch`,
`block_assembly`), `pivot_state` (`pivot`, `state_download`), `import_batches` and `master_promise`, at the pace of
`capacity` and `round_trip`. New blocks: `announce_fetcher` (`fetcher_tally`), `block_queue`. Judging: `chain_rules`
(`difficulty`, `base_fee`, `uncles`, `fork_eras`), `fork_choice`; seals: `ethash_seal` (`ethash_epochs`,
`ethash_cache`), `clique_snapshot`, `seal_sampling`, and `seal_routing` among workers. Peers' questions:
`chain_serving`.
"""
