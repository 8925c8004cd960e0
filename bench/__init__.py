"""Repeatable measurements: `python -m bench.NAME [--json]`, each with a table as its result."""
