"""The three services, and `shared`, what more than one of them needs.

`peer_gateway` holds connections, `sync_coordinator` owns what is global, `broadcaster` decides who hears of a block.
Each is a process (`python -m services.NAME`) made of a pure `core`, of `edges` that carry its decisions out, and of
`app.py`, which puts the parts together. A service imports itself and `shared` only.
"""

import os

# gRPC writes to stderr, past our log, for every stranger whose TLS handshake fails. It reads this when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
