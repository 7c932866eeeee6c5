"""What windows of tokens give away, each piece a pure function of windows: no clock, no store, no model.

- `counts.py`    how far a window's counts are from every known-good window, and which event makes the difference
- `ngrams.py`    surprisal of each event after the events before it, by counting; learns in seconds
- `surprise.py`  a window's surprisal against the spread of known-good windows as long as it
- `novelty.py`   events never seen, weighed by how often known-good windows bring such news
"""
