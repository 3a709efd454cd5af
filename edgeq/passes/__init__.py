"""Passes: pure functions from a program to a program (fuse, split) or to a plan for it (place)."""
