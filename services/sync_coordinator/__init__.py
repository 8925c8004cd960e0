"""The sync coordinator: the peer set over all gateways, when to sync and with whom, the chain and its store.

`node.py` is where its parts meet: what happens when a gateway reports something. `core` decides, `edges` carry out,
`store` keeps the chain. `commands.py` is import, export, verify and init, which need no other service.
"""
