"""What more than one service needs, in five rooms; there are no modules here.

`ethwire`: the values and encodings of the wire, pure. `chainspec`: networks, genesis files, fork schedules, enode
URLs. `rpc`: between contracts and values, channels, queues, errors. `runtime`: how a process lives.
`trust`: whom a service lets in, and how it is shown.
"""
