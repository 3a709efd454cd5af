"""Mutants: small plausible bugs, one per place that must work, and the run that shows that tests catch each of them.

    python -m tests.mutants --list
    python -m tests.mutants [--only PATTERN] [--jobs N] [--named] [--markdown FILE]

Works on a copy of the tree, never on the checkout. Every mutant first meets the few tests that are named for it and,
if it survives those, the whole suite. tests/test_mutants.py checks quickly that the table is complete and applies.
"""
