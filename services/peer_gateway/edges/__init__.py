"""Sockets and streams.

`listener` and `dialler` open `connections`, `peer_memory` keeps whom to dial after a restart (`former_peer_table`);
`tcp` carries one `Connection`; `peer_session` is its life, `peer_messages`
what becomes of its messages: `replies` go to the coordinator, `questions` are answered through `chain_reader`.
`digests` are computed in slices or by a `root_process`; `read_turns` and `write_turns` share the event loop.
`coordinator_link` and `broadcaster_link` are the streams, kept open by `link`; `commands` carries out what comes back.
`udp` carries discovery, `node_finder` looks for candidates while some are wanted, `node_database` remembers nodes.
`roster` lists who has joined. At a connection's end `refusals` and `farewell` say why; `noted_offences` counts what
ends none.
"""
