"""The peer gateway: connections to remote peers, and nothing decided about the chain.

`core` speaks the protocols without a socket; `edges` are the sockets, the streams to coordinator and broadcaster,
and the sessions that tie them together. A gateway dials its coordinator; any number of gateways may do so.
"""
