"""Every decoder, fed with bytes nobody chose. The oracle: a value, or a fault that its docstring names.

`targets` lists the decoders with valid samples, `mutations` changes samples, knowing what RLP looks like.
`test_decoders` runs a short profile and the corpus; `python -m tests.fuzz --minutes 10` is the long one, which
is guided by coverage where atheris is installed. What a long run finds is kept in `corpus`.
"""
