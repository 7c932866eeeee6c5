"""What windows of tokens give away, each piece a pure function of windows: no clock, no store, no encoder.

In: windows of known-good tokens with the surprisal of their events. Out: how strange another window is, in nats, and
what says so.

- `counts.py`       how far a window's counts are from every known-good window, and which events make the difference
- `composition.py`  how unlike its make-up is, whatever its length
- `surprise.py`     its surprisal against the spread of known-good windows as long as it
- `novelty.py`      events never seen, weighed by how often known-good windows bring such news
- `silence.py`      its longest gap against those that follow the same event
- `pace.py`         all its gaps together against those usual between the same two events
- `ranges.py`       its numbers against the range each has
- `codes.py`        its codes against their usual shares
- `combining.py`    several measurements, one strength
- `cleaning.py`     windows that had better not be learnt from, where training windows come as they are
- `detector.py`     all of it, fitted to known-good windows held out in parts
- `saving.py`       a detector on disk
- `ngrams.py`       surprisal by counting: learns in seconds, where there is no encoder yet
"""
