"""The pipeline DSL, and the paper's programs written in it.

Read in this order: `signature` (what a module takes and returns; `types` has the kinds of field),
`prompt` (what is tuned), `adapter` (fields to chat messages and back), `trace`, `module`, and
`program`. `react` is an agent with tools, written in it.
"""
