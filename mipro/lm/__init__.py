"""Language models: one protocol (`base`), and what implements it.

Read `base.py` first, then `meter.py` (the ledger) and `cache.py`; `openai.py` drives any
OpenAI-compatible endpoint and `serve.py` is one, with the wire format (`wire.py`) and the table of
errors (`status.py`) they share; `tokens.py` counts, and `simulated/` is the embedded LM.
"""
