"""Measurements; each is one command that prints a table and keeps it as JSON beside it. None is a test.

- `scaling.py`   time and memory of one layer as the sequence grows, beside a causal Transformer layer
- `streaming.py` events scored per CPU-second over many sources, beside an LSTM
- `mixers.py`    LongVQ and simpler encoders on real logs: held-out surprisal and detection
- `sequences.py` the same on sequence tasks: recall, copying, induction, ListOps, pixels, speech; `tasks/` makes them,
                 `reader.py` trains on them
- `gpu.py`       speed and memory of the large encoder on a GPU, beside FlashAttention
- `kafka_client.py` lines read from Kafka per CPU-second, without the model
- `mazak.py`     `logvq try` on a machining centre's events

`python -m tests.crash` keeps what it did, and to what, here as well.

`transformer.py` is what layers are timed against, `markov.py` what surprisal stands beside; `report.py` names the
machine and keeps the figures.
"""
