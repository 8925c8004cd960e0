"""What makes one network different from another, and nothing that changes while it runs.

`spec` is the fork schedule, `genesis` turns geth's genesis JSON into block 0 and that schedule,
`networks` looks up the seven built-in ones, `enode` reads and writes node URLs. Built-in networks are
files in `builtin/`, whose `genesis` is what a user would write; allocations are read only when asked for.
"""
