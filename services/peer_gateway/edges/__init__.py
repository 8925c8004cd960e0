"""Sockets and streams.

`listener` and `dialler` open connections; `tcp` carries one `Connection`; `peer_session` is its life, `peer_messages`
what becomes of its messages: `replies` go to the coordinator, `questions` are answered through `chain_reader`.
`coordinator_link` and `broadcaster_link` are the streams, kept open by `link`; `commands` carries out what comes back.
`roster` lists who has joined.
"""
