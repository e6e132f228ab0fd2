"""Benchmarks: what a policy costs on this machine, beside every alternative and the limit of the memory.

    workloads x contenders (peers/) -> check against the truth -> interleaved rounds -> Result -> table, JSON, picture

`python -m benchmarks run augment`; see `python -m benchmarks list`.
"""
