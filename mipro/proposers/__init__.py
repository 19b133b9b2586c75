"""Proposers: given a module, evidence and settings, return an instruction.

Read in this order: `tips`, `settings` (what a proposer may be told to use, as a `Space`, and how to
add to it), `summaries` (texts about data, program and modules, each written once), `history`,
`grounded`, and `whole_program`.
"""
