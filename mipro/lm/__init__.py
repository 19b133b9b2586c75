"""Language models: one protocol (`base`), and what implements it.

Read `base.py` first, then `meter.py`; `openai.py` drives any OpenAI-compatible endpoint, `cache.py`
remembers replies, `tokens.py` counts, and `simulated/` is the embedded LM.
"""
