"""`[alarms]` of `logvq.toml` is read whole or refused with a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.alarms.budget import Budget
from service.errors import BadSetting
from service.settings import load_settings


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_budgets_and_rules_are_those_of_the_file(tmp_path: Path) -> None:
    write(tmp_path / "site.toml", "[[rule]]\nname = 'door'\nmatch = 'OPEN'\nalarm = 'always'\n")
    text = "[alarms]\nbudget = '2/8h'\nrules = 'site.toml'\n[alarms.budgets]\n'press*' = 5\n'*' = '1/7d'\n"
    policy = load_settings(write(tmp_path / "logvq.toml", text)).alarms
    assert policy.budget_of("press07") == Budget(5.0, stated=True)
    assert policy.budget_of("lathe") == Budget.parse("1/7d")
    assert policy.budget == Budget.parse("2/8h")
    assert [rule.name for rule in policy.rules.rules] == ["door"]


def test_without_the_table_nobody_has_stated_a_budget(tmp_path: Path) -> None:
    policy = load_settings(write(tmp_path / "logvq.toml", "[default]\nzone = 'UTC'\n")).alarms
    assert not policy.budget_of("any").stated


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alarms = 3", r"write \[alarms\]"),
        ("[alarms]\nbudgit = '1'", "unknown key 'budgit'; allowed are budget, budgets, rules"),
        ("[alarms]\nbudget = 'few'", "2/8h"),
        ("[alarms]\nbudgets = 3", r"write \[alarms.budgets\]"),
        ("[alarms.budgets]\n'press*' = 0", "above 0"),
        ("[alarms]\nrules = 3", "name a file"),
        ("[alarms]\nrules = 'nowhere.toml'", "nowhere"),
    ],
)
def test_what_is_no_policy_is_refused_with_a_way_out(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadSetting, match=said):
        load_settings(write(tmp_path / "logvq.toml", text))
