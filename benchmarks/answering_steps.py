"""CPU time of a node's steps, each without those inside it, measured while it answers.

The functions of `STEPS` are wrapped where the node looks them up, so that what is timed is the node's own way through
them and nothing is left out: what no step has is `OTHER`. A wrapper costs under a microsecond.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

from consent import passkey, verification
from gateway.protocol import query_rules
from sandbox_departments import answerer, answering, deciding, replies
from sandbox_departments.journal import Journal
from sandbox_departments.ledger import Ledger
from sandbox_departments.registers import SqliteRegister

OTHER = "everything else"
COMMIT = "commit and fsync"

STEPS: dict[str, Sequence[tuple[ModuleType | type, str]]] = {
    "read ask and query": [(answerer, "read_ask"), (query_rules, "read_query"), (answering, "open_part")],
    "query signature": [(answering, "open_query")],
    "grant signature": [(answering, "open_grant")],
    "authorisation": [
        (answering, "authorize"),
        (answering, "check_policy"),
        (answering, "require_single_questions"),
        (answering, "require_grants_of_query"),
    ],
    "disclosures": [(verification, "_open_disclosures")],
    "HPKE opening": [(answering, "open_sealed")],
    "commitments": [(answering, "open_commitment")],
    "passkey": [(answering, "require_evidence"), (passkey, "verify_assertion")],
    "repetition, uses, budget": [(deciding, "repeat_of"), (Ledger, "answers_to"), (deciding, "spend")],
    "register": [(SqliteRegister, "find")],
    "statements": [(deciding, "attest"), (deciding, "write_statement"), (deciding, "case_of")],
    "answers kept": [(Ledger, "keep_answers")],
    "tree and signature": [(replies, "sign_batch")],
    "journal entries": [(Ledger, "append"), (Ledger, "keep_batch")],
}


class Meter:
    """Seconds of a thread's CPU by step. Used by one thread at a time; `steps` alone wraps nothing twice."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._open: list[str] = [OTHER]
        self._since = time.thread_time()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """What runs inside is the step's, but for the steps inside it."""
        self._enter(name)
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def wrapped(self) -> Iterator[None]:
        """The node's steps are measured while this is open."""
        with ExitStack() as stack:
            for name, places in STEPS.items():
                for owner, attribute in places:
                    stack.enter_context(
                        mock.patch.object(owner, attribute, self._timed(name, getattr(owner, attribute)))
                    )
            stack.enter_context(mock.patch.object(Journal, "transaction", self._transaction(Journal.transaction)))
            yield

    def begin(self) -> None:
        """Count from now, on the thread that calls this."""
        self._since = time.thread_time()

    def end(self) -> None:
        """Count up to now."""
        self._charge()

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._enter(name)
            try:
                return function(*args, **kwargs)
            finally:
                self._leave()

        return timed

    def _transaction(
        self, transaction: Callable[[Journal], AbstractContextManager[Ledger]]
    ) -> Callable[[Journal], AbstractContextManager[Ledger]]:
        @contextmanager
        def timed(journal: Journal) -> Iterator[Ledger]:
            with ExitStack() as stack:
                ledger = stack.enter_context(transaction(journal))
                yield ledger
                with self.step(COMMIT):
                    stack.close()

        return timed

    def _enter(self, name: str) -> None:
        self._charge()
        self._open.append(name)

    def _leave(self) -> None:
        self._charge()
        self._open.pop()

    def _charge(self) -> None:
        now = time.thread_time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now
