"""What becomes of a judged window: alarm or not, by whose decision, and whom it joins. No clock but the events' own.

In: judged windows of one source, in order; a budget, site rules, what operators have said. Out: the decision in the
window's row, and rows of incidents. Each piece is a function of its inputs and of a state that is plain JSON.

- `budget.py`     how many alarms a source may raise, and the threshold that keeps to it while the source drifts
- `drift.py`      whether a source still is what its bundle was calibrated on
- `rules.py`      what a plant wants of alarms whatever the model says, `maintenance.py` when it wants none; `policy.py`
                  budgets and rules together
- `confirmed.py`  what operators have said, and which windows what they called normal quiets
- `alarming.py`   all of it: one source's decisions
- `incidents.py`  alarms of one source joined; `groups.py` incidents of several
- `choices.py`    what other budgets would have raised of the same windows, and missed
"""
