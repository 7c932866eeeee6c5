"""Measurements; each is one command that prints a table and keeps it as JSON beside it. None is a test.

- `scaling.py`   time and memory of one layer as the sequence grows, beside a causal Transformer layer
- `streaming.py` events scored per CPU-second over many sources, beside an LSTM
- `mixers.py`    LongVQ and simpler encoders on real logs: held-out surprisal and detection
- `sequences.py` the same on sequence tasks: recall, copying, induction, ListOps, pixels, speech; `tasks/` makes them,
                 `reader.py` trains on them
- `gpu.py`       speed and memory of the large encoder on a GPU, beside FlashAttention
- `detection/`   what is found on public logs, beside simple rules
- `mazak.py`     `logvq try` on a machining centre's events

`transformer.py` is what layers are timed against, `markov.py` what surprisal stands beside; `report.py` names the
machine and keeps the figures.
"""
