"""Streams, workers and calls.

`gateway_link` reads what gateways send and tells `gateway_events`; `gateway_links` sends. `sync_driver`, `fetch_driver`
and `challenge_driver` carry out what downloader, fetcher and challenges decide; `peer_asker` asks peers and drops them,
`penalty_desk` says what follows, `admissions` who is let in, `dial_plans` whom gateways keep, by `node_files` and
`peer_orders`. Blocks enter through `block_import` (its `import_kinds`), a sync's by `sync_importing`; it
has seals checked by `seal_workers`: ethash by an `epoch_pool`, clique by `clique_seals` and a `seal_pool`, of
`seal_process`es. `broadcaster_client` has blocks relayed. Served: `operator_api`,
`chain_reader`, `chain_watch`; `status_board` gathers what they show. Measured: `request_watch`, `sync_activity`,
`node_gauges`.
"""
