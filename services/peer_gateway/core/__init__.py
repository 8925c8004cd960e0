"""The protocols of a connection, from the bottom up, pure.

`ecies`, `rlpx_handshake` and `framing` are RLPx; `message_pipe` and `snappy_codec` make messages of frames; `devp2p`
is Hello and the base messages; `connection` is one connection as a state machine (`phases`). Above it `eth_session`
checks Status and decodes, `request_book` says whose question a reply answers, `reply_decoding` hashes. Besides:
`dial_schedule` (when which node is dialled), `known_blocks` (what a peer has). What follows from a fault is in
`services.shared.ethwire.offences`.
"""
