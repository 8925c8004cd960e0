"""The chain on disk.

`chain_store` says what the coordinator asks of a store; `lmdb_store` keeps it in LMDB, with `reading` for
its transactions, `tables` for the layout, and `environment`, `data_file`, `probe` and `writer_lock` for
what is checked before it is opened. `dumps` and `era1` read and write chain files, `file_import` brings
them in. `verify` checks a whole store again, with `verify_heads`, `verify_seals` and `verify_state`.
"""
