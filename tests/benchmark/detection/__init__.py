"""Detection on public logs: what is found, at the threshold the product ships with, beside simple rules.

    LOGVQ_DATA=… python -m tests.benchmark.detection [row…] [--seeds 0,1,2] [--detectors rules,lstm,counting,encoder]

Each row is a protocol on one data set, run twice: with anomalies cleaned from the training windows, and with training
windows as they come. `ours` learns from all windows that were cleaned, since labels vouch for them, and sets strange
ones aside where they come as they are; `ours, unvouched` sets aside on cleaned windows too, which is what not knowing
costs, and `ours, trusting` learns from everything that came. What a detector said of a row is kept under
`results/detection/`, and not asked again while the code that decides it is the same. What is trained is trained with
every seed. In the table a star marks figures of older code.

- `protocol.py`   what a row is: windows to learn from, windows to judge, and their labels
- `sessions.py`   HDFS block sessions and ADFA-LD traces
- `machines.py`   Blue Gene/L and Mazak lines
- `alarms.py`     ALPI and Nezha, a command of its own; `nezha.py` its faults injected into services
- `streams.py`    streams with a clock, as alarms are decided on in the product
- `budget.py`     alarms raised against alarms asked for, a command of its own
- `feedback.py`   what an operator's answers are worth, a command of its own
- `baselines.py`  simple rules and models that must stand in every table
- `ours.py`       the product's own evidence, cross-fitted, and its calibration; windows set aside
- `encoding.py`   windows as encoders read them, trained for a small budget
- `longvq.py`     the same as ours with surprisal by the encoder
- `lstm.py`       an LSTM that predicts the next event
- `figures.py`    areas, F1, alarms a day, incidents, delays, bootstrap intervals
"""
