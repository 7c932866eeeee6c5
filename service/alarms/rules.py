r"""Site rules: what a plant wants of alarms whatever the model says, in one small TOML file.

    [[rule]]
    name = "door interlock"            # named in the window that it decided
    source = "press*"                  # for sources whose name fits; without it for all
    match = 'INTERLOCK (OPEN|LOST)'    # an RE2 expression found in a line as it came or in its message,
    alarm = "always"                   # which then is an alarm: always, never, or as the model says
    severity = "critical"              # of the incident: notice, warning or critical

    [[rule]]
    name = "spindle too hot"
    match = 'spindle_temp\|([0-9.]+)'  # with one group, whose number has a limit
    above = 85.0                       # or below; lines write numbers by their format's `decimal`
    alarm = "always"

    [[rule]]
    name = "programme comments"
    template = "program_comment <*>"   # or what pages and reports call the line, (new) or not; * fits anything
    alarm = "never"

    [[maintenance]]
    name = "weekly service"
    weekly = "Sun 02:00-06:00"         # in the source's zone; or from = 2026-12-28T00:00:00, to = …
    source = "press*"

A line under `never` is left out, and its window is an alarm only if what is left would be one. Under maintenance
nothing is an alarm: no window with a line of that time, nor with one after a silence of which most is, whichever of
them it is. Windows are scored and stored all the same.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import re2

from ingestion import UNSEEN, number_of
from ingestion.decimals import DecimalSign
from service.alarms.maintenance import Maintenance, Span, maintenance, muting
from service.errors import BadSetting
from service.kinds import NEW

Severity = Literal["notice", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
USUAL_SEVERITY: Severity = "warning"
_ALARMS = ("always", "never")
_RULE_KEYS = ("name", "source", "match", "template", "above", "below", "alarm", "severity")
_MAINTENANCE_KEYS = ("name", "source", "weekly", "from", "to")
# Ends of the text, as opposed to those of a line.
_TEXT_ENDS = re.compile(r"\\[AzZ]|\(\?[a-z]*-[a-z]*m")
MAX_RULES = 500


class Line(Protocol):
    """What a rule looks at."""

    @property
    def text(self) -> str:
        """The line as it came."""

    @property
    def message(self) -> str:
        """What it says, as pages write it: out of JSON `温度`, out of columns `tag=T1 value=61.9`."""

    @property
    def token(self) -> int:
        """Its token."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One `[[rule]]`; `anywhere` finds what `expression` may find in any of several lines, None where it cannot."""

    name: str
    source: str = "*"
    match: str | None = None
    template: str | None = None
    above: float | None = None
    below: float | None = None
    alarm: str | None = None
    severity: Severity | None = None
    expression: Any = field(default=None, repr=False, compare=False)
    anywhere: Any = field(default=None, repr=False, compare=False)

    def places(self, lines: Sequence[Line], names: Sequence[str], decimal: DecimalSign = ".") -> list[int]:
        """Return the places of the lines it is about; see `Rules.look`."""
        if self.expression is None:
            # Names hold brackets of their own. A template has `<*>` where its lines differ; what new lines share is
            # seen by whoever sees some of them.
            pattern = (self.template or "").removeprefix(NEW).replace("[", "[[]")
            patterns = {True: pattern.replace("<*>", "*"), False: pattern}
            named = enumerate(zip(lines, names, strict=True))
            return [place for place, (line, name) in named if fnmatchcase(name, patterns[line.token == UNSEEN])]
        said = [(line.text,) if line.message in line.text else (line.text, line.message) for line in lines]
        # Most windows have no such line: one search through all of it is a fifth of one through each.
        if self.anywhere is not None and self.anywhere.search("\n".join(chain.from_iterable(said))) is None:
            return []
        return [place for place, texts in enumerate(said) if any(self._fits(text, decimal) for text in texts)]

    def _fits(self, text: str, decimal: DecimalSign) -> bool:
        if self.above is None and self.below is None:
            return self.expression.search(text) is not None
        numbers = (_number(found[1] or "", decimal) for found in self.expression.finditer(text))
        return any(
            (self.above is not None and number > self.above) or (self.below is not None and number < self.below)
            for number in numbers
            if number is not None
        )


@dataclass(frozen=True)
class Matched:
    """What the rules say of one window.

    Attributes:
        rules: names of all that fit.
        always: the first that wants an alarm, and the places of its lines; None where none does.
        never: places of lines that should raise none, by the name of the rule.
        severity: the gravest that a rule gives; None where none does.
        maintenance: name of the maintenance it is in; None where it is in none.
    """

    rules: tuple[str, ...] = ()
    always: tuple[str, Sequence[int]] | None = None
    never: Mapping[str, Sequence[int]] = field(default_factory=dict)
    severity: Severity | None = None
    maintenance: str | None = None


@dataclass(frozen=True)
class Rules:
    """A rule file; by default, one without rules."""

    rules: tuple[Rule, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()

    def of(self, source: str) -> Rules:
        """Return those for one source."""
        return Rules(
            tuple(rule for rule in self.rules if fnmatchcase(source, rule.source)),
            tuple(item for item in self.maintenance if fnmatchcase(source, item.source)),
        )

    @property
    def by_name(self) -> bool:
        """Whether any looks at what lines are called."""
        return any(rule.template is not None for rule in self.rules)

    def look(self, lines: Sequence[Line], names: Sequence[str], span: Span, decimal: DecimalSign = ".") -> Matched:
        """Return what the rules say of a window.

        Args:
            lines: its lines.
            names: what each is called: its template's text, or its masked words where it is new; may be empty where
                `by_name` is false.
            span: when they came.
            decimal: the sign before decimals in the source's numbers.
        """
        maintenance = muting(self.maintenance, span)
        if not self.rules:
            return Matched(maintenance=maintenance) if maintenance else _NOTHING
        fitting = [(rule, places) for rule in self.rules if (places := rule.places(lines, names, decimal))]
        severities = [rule.severity for rule, _ in fitting if rule.severity]
        return Matched(
            rules=tuple(rule.name for rule, _ in fitting),
            always=next(((rule.name, places) for rule, places in fitting if rule.alarm == "always"), None),
            never={rule.name: places for rule, places in fitting if rule.alarm == "never"},
            severity=max(severities, key=SEVERITIES.index, default=None),
            maintenance=maintenance,
        )


_NOTHING = Matched()


def _number(text: str, decimal: DecimalSign) -> float | None:
    """Return what a line says a number is; None where it is none.

    With the other sign before its decimals it is read, too, where that leaves no doubt: nobody may have declared one.
    """
    found = number_of(text, decimal)
    if found is None:
        with suppress(ValueError):
            found = float(text.replace(",", "."))
    return found


def load_rules(path: Path) -> Rules:
    """Read and check a rule file.

    Raises:
        BadSetting: it cannot be read, or a rule is not valid; the message names it.
    """
    try:
        # An editor of Windows puts a mark before it.
        content = tomllib.loads(path.read_text("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadSetting(f"the rules {path} are not UTF-8, as TOML is: save the file as UTF-8") from error
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadSetting(f"cannot read the rules {path}: {error}") from error
    _known(content, ("rule", "maintenance"), str(path))
    rules = [_rule(table, where) for table, where in _tables(content, "rule", path)]
    work = [_maintenance(table, where) for table, where in _tables(content, "maintenance", path)]
    names = [*(rule.name for rule in rules), *(item.name for item in work)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadSetting(f"{path} has two rules named {twice!r}; windows name the rule that decided: give each its own")
    return Rules(tuple(rules), tuple(work))


def _tables(content: Mapping[str, Any], kind: str, path: Path) -> list[tuple[Mapping[str, Any], str]]:
    tables = content.get(kind, [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise BadSetting(f"{path}: write each {kind} as a table of its own, [[{kind}]]")
    if len(tables) > MAX_RULES:
        raise BadSetting(
            f"{path} has {len(tables):,} of [[{kind}]]; {MAX_RULES} are the most: every window is held to all"
        )
    found = []
    for number, table in enumerate(tables, start=1):
        name = table.get("name")
        if not isinstance(name, str) or not name.strip():
            raise BadSetting(f'{path}: the {kind} number {number} has no name; give it one, such as name = "door"')
        found.append((table, f"{path}: {kind} {name!r}"))
    return found


def _known(table: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    unknown = sorted(set(table) - set(keys))
    if unknown:
        raise BadSetting(f"{where} has the unknown key {unknown[0]!r}; allowed are {', '.join(keys)}")


def _text(table: Mapping[str, Any], key: str, where: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise BadSetting(f"{where}: {key} = {value!r} is no text; put it in quotes")
    return value


def _choice(table: Mapping[str, Any], key: str, allowed: Sequence[str], where: str) -> Any:
    value = _text(table, key, where)
    if value is not None and value not in allowed:
        raise BadSetting(f"{where}: {key} = {value!r} is none of {', '.join(allowed)}")
    return value


def _limit(table: Mapping[str, Any], key: str, where: str) -> float | None:
    value = table.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value)):
        raise BadSetting(f"{where}: {key} = {value!r} is no number")
    return None if value is None else float(value)


def _rule(table: Mapping[str, Any], where: str) -> Rule:
    _known(table, _RULE_KEYS, where)
    match, template = _text(table, "match", where), _text(table, "template", where)
    if (match is None) == (template is None):
        raise BadSetting(f"{where}: say which lines it is about, by match = '…' or by template = \"…\", one of the two")
    rule = Rule(
        name=table["name"],
        source=_text(table, "source", where) or "*",
        match=match,
        template=template,
        above=_limit(table, "above", where),
        below=_limit(table, "below", where),
        alarm=_choice(table, "alarm", _ALARMS, where),
        severity=_choice(table, "severity", SEVERITIES, where),
        expression=None if match is None else _expression(match, where),
        anywhere=None if match is None or _TEXT_ENDS.search(match) else _expression(f"(?m){match}", where),
    )
    limited = rule.above is not None or rule.below is not None
    if limited and (rule.expression is None or rule.expression.groups != 1):
        raise BadSetting(
            f"{where}: a limit is on the number that the one group of match finds, such as 'temp=([0-9.]+)'"
        )
    if rule.alarm is None and rule.severity is None:
        raise BadSetting(f'{where}: say what it does: alarm = "always" or "never", or a severity')
    return rule


def _expression(pattern: str, where: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0]
        raise BadSetting(
            f"{where}: match is no regular expression of RE2, which has no lookaround and no back-references: {reason}"
        ) from error
    if compiled.search("") is not None:
        raise BadSetting(f"{where}: match fits every line, even an empty one; make it need a character")
    return compiled


def _maintenance(table: Mapping[str, Any], where: str) -> Maintenance:
    _known(table, _MAINTENANCE_KEYS, where)
    source, weekly = _text(table, "source", where) or "*", _text(table, "weekly", where)
    return maintenance(table, table["name"], source, weekly, where)
