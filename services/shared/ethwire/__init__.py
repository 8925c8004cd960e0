"""The wire's values and encodings, pure: no clock, socket or task.

`rlp_slices` reads RLP in place; on it stand `headers`, `bodies`, `roots` and `eth_messages`, the codec of the
`messages`, one table per protocol version. `types` are the values, `hashing` is Keccak, `limits` are the sizes both
sides agree on, `known_sets` are which peer knows which hash, `faults` say whose fault it is, `offences` what follows.
"""
