"""The real core, explored exhaustively within small bounds: every order of events, not a random one.

The seeded simulator tries long stories and few orders; this tries every order of short ones. `docs/model.md`
says what is explored, what a state is, and what is left out. Begin to read with `world`.
"""
