"""`heyan log monitor`: follow a log, and raise alarms on what must not be and on what its rules name."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gateway.cli.exit_codes import EXIT_REFUSED, EXIT_UNREACHABLE
from gateway.cli.log_sources import NO_OPTIONS, LogPlace, OpenedLog, Options, open_log
from gateway.cli.monitor_places import ReopenedSource, mirrors, rulebook_of, webhook_of, windows_of, witnesses
from gateway.cli.options import JsonOption, Several, Switch, usage_error
from gateway.cli.printing import json_text, printable
from gateway.monitor.alarms import line_of
from gateway.monitor.comparing import SightingSource
from gateway.monitor.cycle import Look, Monitor
from gateway.monitor.delivery import Delivery, Webhook, deliver_round
from gateway.monitor.rules import NO_RULES, Rules
from gateway.monitor.rules_file import EXAMPLE, read_rules
from gateway.monitor.stillness import Clock, Limits
from gateway.monitor.store import MonitorStore
from gateway.party.keyfiles import read_public
from gateway.party.process import cancel_all, run_until_signal
from gateway.protocol.errors import HeyanError, UnreachableError
from gateway.rulebook import Rulebook
from gateway.static_log.checked_log import LogToCheck
from gateway.static_log.tile_source import FolderSource, HttpSource

T = TypeVar("T")

ONCE_ROUNDS = 3
"""Attempts of `--once` at a webhook, 1 s and 2 s apart; what is left is for the next run."""

REOPEN_SECONDS = 3_600.0
"""After which the log is opened anew, with certificates as they are by then."""
REOPEN_AFTER_FAULT = 60.0
"""And after which it is if it could not be read: a certificate that ended is one reason."""


def monitor(  # noqa: PLR0913 - each is an option of the command
    place: LogPlace = None,
    *,
    log: Options = NO_OPTIONS,
    state: Path | None = None,
    rules: Path | None = None,
    packs: Path | None = None,
    interval: float = 10.0,
    once: Switch = False,
    webhook: str | None = None,
    webhook_secret: Path | None = None,
    witness: Several = (),
    mirror: Several = (),
    max_lag: float = 300.0,
    max_idle: float | None = None,
    max_age: float | None = None,
    example_rules: Switch = False,
    as_json: JsonOption = False,
) -> int:
    """Follow a log, and raise alarms: forks, rollbacks, stalls, wrong signatures and leaves, and what the rules name.

    Verifies each new checkpoint, that it extends the last one, and every new entry, which needs an auditor's
    certificate. Keeps in --state what it saw; the state goes on only after entries are read and their alarms stored, so
    that a kill loses nothing. Alarms are one line each, or JSON, under an id that never changes; both notes of a fork
    are kept beside the state as evidence. Runs until Ctrl-C, or --once for cron: exit code 1 if an alarm was raised or
    something still is wrong, 3 if the log could not be read, 0 otherwise (notices, such as erasures, leave it 0).

    Examples: `heyan log monitor --dir run --state monitor.db --rules rules.toml`,
    `heyan log monitor --dir run --state monitor.db --once --json`,
    `heyan log monitor https://log.example.cn/0 --vkey log.example.cn+c0ffee00+AWFi… --cert me.pem --key me.key
    --state monitor.db --witness https://witness.example.org --webhook https://alarms.example.cn/heyan`,
    `heyan log monitor --example-rules`

    Parameters
    ----------
    place
        URL (https://…) or folder of a static log; that of --dir if left out.
    state
        The file in which it remembers; made the first time. Only one monitor may use it.
    rules
        What to raise alarms about besides: see --example-rules.
    packs
        Folder of rule packs, for the counties' enrolment windows; that of --dir if left out.
    interval
        Seconds between two looks.
    once
        Look once, deliver, and end.
    webhook
        Where to POST each alarm as JSON: https://…, or http:// to this machine. Tried until it is taken.
    webhook_secret
        A file (mode 0600) with the secret by which posts are signed (HMAC-SHA256).
    witness
        A witness's monitoring URL, whose checkpoint of this log is held against what the log shows; may be repeated.
    mirror
        Another URL or folder of the same log, held against it; may be repeated.
    max_lag
        Seconds for which the log may be unreadable, or behind what others saw.
    max_idle
        Seconds for which it may not grow; for ever if left out: at night nobody asks.
    max_age
        Seconds since a witness, whose --vkey is given, last cosigned what the log shows; for ever if left out.
    example_rules
        Print a file of rules to begin with.
    """
    if example_rules:
        sys.stdout.write(EXAMPLE)
        return 0
    if state is None:
        raise usage_error("--state", "must name the file in which the monitor remembers what it saw")
    for option, seconds in (
        ("--interval", interval),
        ("--max-lag", max_lag),
        ("--max-idle", max_idle),
        ("--max-age", max_age),
    ):
        if seconds is not None and not 0 < seconds < float("inf"):
            raise usage_error(option, "must be seconds above 0")
    opened = open_log(place, log)
    if max_age is not None and all(key.name == opened.origin for key in opened.verifiers()):
        raise usage_error("--max-age", "needs a witness's key: give it as a further --vkey, after the log's")
    if webhook is None and webhook_secret is not None:
        raise usage_error("--webhook-secret", "needs --webhook")
    running = _Running(
        opened=opened,
        source=ReopenedSource(lambda: open_log(place, log).source),
        state=state,
        rules=NO_RULES if rules is None else read_rules(str(rules), read_public(rules)),
        rulebook=rulebook_of(packs, log),
        limits=Limits(max_lag=max_lag, max_idle=max_idle, max_age=max_age),
        places={**witnesses(witness, opened.origin, log), **mirrors(mirror, log)},
        webhook=None if webhook is None else webhook_of(webhook, webhook_secret, log),
        tell=_json_line if as_json else line_of,
    )
    if once:
        return asyncio.run(running.once())
    run_until_signal(lambda stop: running.until(stop, interval))
    return 0


@dataclass(frozen=True, kw_only=True)
class _Running:
    opened: OpenedLog
    source: ReopenedSource
    state: Path
    rules: Rules
    rulebook: Rulebook | None
    limits: Limits
    places: dict[str, FolderSource | HttpSource]
    webhook: Webhook | None
    tell: Callable[[dict[str, Any]], str]

    async def once(self) -> int:
        """Look, tell, deliver; the exit code."""
        async with AsyncExitStack() as stack:
            store, monitor = await self._open(stack)
            look = await monitor.look()
            alarming = self._tell_all(store) or bool(look.state.conditions)
            _warn(_warnings(look))
            await self._deliver(store)
        if alarming:
            return EXIT_REFUSED
        return 0 if look.fault is None else EXIT_UNREACHABLE

    async def until(self, stop: asyncio.Event, interval: float) -> None:
        """Look again and again."""
        warned: list[str] = []
        reopen = time.monotonic() + REOPEN_SECONDS
        async with AsyncExitStack() as stack:
            store, monitor = await self._open(stack)
            delivery = None if self.webhook is None else Delivery(store, self.webhook)
            if delivery is not None:
                task = asyncio.create_task(delivery.run())
                stack.push_async_callback(cancel_all, [task])
            while not stop.is_set():
                try:
                    if time.monotonic() > reopen:
                        reopen = time.monotonic() + REOPEN_SECONDS
                        await self.source.reopen()
                    if self.rulebook is not None:
                        self.rulebook.refresh()
                    telling = asyncio.create_task(self._tell_meanwhile(store, delivery, interval))
                    try:
                        look = await unless_stopped(stop, monitor.look())
                    finally:
                        await cancel_all([telling])
                    if look is None:
                        return
                    warnings = _warnings(look)
                    if look.fault is not None:
                        reopen = min(reopen, time.monotonic() + REOPEN_AFTER_FAULT)
                except HeyanError as error:  # the state cannot be stored, or the registry not be read: try again
                    warnings = [error.detail or error.reason.value]
                self._tell_all(store)
                if delivery is not None:
                    delivery.wake()
                    warnings += [] if delivery.fault is None else [delivery.fault.detail]
                _warn(each for each in warnings if each not in warned)
                warned = warnings
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), interval)

    async def _open(self, stack: AsyncExitStack) -> tuple[MonitorStore, Monitor]:
        source = await stack.enter_async_context(self.source)
        places: dict[str, SightingSource] = {
            name: await stack.enter_async_context(place) for name, place in self.places.items()
        }
        if self.webhook is not None:
            await stack.enter_async_context(self.webhook)
        store = MonitorStore(self.state, self.opened.origin, posts=self.webhook is not None)
        stack.callback(store.close)
        log = LogToCheck(source, self.opened.origin, self.opened.verifiers, self.opened.gateways)
        monitor = Monitor(
            log=log,
            store=store,
            clock=Clock(time.time, time.monotonic),
            rules=self.rules,
            windows_of=None if self.rulebook is None else windows_of(self.rulebook),
            limits=self.limits,
            sightings=places,
        )
        return store, monitor

    async def _tell_meanwhile(self, store: MonitorStore, delivery: Delivery | None, interval: float) -> None:
        """Tell what is found while a look goes on: how long that takes is for the log to say, which may be the liar."""
        while True:
            await asyncio.sleep(interval)
            self._tell_all(store)
            if delivery is not None:
                delivery.wake()

    def _tell_all(self, store: MonitorStore) -> bool:
        """Print what is not printed yet, and only then say that it is; whether there was more than notices."""
        alarming = False
        for number, document in store.untold():
            sys.stdout.write(self.tell(document) + "\n")
            sys.stdout.flush()
            store.mark_told([number])
            alarming |= document["level"] == "alarm"
        return alarming

    async def _deliver(self, store: MonitorStore) -> None:
        if self.webhook is None:
            return
        for attempt in range(ONCE_ROUNDS):
            try:
                while await deliver_round(store, self.webhook):
                    pass
            except UnreachableError as error:
                if attempt + 1 == ONCE_ROUNDS:
                    _warn([f"{error.detail}: {store.count_unposted()} alarms are kept for the next run"])
                else:
                    await asyncio.sleep(2**attempt)
            else:
                return


async def unless_stopped(stop: asyncio.Event, looking: Coroutine[Any, Any, T]) -> T | None:
    """What comes of it; None if `stop` is set first: a long reading is cut short, and what is stored of it stands."""
    tasks = asyncio.create_task(looking), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return await tasks[0] if tasks[0].done() else None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _warnings(look: Look) -> list[str]:
    fault = [] if look.fault is None else [f"the log cannot be read now: {look.fault.detail}"]
    return [*fault, *look.warnings]


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stderr.write(f"warning: {printable(line)}\n")


def _json_line(document: dict[str, Any]) -> str:
    return json_text(document, indent=None)
