"""Plays calls through the site over HTTP, as the desks of a call centre would.

A desk looks at its campaign and its contact before a call and at the contact again during it, records
the call and reads it back, and looks at contact and campaign once more; the wallboard shows the call. Now
and then a supervisor looks at the campaign's figures. Which records are hot follows from the data alone.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any

from testproject.crm.bank_calls import BankCall
from testproject.parts.child import LOOPBACK

DESKS = 4
CALLS_BETWEEN_LOOKS = 20
"""A supervisor looks after so many calls."""
PROBLEMS_KEPT = 5
IDLE_SECONDS = 1.0
"""A connection that was idle for so long is not used again: Gunicorn closes it after two seconds."""

Record = dict[str, Any]


@dataclass
class Tally:
    """What playing brought; safe for several threads."""

    requests: int = 0
    calls: int = 0
    errors: int = 0
    problems: list[str] = field(default_factory=list)
    """The first few errors, for people."""
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list, repr=False)
    """Seconds that each request took."""
    written: dict[str, Record] = field(default_factory=dict, repr=False)
    """Every cache key that the site said it wrote, with the last record it gave for it."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def answered(self, seconds: float) -> None:
        """Count a request that was answered as it should be."""
        with self._lock:
            self.requests += 1
            self.latencies.append(seconds)

    def failed(self, problem: str) -> None:
        """Count a request that was not, or a wrong answer."""
        with self._lock:
            self.requests += 1
            self.errors += 1
            if len(self.problems) < PROBLEMS_KEPT:
                self.problems.append(problem)

    def recorded(self, answer: dict[str, Record]) -> None:
        """Remember what the site wrote for one call."""
        with self._lock:
            self.calls += 1
            self.written[f"call:{answer['call']['id']}"] = answer["call"]
            for name in ("campaign", "contact"):
                record = answer[name]
                known = self.written.setdefault(f"{name}:{record['id']}", record)
                # Answers to different desks arrive in any order; the counter tells the later one.
                if record["calls_made"] > known["calls_made"]:
                    self.written[f"{name}:{record['id']}"] = record


class WrongAnswer(Exception):
    """The site did not answer as it should."""


class Player:
    """Several desks that share the calls to be made.

    Args:
        port: Where the site listens.
        desks: Calls in progress at a time.
        speed: Calls begun in a second at most; None: no bound.
        on_call: Told after each call, by one thread at a time.
    """

    def __init__(
        self,
        port: int,
        *,
        desks: int = DESKS,
        speed: float | None = None,
        on_call: Callable[[], object] = lambda: None,
    ) -> None:
        self.tally = Tally()
        self._desks = desks
        self._port = port
        self._speed = speed
        self._on_call = on_call
        self._stopped = threading.Event()
        self._turn = threading.Lock()

    def open_campaigns(self, numbers: Iterable[int]) -> None:
        """Look at campaigns before the first call, through the asynchronous service."""
        with closing(_Desk(self._port, self.tally)) as desk:
            for number in numbers:
                desk.get(f"/campaigns/{number}/overview/")

    def play(self, calls: Iterable[BankCall], *, until: float | None = None) -> Tally:
        """Make the calls, in their order, until they are through or time is up.

        Args:
            calls: What to play.
            until: `time.monotonic` of the end.
        """
        began = time.monotonic()
        shared = self._paced(iter(calls), began, until)
        with ThreadPoolExecutor(self._desks, thread_name_prefix="desk") as desks:
            running = [desks.submit(self._work, shared) for _ in range(self._desks)]
            try:
                for desk in running:
                    desk.result()
            finally:
                self._stopped.set()
        self.tally.seconds = time.monotonic() - began
        return self.tally

    def _work(self, calls: Iterator[BankCall]) -> None:
        with closing(_Desk(self._port, self.tally)) as desk:
            while (call := self._next(calls)) is not None:
                desk.make(call)
                if call.number % CALLS_BETWEEN_LOOKS == 0:
                    desk.supervise(call.month.number)
                with self._turn:
                    self._on_call()

    def _next(self, calls: Iterator[BankCall]) -> BankCall | None:
        with self._turn:
            return next(calls, None)

    def _paced(self, calls: Iterator[BankCall], began: float, until: float | None) -> Iterator[BankCall]:
        """Yield calls while there is time, not faster than they may go."""
        for count, call in enumerate(calls):
            if self._speed and self._stopped.wait(max(0.0, began + count / self._speed - time.monotonic())):
                return
            if self._stopped.is_set() or (until is not None and time.monotonic() >= until):
                return
            yield call


class _Desk:
    """One connection to the site, kept open."""

    def __init__(self, port: int, tally: Tally) -> None:
        self._connection = HTTPConnection(LOOPBACK, port, timeout=30)
        self._used_at = 0.0
        self._tally = tally

    def make(self, call: BankCall) -> None:
        """Make one call, with the looks before, during and after it."""
        campaign, contact = f"/campaigns/{call.month.number}/", f"/contacts/{call.contact}/"
        for path in (campaign, contact, contact):
            self.get(path)
        answer = self._ask("POST", "/calls/", _as_posted(call), expected=201)
        if answer is not None:
            self._tally.recorded(answer)
            self._read_back(answer["call"])  # the desk's own look
            self._read_back(answer["call"])  # the wallboard's
        for path in (contact, campaign):
            self.get(path)

    def supervise(self, campaign: int) -> None:
        """Look at a campaign as its supervisor does."""
        self.get(f"/campaigns/{campaign}/stats/")
        self.get(f"/campaigns/{campaign}/overview/")

    def get(self, path: str) -> Record | None:
        """Read something; None where that failed, which is counted."""
        return self._ask("GET", path)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _read_back(self, written: Record) -> None:
        read = self.get(f"/calls/{written['id']}/")
        if read is not None and read != written:
            self._tally.failed(f"call {written['id']} was written as {written} and read as {read}")

    def _ask(self, method: str, path: str, body: Record | None = None, *, expected: int = 200) -> Any:
        began = time.perf_counter()
        try:
            answer = self._exchange(method, path, body, expected)
        except (OSError, HTTPException, ValueError, WrongAnswer) as error:
            self._tally.failed(f"{method} {path}: {error!r}")
            self.close()  # the next request opens it again
            return None
        self._tally.answered(time.perf_counter() - began)
        return answer

    def _exchange(self, method: str, path: str, body: Record | None, expected: int) -> Any:
        content = None if body is None else json.dumps(body)
        if time.monotonic() - self._used_at > IDLE_SECONDS:
            self.close()
        self._connection.request(method, path, content, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        text = response.read()
        self._used_at = time.monotonic()
        if response.status != expected:
            raise WrongAnswer(f"status {response.status}: {text[:200]!r}")
        return json.loads(text)


def _as_posted(call: BankCall) -> Record:
    return {
        "campaign": call.month.number,
        "contact": call.contact,
        "duration_seconds": call.duration_seconds,
        "channel": call.channel,
        "attempt": call.attempt,
        "days_since_previous": call.days_since_previous,
        "previous_attempts": call.previous_attempts,
        "subscribed": call.subscribed,
    }
