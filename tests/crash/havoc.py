"""What is done to workers and broker."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable

from tests.broker.kafka_broker import KafkaBroker
from tests.crash.feeding import Feeder, Plan
from tests.serving import Serving

SESSION_SECONDS = 4.0
# Feeding keeps this share of all lines ahead of the kills, so that every kill meets work.
_AHEAD = 0.02
# And this share comes at once before a worker is frozen: some seconds of work.
_BURST = 0.08
# One worker life in so many ends while it starts.
_EARLY = 6


class Havoc:
    """Kills, freezes and stops workers and the broker, at moments that chance decides.

    Args:
        workers: running ones.
        broker: None where it is to be left alone.
        feeder: allowed to go on with every kill.
        plan: how much of what.
        progress: lines stored so far.
    """

    def __init__(
        self,
        workers: list[Serving],
        broker: KafkaBroker | None,
        feeder: Feeder,
        plan: Plan,
        progress: Callable[[], int],
    ) -> None:
        self._progress = progress
        self.events: Counter[str] = Counter()
        self._workers = workers
        self._broker = broker
        self._feeder = feeder
        self._plan = plan
        self._random = random.Random(plan.seed + 1)

    def run(self, report: Callable[[str], None]) -> None:
        plan, chance = self._plan, self._random
        several = len(self._workers) > 1
        broker_at = {(n + 1) * plan.kills // (plan.broker_kills + 1) for n in range(plan.broker_kills)}
        freeze_at = set(chance.sample(range(plan.kills), plan.freezes if several else 0))
        leave_at = set(chance.sample(range(plan.kills), plan.departures))
        for number in range(plan.kills):
            self._feeder.allow(plan.lines * ((number + 1) / plan.kills + _AHEAD))
            worker, *others = chance.sample(self._workers, len(self._workers))
            if chance.randrange(_EARLY):
                worker.wait_ready()
                time.sleep(chance.uniform(0.0, 2.0))
            else:
                time.sleep(chance.uniform(0.0, 4.0))
            if number in broker_at and self._broker is not None:
                self._broker.kill()
                time.sleep(chance.uniform(0.0, 3.0))
                self._broker.start()
                self.events["broker killed"] += 1
            if number in freeze_at:
                self._freeze(others[0])
            worker.kill()
            self.events["worker killed"] += 1
            if number in leave_at and several:
                time.sleep(chance.uniform(0.0, 2 * SESSION_SECONDS))
                self.events["left for longer"] += 1
            worker.start(wait=False)
            if number in leave_at:
                for other in others or [worker]:
                    other.wait_ready()
                    other.stop()
                    other.start(wait=False)
                    self.events["stopped in order"] += 1
            report(f"{number + 1} of {plan.kills} kills, {self._feeder.sent:,} lines sent")

    def _freeze(self, worker: Serving) -> None:
        for one in self._workers:
            one.wait_ready()
        # In the middle of work, which it goes on with when it wakes up.
        self._feeder.allow(self._feeder.sent + _BURST * self._plan.lines)
        before, deadline = self._progress(), time.monotonic() + SESSION_SECONDS
        while self._progress() == before and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(self._random.uniform(0.0, 0.3))
        worker.process.send_signal(signal.SIGSTOP)
        time.sleep(SESSION_SECONDS + self._random.uniform(2.0, 6.0))
        worker.process.send_signal(signal.SIGCONT)
        self.events["frozen"] += 1
