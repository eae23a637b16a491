"""Python clients of several stores, each in a process of its own, and what a call of each costs.

`worker` is the program of such a process, and runs in the environment of its client library: it, `loops` and
the modules `with_…` import nothing of the rest of bench/. `kinds`, `environments`, `processes`, `measuring`
and `resting` belong to the program that measures.
"""
