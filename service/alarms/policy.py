"""What a site has decided about alarms, for all of its sources: the table `[alarms]` of `logvq.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from service.alarms.budget import Budget
from service.alarms.rules import Rules, load_rules
from service.errors import BadSetting

_KEYS = ("budget", "budgets", "rules")


@dataclass(frozen=True)
class AlarmPolicy:
    """Budgets and rules.

    Attributes:
        budget: what a source may raise that has no budget of its own.
        budgets: by shell pattern of the source's name; the first that fits holds.
        rules: the rule file.
    """

    budget: Budget = field(default_factory=Budget)
    budgets: Mapping[str, Budget] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)

    def budget_of(self, source: str) -> Budget:
        """Return what one source may raise."""
        fitting = (budget for pattern, budget in self.budgets.items() if fnmatchcase(source, pattern))
        return next(fitting, self.budget)


def read_policy(table: Any, path: Path) -> AlarmPolicy:
    """Read the table `[alarms]` of the settings at a path.

    Raises:
        BadSetting: it is not valid; the message names the key.
    """
    where = f"{path}: alarms"
    if not isinstance(table, Mapping):
        raise BadSetting(f"{where} is no table; write [alarms]")
    unknown = sorted(set(table) - set(_KEYS))
    if unknown:
        raise BadSetting(f"{where} has the unknown key {unknown[0]!r}; allowed are {', '.join(_KEYS)}")
    budgets, rules = table.get("budgets", {}), table.get("rules")
    if not isinstance(budgets, Mapping):
        raise BadSetting(f'{where}.budgets is no table; write [alarms.budgets] with lines such as "press*" = "2/8h"')
    if rules is not None and not isinstance(rules, str):
        raise BadSetting(f'{where}.rules is no text; name a file, such as rules = "rules.toml"')
    return AlarmPolicy(
        budget=Budget() if "budget" not in table else Budget.parse(str(table["budget"])),
        budgets={pattern: Budget.parse(str(budget)) for pattern, budget in budgets.items()},
        rules=Rules() if rules is None else load_rules(path.parent / rules),
    )
