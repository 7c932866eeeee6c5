"""Measurements; each is one command that prints a table and keeps it as JSON beside it. None is a test.

- `scaling.py`   time and memory of one layer as the sequence grows, beside a causal Transformer layer
- `streaming.py` events scored per CPU-second over many sources, beside an LSTM
- `mixers.py`    LongVQ and simpler encoders on real logs: held-out surprisal and detection
- `shapes.py`    what codes, blocks, heads and layers of the encoder buy, and what they cost
- `sequences.py` the same on sequence tasks: recall, copying, induction, ListOps, pixels, speech; `tasks/` makes them,
                 `reader.py` trains on them
- `gpu.py`       speed and memory of the large encoder on a GPU, beside FlashAttention
- `formats.py`   bytes to framed, timed messages per format, beside the form one would first write
- `pipeline.py`  records in memory to judged windows, many sources together, beside one window at a time
- `kafka_client.py` lines read from Kafka per CPU-second, without the model
- `end_to_end.py` lines in Kafka to stored scores, a second, and how late they are
- `detection/`   what is found on public logs, beside simple rules
- `faithfulness.py` whether alarms are gone without the lines they cite, beside as many lines at random
- `uniformity.py` whether the p-values of good windows are uniform
- `mazak.py`     `logvq try` on a machining centre's events
- `parsing.py`   lines parsed per CPU-second, beside Drain3; linearity; memory of many sources
- `grouping.py`  whether the templates are those people gave the lines, beside Drain3

`python -m tests.crash` keeps what it did, and to what, here as well.

`lines.py` reads the public logs; `transformer.py` is what layers are timed against, `markov.py` what surprisal stands
beside; `report.py` names the machine and keeps the figures.
"""
