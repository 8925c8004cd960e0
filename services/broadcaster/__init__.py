"""The broadcaster: which peer is sent a block, which is told of it, and which has it already.

Gateways attach with one stream each and name their peers; the coordinator asks for a block to be propagated or
announced. `core` decides (`block_relay`, on top of `known_sets` and `fan_out`) and follows the chain
(`followed_chain`); `edges` are the gateways' streams, the coordinator's calls and the stream to the coordinator.
"""
