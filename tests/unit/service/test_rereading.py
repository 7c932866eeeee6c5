"""Several examinations at once: what they ask for is read together, and each hears of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ingestion import Record
from model import ExplainedEvents, NewEvents
from service.alarms.budget import Budget
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.packing import unpack
from service.pipeline import SourcePipeline, score, take
from service.rereading import Rereading, read, together
from tests.unit.service.test_evidence import FAULT


class CountingScorer:
    """Notes how many windows every call reads."""

    def __init__(self, bundle: Bundle) -> None:
        self.calls: list[int] = []
        self._scorer = bundle.scorer()

    def explain(self, batch: Sequence[NewEvents]) -> list[ExplainedEvents]:
        self.calls.append(len(batch))
        return self._scorer.explain(batch)


def surprisal(bundle: Bundle, *windows: Sequence[int]) -> Rereading[list[float]]:
    """Read windows one after the other; return the surprisal of each."""
    found = []
    for tokens in windows:
        read_now = yield [NewEvents(bundle.warm_state(), tokens, [1.0] * len(tokens))]
        found.append(float(read_now[0].surprisal_nats.sum()))
    return found


def test_what_several_ask_for_is_read_in_as_few_calls_as_the_longest_takes(bundle: Bundle) -> None:
    windows = [[2, 3], [4, 5, 6], [3] * 40]
    alone = [read(bundle.scorer(), [surprisal(bundle, window)])[0][0] for window in windows]
    scorer = CountingScorer(bundle)

    def nested() -> Rereading[list[list[float]]]:
        return (yield from together(surprisal(bundle, windows[1], windows[2]), surprisal(bundle)))

    found = read(scorer, [surprisal(bundle, *windows), nested(), surprisal(bundle, windows[0])])
    assert found == [alone, [[alone[1], alone[2]], []], [alone[0]]]
    assert scorer.calls == [3, 2, 1]
    assert read(scorer, []) == []


def test_alarms_of_many_sources_are_examined_together_and_as_each_would_be_alone(
    bundle: Bundle, machine_lines: list[bytes]
) -> None:
    lines = {
        f"press{number}": [*machine_lines[: 70 + number], FAULT, *machine_lines[70 + number : 256]]
        for number in range(6)
    }
    policy = AlarmPolicy(budget=Budget(alarms=50))

    def judged(scorer: CountingScorer, names: Sequence[str]) -> dict[str, list[dict[str, object]]]:
        pipelines = [SourcePipeline(name, bundle, bundle.scorer(), policy, None) for name in names]
        for pipeline, name in zip(pipelines, names, strict=True):
            pipeline.feed(Record(name, "file:x", n, n + 1, line, None) for n, line in enumerate(lines[name]))
        score(bundle.scorer(), pipelines, now=True)
        made = take(scorer, pipelines)
        return {
            name: [row | {"record": unpack(row["record"])} for row in produced.windows]
            for name, produced in zip(names, made, strict=True)
        }

    shared, apart = CountingScorer(bundle), CountingScorer(bundle)
    found = judged(shared, list(lines))
    alone = {name: judged(apart, [name])[name] for name in lines}
    assert json.dumps(found, default=str) == json.dumps(alone, default=str)
    examined = [row for rows in found.values() for row in rows if row["record"]["cited"] is not None]
    assert len({row["source"] for row in examined}) == 6
    assert sum(shared.calls) == sum(apart.calls)
    assert len(shared.calls) < len(apart.calls) / 3
