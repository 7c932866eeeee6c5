"""The house as its users see it: commands, the worker, the API, pages and reports. Composes `ingestion` and `model`.

In: log files, pushed lines, Kafka topics. Out: judged windows and incidents in the store, over REST and as pages.

In the order the data flows:

- `cli.py`          the command `logvq`; `commands.py` what each verb does, `summary.py` what `try` prints;
                    `process.py` how every process runs
- `settings.py`     `logvq.toml`: how topics and files are written; `inspection.py` what proposes it
- `training.py`     known-good lines, in windows by `cutting.py`, to a bundle; `bundle.py` its directory of plain files;
                    `calibration.py` how sure it may be; `reach.py` what it cannot judge
- `worker.py`       inputs to the store, one transaction a batch; `inbox.py` pushed lines as an input
- `held_sources.py` the sources in memory, from one checkpoint to the next
- `pipeline.py`     one source's state: parser, open windows, model state, open incident
- `open_windows.py` the events of open windows, saved; `event_scores.py` what the model says of them
- `judging.py`      a complete window to a row of the store
- `observing.py`    its events as the detector wants them
- `detection/`      the detector: what good windows are like, and how strange another one is, as pure functions
- `evidence.py`     what a window has to say, by `kinds.py`; `citing.py` the lines that carry an alarm;
                    `counterfactuals.py` what it would be with what it lacks, and without its codes; `rereading.py` what
                    these want read again, of many alarms together
- `excusing.py`     an alarm without the lines that are excused
- `explain.py`      why, in figures; `reasons.py` in words; `leaning.py` what the encoder leaned on; `comparing.py` the
                    known-good windows nearest to it, out of the bundle's `examples.py`; `explained_text.py` all of it
                    as plain text
- `alarms/`         whether a judged window is an alarm: budget, rules, feedback, incidents
- `feedback_store.py` what operators have said of alarms; `known_faults.py` known-good lines without the faults among
                    them; `joined_incidents.py` incidents of several sources as one
- `rule_report.py`  where rules and model agree; `alarm_commands.py` the commands about alarms
- `dead_letters.py` lines that became no event, and how many are too many; `dead_letter_commands.py` the command that
                    lists them
- `store.py`        what the worker writes and reads again; `inbox_table.py` pushed lines in the database;
                    `stored_results.py` what the API reads; `database.py` SQLite or PostgreSQL, opened; `schema.py` the
                    tables, `migrations/` their history; `packing.py` JSON values, compressed
- `shown_windows.py` a stored window as the API and the pages show it
- `app.py`          the API, with `routes/` by resource and `problems.py` for its errors
- `pages/`          explanation pages; `report.py` the one-file report; `trying.py` what fills it, `held_back.py`
                    what the budget held back
- `whole_files.py`  a file as known-good lines, and lines that are all there already through the worker
- `replaying.py`    a range once more, with a bundle of choice
- `evaluation/`     how well alarms fit what people marked, beside simple rules
- `metrics.py`      the catalogue of metrics
- `demo.py`         the bundled sample, streamed
- `errors.py`       what goes wrong, each with its slug
"""

__version__ = "0.1.0"
