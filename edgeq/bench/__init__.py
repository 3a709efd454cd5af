"""Measurements of edgeq and other engines in one run, as shares of what the machine can do: `edgeq bench`.

Read in this order: cases (what is measured), engines/ (by whom, each in a process of its own), rounds (in which
order), rule (which slots count), facts and roofline (what the machine allows), summary and stats (what comes out),
result (the JSON file), report, plot and compare (how it is shown). Imported by that command only.
"""
