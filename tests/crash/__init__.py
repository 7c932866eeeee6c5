"""Kills everything at random moments and compares what is stored with an undisturbed run; see `__main__.py`.

- `feeding.py`   the lines, and sending them no further than allowed
- `havoc.py`     what is done to workers and broker
- `comparing.py` what two runs must agree in
- `running.py`   one run on one database; `__main__.py` the command
"""
