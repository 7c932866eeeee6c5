"""How well a bundle finds what people marked: `logvq evaluate`.

In: judged windows and a file of labels. Out: figures of ranking, of the alarms as shipped, and by incident and day,
with intervals, and beside them those of simple rules. No threshold is taken from labels, and nothing counts as found
because something near it was.

- `labels.py`     the file of labels, and which windows they mark
- `figures.py`    single figures from arrays, and their intervals
- `measuring.py`  every figure of judged windows
- `baselines.py`  simple rules over the same windows
- `evaluate.py`   a file scored with a bundle, or the windows of a database, against the labels
- `printing.py`   what the command prints
"""
