"""The broadcaster: which peer is sent a block, which is told of it, which has it already; and pending transactions.

Gateways attach with one stream each and name their peers; the coordinator asks for a block to be propagated or
announced. `core` decides (`block_relay`, on top of `known_sets` and `fan_out`) and follows the chain
(`followed_chain`); `edges` are the gateways' streams, the coordinator's calls and the stream to the coordinator.

A peer's transactions go from `edges.transaction_intake` over `edges.checking_thread` (`core.transaction_check`) to
`edges.pool_desk`, which pools them (`core.pending_pool`), sends them on (`core.transaction_relay`) and notes what
becomes of them (`core.fates`).
"""
