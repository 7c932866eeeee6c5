"""What each verb of the command line does."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from ingestion import WindowSpec, clean
from service.alarms.budget import Budget
from service.alarms.policy import AlarmPolicy
from service.alarms.rules import load_rules
from service.errors import BadSetting
from service.pages.text import json_text
from service.settings import Settings, load_settings
from service.summary import print_summary

if TYPE_CHECKING:
    # Loads torch, which `inspect` does without.
    from service.training import GoodLines, Report

_STAGES = {
    "templates": "learning templates",
    "model": "training the model",
    "calibration": "calibrating",
    "score": "scoring",
}


@contextmanager
def progress_bars() -> Iterator[Report]:
    """Show a bar a stage on standard error."""
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", table_column=Column(no_wrap=True, ratio=1)),
        console=Console(stderr=True),
        expand=True,
    )
    tasks: dict[str, TaskID] = {}

    def report(stage: str, share: float, detail: str) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(_STAGES[stage], total=1.0, detail="")
        bars.update(tasks[stage], completed=share, detail=detail)

    with bars:
        yield report


def run_try(options: argparse.Namespace, command: str) -> int:
    """Look at one log file and write a report."""
    from service.trying import TryOptions, try_file, write_report  # noqa: PLC0415

    started = time.monotonic()
    settings = _settings(options)
    asked = TryOptions(
        file=options.file,
        good=options.good,
        encoding=options.encoding,
        zone=options.tz,
        window=WindowSpec.parse(options.window) if options.window else None,
        policy=_policy(options, settings),
        bundle=options.bundle,
        command=command,
        settings=settings,
        config=options.config,
    )
    _check_writable(options.output)
    with progress_bars() as report:
        data = try_file(asked, report)
    data["training"]["seconds"] = round(time.monotonic() - started, 1)
    write_report(data, options.output)
    if options.json:
        shown = {
            name: data[name] for name in ("file", "bundle", "verdict", "accounting", "training", "budget", "windows")
        }
        shown["entries"] = [{k: v for k, v in entry.items() if k != "window"} for entry in data["entries"]]
        print(json_text(shown | {"report": str(options.output)}))
    else:
        print_summary(data, options.output)
    return 0


def run_inspect(options: argparse.Namespace, _: str) -> int:
    """Propose how a file's lines are written, and show what that does to them."""
    from service import inspection  # noqa: PLC0415

    found = inspection.inspect_file(options.file, options.encoding, options.tz)
    kind, name = ("topic", options.topic) if options.topic else ("file", options.file.name)
    if options.output is not None:
        inspection.write(found, options.output, kind, name)
        print(f"{options.output}: added [{kind}.{json.dumps(name, ensure_ascii=False)}]", file=sys.stderr)
    if options.json:
        print(inspection.as_json(found))
    else:
        inspection.show(found, kind, name)
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    return load_settings(options.config) if options.config is not None else Settings()


def _policy(options: argparse.Namespace, settings: Settings) -> AlarmPolicy:
    """Return budgets and rules: those of the file, then those of the command line."""
    policy = settings.alarms
    if options.budget is not None:
        policy = replace(policy, budget=Budget.parse(options.budget))
    return policy if options.rules is None else replace(policy, rules=load_rules(options.rules))


def _check_writable(path: Path) -> None:
    if path.is_dir():
        raise BadSetting(f"{path} is a directory; name the report file with -o, such as -o {path}/report.html")
    if not path.parent.is_dir():
        raise BadSetting(f"there is no directory {path.parent} for the report; make it or name another with -o")


def run_train(options: argparse.Namespace, _: str) -> int:
    """Train a bundle on known-good lines."""
    from service.bundle import save_bundle  # noqa: PLC0415
    from service.explain import iso  # noqa: PLC0415
    from service.sample import good_sample  # noqa: PLC0415
    from service.training import train_bundle  # noqa: PLC0415
    from service.whole_files import good_lines  # noqa: PLC0415

    window = WindowSpec.parse(options.window) if options.window else None
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise BadSetting(f"{options.out} exists and is not empty; name a new directory with --out")
    good = (
        good_sample()
        if options.sample
        else good_lines(options.file, options.encoding, options.tz, window, _settings(options))
    )
    if options.feedback is not None:
        good = _without_faults(good, options)
    # Beside the bundle: a training that was stopped goes on when the same command is given again.
    checkpoint = options.out.with_name(f".{options.out.name}.training")
    good = replace(
        good,
        device=options.device,
        checkpoint=checkpoint,
        vouched=not options.as_it_comes,
        keep=tuple(options.keep),
    )
    try:
        with progress_bars() as report:
            bundle = save_bundle(train_bundle(good, report), options.out)
    except KeyboardInterrupt:
        if checkpoint.exists():
            raise KeyboardInterrupt(f"{checkpoint} has what is done: give the same command again to go on") from None
        raise
    checkpoint.unlink(missing_ok=True)
    print(
        f"{options.out}: bundle {bundle.id}, {len(bundle.vocabulary.templates):,} templates, "
        f"{bundle.training.held_out_nats:.2f} nats per held-out event, "
        f"{bundle.calibration.windows:,} calibration windows"
    )
    for aside in bundle.training.set_aside:
        print(
            f"set aside: window {aside['window']}, {aside['reason']}, strength {aside['strength']:g}, from "
            f"{iso(aside['time']) or aside['position']}: {clean(aside['line'])}"
        )
    return 0


def _without_faults(good: GoodLines, options: argparse.Namespace) -> GoodLines:
    from ingestion import read_records  # noqa: PLC0415
    from service.database import existing  # noqa: PLC0415
    from service.known_faults import leave_out_faults  # noqa: PLC0415
    from service.sample import good_sample  # noqa: PLC0415
    from service.store import Store  # noqa: PLC0415
    from service.whole_files import source_name  # noqa: PLC0415

    source = options.source or source_name(Path(good.name))
    encoding = good.source_format.encoding
    again = good_sample().records if options.sample else read_records(options.file, source, encoding)
    store = Store(existing(options.feedback), options.database_password_file)
    try:
        return leave_out_faults(good, again, store, source, lambda told: print(told, file=sys.stderr))
    finally:
        store.close()


def run_serve(options: argparse.Namespace, _: str) -> int:
    """Score lines as they come, and answer over HTTP."""
    if not 0 < options.max_dead_share <= 1:
        raise BadSetting(f"--max-dead-share is {options.max_dead_share:g}; give a share above 0 and up to 1")
    if options.backfill and options.file in (None, Path("-")):
        raise BadSetting("--backfill begins with the rotated files of a followed log: name that log with --file FILE")
    from service.serving import ServeOptions, serve  # noqa: PLC0415

    settings = _settings(options)
    return serve(
        ServeOptions(
            bundle=options.bundle,
            device=options.device,
            database=options.database,
            database_password_file=options.database_password_file,
            host=options.host,
            port=options.port,
            token_file=options.token_file,
            no_auth=options.no_auth,
            policy=_policy(options, settings),
            file=options.file,
            source=options.source,
            backfill=options.backfill,
            kafka=_kafka(
                options,
                topics=options.topic and tuple(options.topic),
                group=options.group,
                give_up_seconds=options.give_up,
            ),
            max_dead_share=options.max_dead_share,
            settings=settings,
        )
    )


def run_replay(options: argparse.Namespace, _: str) -> int:
    """Score a range once more, beside the service."""
    from service.replaying import ReplayOptions, replay  # noqa: PLC0415

    settings = _settings(options)
    asked = ReplayOptions(
        bundle=options.bundle,
        file=options.file,
        source=options.source,
        kafka=_kafka(options, topics=options.topic and tuple(options.topic)),
        start=options.start,
        stop=options.stop,
        database=options.database,
        output=options.output,
        policy=_policy(options, settings),
        device=options.device,
        settings=settings,
    )
    with progress_bars() as report:
        result = replay(asked, lambda share, detail: report("score", share, detail))
    lines = result["lines"]
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in lines["dropped"].items())
    print(
        f"{lines['consumed']:,} lines replayed: {lines['parsed']:,} known, {lines['unparsed']:,} of new shape, "
        f"{sum(lines['dropped'].values()):,} dropped{dropped and f' ({dropped})'}; {result['windows']:,} windows, "
        f"{result['incidents']:,} incidents; nobody was alerted",
        file=sys.stderr,
    )
    return 0


def run_evaluate(options: argparse.Namespace, _: str) -> int:
    """Compare alarms with what people marked."""
    from service.evaluation.evaluate import EvaluateOptions, evaluate  # noqa: PLC0415
    from service.evaluation.printing import print_evaluation  # noqa: PLC0415

    if options.database is not None and (options.budget or options.rules or options.config):
        raise BadSetting("alarms of a database are as they were raised: --budget, --rules and --config are for FILE")
    settings = _settings(options)
    asked = EvaluateOptions(
        bundle=options.bundle,
        file=options.file,
        source=options.source,
        database=options.database,
        labels=options.labels,
        zone=options.tz,
        policy=_policy(options, settings),
        device=options.device,
        database_password_file=options.database_password_file,
        settings=settings,
    )
    with progress_bars() as report:
        found = evaluate(asked, lambda share, detail: report("score", share, detail))
    if options.json:
        print(json_text(found))
        return 0
    print_evaluation(found)
    return 0


def run_explain(options: argparse.Namespace, _: str) -> int:
    """Say why a window, or the worst one of an incident, is out of the ordinary."""
    from service.database import existing  # noqa: PLC0415
    from service.explained_text import incident_text, window_text  # noqa: PLC0415
    from service.routes.incidents import with_lines  # noqa: PLC0415
    from service.routes.windows import explained  # noqa: PLC0415
    from service.store import Store  # noqa: PLC0415

    if options.about[:2] not in ("w-", "i-"):
        raise BadSetting(f"{options.about} names nothing; give the id of a window (w-…) or of an incident (i-…)")
    store = Store(existing(options.database), options.database_password_file)
    try:
        if options.about.startswith("w-"):
            found = explained(store, options.about)
            text = window_text(found, store.zone_of(found["source"]))
        else:
            found, worst = with_lines(store, options.about)
            text = incident_text(found, worst, store.zone_of(found["source"]))
    finally:
        store.close()
    sys.stdout.write(json_text(found) + "\n" if options.json else text)
    return 0


def _kafka(options: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """Return Kafka's settings: those of the file, then those of the command line."""
    from ingestion.kafka_settings import read_kafka_table  # noqa: PLC0415

    table = read_kafka_table(options.kafka_settings) if options.kafka_settings is not None else {}
    given = {"bootstrap": options.kafka, **more}
    given = {name: value for name, value in given.items() if value is not None}
    if options.kafka is None and not table:
        if given:
            raise BadSetting("--topic, --group and --give-up are about Kafka: give --kafka HOST:PORT as well")
        return {}
    return table | given


def run_feedback(options: argparse.Namespace, _: str) -> int:
    """Say what an incident or a window was."""
    from service.alarm_commands import run_feedback  # noqa: PLC0415

    return run_feedback(options)


def run_rules(options: argparse.Namespace, _: str) -> int:
    """Check site rules, and hold them against what is stored."""
    from service.alarm_commands import run_rules  # noqa: PLC0415

    return run_rules(options)


def run_dead_letters(options: argparse.Namespace, _: str) -> int:
    """List lines that could not be read."""
    if options.limit < 1:
        raise BadSetting(f"--limit is {options.limit}; give 1 or more")
    from service.dead_letter_commands import run_dead_letters  # noqa: PLC0415

    return run_dead_letters(options)


def run_demo(options: argparse.Namespace, _: str) -> int:
    """Train on a real machine's log, stream its later part, show what is found."""
    from service.demo import run  # noqa: PLC0415

    return run(options.port, options.rate, options.incidents)


def run_feed(options: argparse.Namespace, _: str) -> int:
    """Send the lines of a file to a Kafka topic."""
    from service.sample import later_lines  # noqa: PLC0415
    from service.serving import feed  # noqa: PLC0415
    from service.whole_files import source_name  # noqa: PLC0415

    if options.sample:

        def lines() -> Iterator[bytes]:
            return iter(later_lines())

        source = options.source or "mazak01"
    else:
        from ingestion import read_records  # noqa: PLC0415

        def lines() -> Iterator[bytes]:
            return (record.value for record in read_records(options.file, "", "utf-8"))

        source = options.source or source_name(options.file)
    sent = feed(
        kafka=_kafka(options, give_up_seconds=options.give_up),
        topic=options.topic,
        source=source,
        lines=itertools.chain.from_iterable(lines() for _ in itertools.count()) if options.loop else lines(),
        rate=options.rate,
        create=options.create_topic,
    )
    print(f"{sent:,} lines sent to {options.topic} as {source}", file=sys.stderr)
    return 0
