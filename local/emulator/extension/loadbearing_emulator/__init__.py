"""What MiniStack lacks for this project's templates to deploy unmodified.

Each module mends one gap of the pinned release, names it, and checks at start
that the gap is still there: a piece that a later release makes superfluous is
skipped with a line in the log, and can then be deleted.

Run as ``python -m loadbearing_emulator`` in place of ``ministack``.
"""
