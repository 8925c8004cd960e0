"""The protocols of a connection, from the bottom up, pure.

`ecies`, `rlpx_handshake` and `framing` are RLPx; `message_pipe` and `snappy_codec` make messages of frames; `devp2p`
is Hello and the base messages; `connection` is one connection as a state machine (`phases`). Above it `eth_session`
checks Status and decodes, `request_book` says whose question a reply answers, `reply_decoding` hashes. Besides:
`dial_schedule` (when which node is dialled; `former_peers`, `redial_history`), `address_rules` and `pending_places`
(who may shake hands), `known_blocks` (what a peer has). What follows from a fault is in
`services.shared.ethwire.offences`; `faulty_messages` and `client_family` put it and peers into few words.

Finding peers is `discovery`, on `packet_exchange` (what is said to single nodes, with `endpoint_proofs` and
`pending_replies`), `searches` (lookups), `revalidation` and `node_table`; `discv4_packets`, `discv4_types` and
`enr` are its bytes, `discv4_faults` what can be wrong with them, `discovery_actions` what the edge is asked to do.
"""
