"""Detection on public logs: what is found, at the threshold the product ships with, beside simple rules.

    LOGVQ_DATA=… python -m tests.benchmark.detection [row…] [--seeds 0,1,2]

Each row is a protocol on one data set, run twice: with anomalies cleaned from the training windows, and with training
windows as they come. `ours` learns from all windows that were cleaned, since labels vouch for them, and sets strange
ones aside where they come as they are; `ours_unvouched` sets aside on cleaned windows too, which is what not knowing
costs, and `ours_trusting` learns from everything that came. A row that is done is kept under `results/detection/` and
not done again.

- `protocol.py`   what a row is: windows to learn from, windows to judge, and their labels
- `sessions.py`   HDFS block sessions and ADFA-LD traces
- `machines.py`   Blue Gene/L and Mazak lines
- `alarms.py`     ALPI and Nezha, a command of its own; `nezha.py` its faults injected into services
- `streams.py`    streams with a clock, as alarms are decided on in the product
- `budget.py`     alarms raised against alarms asked for, a command of its own
- `feedback.py`   what an operator's answers are worth, a command of its own
- `baselines.py`  simple rules and models that must stand in every table
- `ours.py`       the product's own evidence, cross-fitted, and its calibration; windows set aside
- `longvq.py`     the same with surprisal by the encoder, trained for a small budget
- `figures.py`    areas, F1, alarms a day, incidents, delays, bootstrap intervals
"""
