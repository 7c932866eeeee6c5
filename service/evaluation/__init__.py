"""How well a bundle finds what people marked: `logvq evaluate`.

In: judged windows and a file of labels. Out: figures of ranking, of the alarms as shipped, and by incident and day. No
threshold is taken from labels, and nothing counts as found because something near it was.

- `labels.py`    the file of labels, and which windows they mark
- `figures.py`   ranking and alarm figures from arrays, with intervals
- `evaluate.py`  a file scored with a bundle, or the windows of a database, against the labels
"""
