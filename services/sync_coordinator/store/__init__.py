"""The chain on disk.

`chain_store` says what the coordinator asks of a store; `lmdb_store` keeps it in LMDB, with `tables` for
the layout, `environment`, `data_file` and `writer_lock` for what is checked before it is opened. `dumps`
and `era1` read and write chain files, `file_import` brings them in, `verify` checks a whole store again.
"""
