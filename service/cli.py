"""The command `logvq`: reading the command line, and turning errors into messages and exit codes.

Exit codes: 0 fine, 1 failed, 2 the input or the command line is not usable. Results go to standard output, progress to
standard error. Nothing heavy is imported before a verb needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from service import __version__
from service.process import settle

_LAST_PORT = 65_535
_EPILOG = """\
start here:
  logvq demo                          a real machine's log, trained, streamed and explained
  logvq try press07.log               one log file in, an explained report out
  logvq inspect press07.log           how its lines are written, and what that does to them
  logvq try press07.log --encoding cp932 --tz Asia/Tokyo -o report.html
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="logvq",
        description="Finds and explains anomalies in industrial equipment logs, on your own machines.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"logvq {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_try(verbs)
    _add_inspect(verbs)
    _add_demo(verbs)
    _add_train(verbs)
    _add_serve(verbs)
    _add_feed(verbs)
    _add_replay(verbs)
    _add_evaluate(verbs)
    _add_explain(verbs)
    _add_feedback(verbs)
    _add_rules(verbs)
    _add_dead_letters(verbs)
    return parser


def _reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoding", help="text encoding of the lines, such as cp932 (default: UTF-8)")
    parser.add_argument("--tz", help="time zone of times without an offset (default: UTC)")
    _config(parser)
    parser.add_argument(
        "--window",
        help="events in a window, its length, or a key found in the line: 64, 30m, "
        r"'session:blk_-?\d+,idle=10m,max=500' (default: by file size)",
    )


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="TOML", help="how lines are written, as `logvq inspect FILE -o TOML` proposes"
    )


def _alarms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget",
        metavar="ALARMS",
        help="alarms of a source you are willing to look at: 1 a day, or 2/8h a shift (default: at most 1 a day, of "
        "windows that fewer than one good window in a hundred resembles)",
    )
    parser.add_argument("--rules", type=Path, metavar="TOML", help="site rules: what always or never is an alarm")


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where the model runs (default: cpu)")


def _add_try(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("try", help="look at one log file and write a report")
    verb.add_argument("file", type=Path, metavar="FILE", help="the log, plain or gzip-compressed")
    verb.add_argument("--good", type=Path, metavar="FILE", help="known-good lines (default: the first half of FILE)")
    _reading(verb)
    verb.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), help="the report (default: report.html)"
    )
    _alarms(verb)
    verb.add_argument("--bundle", type=Path, metavar="DIR", help="keep the trained bundle here")
    verb.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_inspect(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("inspect", help="propose how a file's lines are written, and show what that does to them")
    verb.add_argument("file", type=Path, metavar="FILE", help="the log, plain or gzip-compressed")
    verb.add_argument("--encoding", help="text encoding of the lines (default: what the sample tells)")
    verb.add_argument("--tz", help="time zone of times without an offset (default: what the sample tells)")
    verb.add_argument("--topic", metavar="TOPIC", help="propose for this Kafka topic (default: for the file's name)")
    verb.add_argument("-o", "--output", type=Path, metavar="TOML", help="add the proposal to this file")
    verb.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_demo(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("demo", help="a real machine's log, trained, streamed and explained")
    verb.add_argument("--port", type=_port, default=8765, help="port on loopback (default: 8765; 0 takes a free one)")
    verb.add_argument("--rate", type=float, default=250.0, help="lines a second (default: 250)")
    verb.add_argument("--incidents", type=int, default=0, metavar="N", help="stop after N incidents (default: go on)")


def _add_train(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("train", help="train a bundle on known-good lines")
    what = verb.add_mutually_exclusive_group(required=True)
    what.add_argument("file", type=Path, metavar="FILE", nargs="?", help="known-good lines, plain or gzip-compressed")
    what.add_argument("--sample", action="store_true", help="the bundled sample's known-good part")
    _reading(verb)
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new directory for the bundle")
    verb.add_argument(
        "--feedback",
        type=_database,
        metavar="DB",
        help="leave out the times of faults that were confirmed in this database, of --source",
    )
    verb.add_argument("--source", metavar="NAME", help="whose feedback (default: the file's name)")
    verb.add_argument(
        "--as-it-comes",
        action="store_true",
        help="nobody vouches for the lines: windows that look wrong are set aside, and listed",
    )
    verb.add_argument(
        "--keep",
        type=int,
        action="append",
        default=[],
        metavar="WINDOW",
        help="learn from a window that --as-it-comes would set aside; may be given several times",
    )
    verb.add_argument(
        "--database-password-file", type=Path, metavar="FILE", help="PostgreSQL's password (default: see PGPASSFILE)"
    )
    _device(verb)


def _add_serve(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("serve", help="score lines as they come, and answer over HTTP")
    verb.add_argument("--all", action="store_true", required=True, help="the API and the worker in one process")
    verb.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="what `logvq train` made")
    _device(verb)
    _config(verb)
    _store(verb)
    verb.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    verb.add_argument("--port", type=_port, default=8765, help="port to listen on (default: 8765)")
    verb.add_argument("--token-file", type=Path, metavar="FILE", help="a file with the token that requests must carry")
    verb.add_argument("--no-auth", action="store_true", help="answer everybody, also off loopback")
    _alarms(verb)
    verb.add_argument("--file", type=Path, metavar="FILE", help="follow this log as it grows; - reads standard input")
    verb.add_argument("--backfill", action="store_true", help="begin with the rotated files of --file, oldest first")
    verb.add_argument("--source", metavar="NAME", help="the source of the followed file (default: the file's name)")
    _kafka(verb)
    verb.add_argument("--topic", action="append", metavar="TOPIC", help="topic to read; may be given several times")
    verb.add_argument("--group", help="Kafka consumer group, whose members share the partitions (default: logvq)")
    verb.add_argument(
        "--max-dead-share",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="stop when more of the latest lines of a topic or of --file than this cannot be read; what is pushed or "
        "piped is warned about instead (default: 0.5; 1 does neither)",
    )


def _broker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kafka", metavar="HOST:PORT", help="Kafka brokers, separated by commas")
    parser.add_argument(
        "--kafka-settings",
        type=Path,
        metavar="FILE",
        help="TOML file whose table [kafka] says how to reach the brokers: TLS, SASL, secrets from files",
    )


def _kafka(parser: argparse.ArgumentParser) -> None:
    _broker(parser)
    parser.add_argument(
        "--give-up", type=float, metavar="SECONDS", help="stop when the broker is away this long (default: never)"
    )


def _store(parser: argparse.ArgumentParser, default: Path | None = Path("logvq.sqlite"), what_for: str = "") -> None:
    parser.add_argument(
        "--database",
        type=_database,
        metavar="DB",
        default=default,
        help=f"{what_for}SQLite file, or postgresql://USER@HOST:PORT/NAME for several workers"
        + (f" (default: {default})" if default else ""),
    )
    parser.add_argument(
        "--database-password-file", type=Path, metavar="FILE", help="PostgreSQL's password (default: see PGPASSFILE)"
    )


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= _LAST_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is no port; give a number from 0 to {_LAST_PORT}")


def _database(text: str) -> Path | str:
    return text if "://" in text else Path(text)


def _add_feed(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("feed", help="send the lines of a file to a Kafka topic")
    what = verb.add_mutually_exclusive_group(required=True)
    what.add_argument("file", type=Path, metavar="FILE", nargs="?", help="the log, plain or gzip-compressed")
    what.add_argument("--sample", action="store_true", help="the bundled sample's later part")
    _kafka(verb)
    verb.add_argument("--topic", required=True, help="topic to write to")
    verb.add_argument("--source", metavar="NAME", help="record key (default: the file's name)")
    verb.add_argument("--rate", type=float, default=0.0, help="lines a second (default: 0, as fast as they go)")
    verb.add_argument("--create-topic", action="store_true", help="create the topic if it does not exist")
    verb.add_argument("--loop", action="store_true", help="begin again at the end")


def _add_replay(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("replay", help="score a range of a file or a topic once more, alerting nobody")
    verb.add_argument("file", type=Path, metavar="FILE", nargs="?", help="the log, plain or gzip-compressed")
    verb.add_argument("--source", metavar="NAME", help="the source of FILE (default: the file's name)")
    _config(verb)
    _broker(verb)
    verb.add_argument("--topic", action="append", metavar="TOPIC", help="topic to read; may be given several times")
    verb.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="what `logvq train` made")
    verb.add_argument(
        "--from",
        dest="start",
        metavar="WHERE",
        help="first offset (Kafka), byte (FILE) or time, such as 2026-01-31T06:00 (default: the beginning)",
    )
    verb.add_argument("--to", dest="stop", metavar="WHERE", help="where to stop, before it (default: the end)")
    verb.add_argument("--database", type=Path, metavar="FILE", help="a new SQLite file for windows and incidents")
    verb.add_argument("--output", metavar="FILE", help="a new file of JSON lines, or - for standard output")
    _alarms(verb)
    _device(verb)


def _add_evaluate(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("evaluate", help="how well a bundle finds what people marked")
    verb.add_argument("bundle", type=Path, metavar="DIR", help="what `logvq train` made")
    verb.add_argument("file", type=Path, metavar="FILE", nargs="?", help="the log to score, plain or gzip-compressed")
    verb.add_argument(
        "--source", metavar="NAME", help="the source of FILE (default: its name), or the one of DB (default: all)"
    )
    _config(verb)
    _store(verb, None, "take the windows stored there instead of FILE's: ")
    verb.add_argument(
        "--labels",
        type=Path,
        required=True,
        metavar="CSV",
        help="what was anomalous: columns start and end, or key of a session, and at will source and name",
    )
    verb.add_argument("--tz", help="time zone of labels without an offset (default: the log's)")
    _alarms(verb)
    verb.add_argument("--json", action="store_true", help="print JSON")
    _device(verb)


def _add_explain(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("explain", help="why a window, or the worst one of an incident, is out of the ordinary")
    verb.add_argument("about", metavar="ID", help="of a window (w-…) or an incident (i-…)")
    _store(verb)
    verb.add_argument("--json", action="store_true", help="print what the API answers, as JSON")


def _add_feedback(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    actions = verbs.add_parser(
        "feedback", help="say what an incident was, so that it holds from now on"
    ).add_subparsers(dest="action", metavar="ACTION", required=True)
    say = actions.add_parser("say", help="say what an incident or a window was")
    say.add_argument("about", metavar="ID", help="of an incident (i-…) or a window (w-…)")
    say.add_argument(
        "verdict",
        choices=("real", "false-alarm", "known", "shelved"),
        help="real: a fault, never learned as normal; false-alarm: windows like it are normal; known: they are quiet "
        "until a time; shelved: its whole source is",
    )
    say.add_argument("--until", metavar="TIME", help="end of known or shelved, such as 2026-01-31T06:00 (UTC)")
    undo = actions.add_parser("undo", help="take back what was said; both are kept")
    undo.add_argument("number", type=int, metavar="NUMBER", help="of what was said, as the list shows it")
    for action in (say, undo):
        action.add_argument("--reason", required=True, help="why, for those who ask later")
        action.add_argument("--who", help="who says so (default: this machine's user)")
    shown = actions.add_parser("list", help="list everything that was said")
    shown.add_argument("about", metavar="ID", nargs="?", help="only of this incident or window")
    shown.add_argument("--source", metavar="NAME", help="only of this source")
    for action in (say, undo, shown):
        _store(action)
        action.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_rules(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("rules", help="check site rules, and show where they and the model agree")
    verb.add_argument("file", type=Path, metavar="TOML", help="the rule file")
    _store(verb, None)
    verb.add_argument("--tz", help="time zone of maintenance (default: that of each source's lines)")
    verb.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_dead_letters(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("dead-letters", help="list lines that could not be read, latest first, with the reason")
    verb.add_argument("--source", metavar="NAME", help="only of this source")
    verb.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default: 100)")
    _store(verb)
    verb.add_argument("--json", action="store_true", help="print the result as JSON")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    settle()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = build_parser().parse_args(given)
    # A service manager stops a process with SIGTERM; it is handled as Ctrl-C is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    from ingestion import IngestionError  # noqa: PLC0415
    from service.errors import ServiceError  # noqa: PLC0415

    try:
        from service import commands  # noqa: PLC0415

        run = getattr(commands, f"run_{options.verb.replace('-', '_')}")
        return int(run(options, shlex.join(["logvq", *given])))
    except KeyboardInterrupt as stopped:
        print(f"\nstopped; {str(stopped) or 'nothing half-written is left'}", file=sys.stderr)
        return 130
    except (IngestionError, ServiceError) as error:
        print(f"logvq: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    except Exception as error:
        # Not imported here: it would load torch for every command, and an error of the model has loaded it already.
        errors = sys.modules.get("model.errors")
        if errors is None or not isinstance(error, errors.ModelError):
            raise
        print(f"logvq: {error}", file=sys.stderr)
        return 2
