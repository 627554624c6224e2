"""The remote store behind Supabase's Data API, by the ``supabase`` client.

The client is made by the process that uses it, over an ``httpx.Client`` of its own: no HTTP/2 (several
threads on one connection make requests fail), no redirects (the service key would follow them), time
limits, and never one that was made before a fork (children would read each other's replies).
"""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar, copy_context
from operator import methodcaller
from queue import Empty, SimpleQueue
from typing import Any, Self
from urllib.parse import quote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from django_callcache.conf import SyncSettings, TableSource
from django_callcache.exceptions import RemoteRefused, RemoteUnavailable, SyncError
from django_callcache.failpoints import reach
from django_callcache.sync.faults import fault_of
from django_callcache.sync.remote import (
    HeldRow,
    Page,
    PushReply,
    RemoteRow,
    ensure_schema_version,
    read_count,
    read_held,
    read_page,
    read_push_reply,
    read_text,
)
from django_callcache.sync.rest import still_resting
from django_callcache.sync.tables import (
    CHANGES_AT_ONCE,
    Feed,
    Stamp,
    columns_of,
    not_readable,
    read_attached,
    read_feed,
    read_rows,
    read_stamps,
)

try:
    import httpx
    from postgrest.exceptions import APIError
    from supabase import Client, ClientOptions, create_client
except ImportError as error:
    raise ImproperlyConfigured(
        'The remote store "supabase" needs its client: pip install "django-callcache[supabase]"'
    ) from error

CONNECT_SECONDS = 3.0
BUSY_STATUSES = frozenset({408, 425, 429, 502, 503, 504, 520, 521, 522, 523, 524})
"""Answers of gateways and limits: the request may be sent again. 52x are Cloudflare's."""
TOO_MANY = 429
MAX_RETRY_AFTER = 3600.0

MOST_NAMES = 300
MOST_NAME_BYTES = 6000
"""Names in one request, which has them in its address: gateways refuse long ones."""

_is_ours: ContextVar[bool] = ContextVar("callcache_supabase_request", default=False)


_TALKATIVE = ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "proxy", "socks")))


class _Silence(logging.Filter):
    """Drops what its client logs of a request of this module: the project's address, and at the level DEBUG
    all headers of the answer, which may repeat the key."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _is_ours.get()


_silence = _Silence()


class SupabaseStore:
    """The remote store of one Supabase project.

    Args:
        url: Address of the project.
        key: Its secret key (``sb_secret_…``), or the older ``service_role`` key.
        timeout_seconds: How long one request may take until the last byte of its answer.

    Raises:
        ImproperlyConfigured: The address is none, or the key is one for browsers.
    """

    def __init__(self, url: str, key: str, *, timeout_seconds: float = 10.0) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ImproperlyConfigured("SUPABASE_URL must be the address of a project, https://….supabase.co")
        _ensure_secret_key(key)
        self._url = url
        self._key = key
        self._timeout_seconds = timeout_seconds
        self._timeout = httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))
        self._http: httpx.Client | None = None
        self._client: Client | None = None
        self._pid = 0
        self._rests_until = 0.0
        """Monotonic seconds until which the project has asked not to be asked."""
        self._is_limited = False

    @classmethod
    def from_settings(cls, settings: SyncSettings) -> Self:
        """Return the store that ``CALLCACHE["SYNC"]`` describes."""
        return cls(settings.supabase_url, settings.supabase_key, timeout_seconds=settings.timeout)

    @classmethod
    def for_reading(cls, settings: SyncSettings) -> Self:
        """Return a store for callers who wait."""
        return cls(settings.supabase_url, settings.supabase_key, timeout_seconds=settings.read_timeout)

    def push(self, namespace: str, origin: str, rows: Sequence[RemoteRow]) -> PushReply:
        """Write rows, each only over the version that it builds on."""
        batch: Any = [row.as_json() for row in rows]
        parameters = {"p_namespace": namespace, "p_origin": origin, "p_rows": batch}
        found = self._call("callcache_push", parameters)
        reach("cp7")
        return read_push_reply(found, rows)

    def pull(self, namespace: str, after: int, limit: int, epoch: str | None) -> Page:
        """Return rows that changed after a cursor."""
        parameters = {"p_namespace": namespace, "p_after": after, "p_limit": limit, "p_epoch": epoch}
        return read_page(self._call("callcache_pull", parameters))

    def fetch(self, namespace: str, keys: Sequence[str]) -> Sequence[HeldRow]:
        """Return some rows by their keys."""
        parameters: dict[str, Any] = {"p_namespace": namespace, "p_keys": list(keys)}
        return read_held(self._call("callcache_fetch", parameters), keys)

    def collect_garbage(self) -> int:
        """Remove some tombstones and rows that expired more than a week ago."""
        return read_count(self._call("callcache_gc", {}))

    def claim(self, namespace: str, marks: Sequence[str], *, take_over: bool = False) -> str:
        """Mark a namespace as this environment's, unless another one has; return whose it is."""
        parameters = {"p_namespace": namespace, "p_marks": ",".join(marks), "p_take_over": take_over}
        return read_text(self._call("callcache_claim", parameters))

    def exposed(self) -> str:
        """Tell which tables browsers may reach; empty: none."""
        return read_text(self._call("callcache_exposed", {}))

    def check_schema(self) -> None:
        """See that the project has the tables of this release."""
        rows = self._within_time(
            lambda client: client.table("callcache_meta").select("schema_version").limit(1).execute().data
        )
        if not isinstance(rows, list):
            raise RemoteUnavailable("What answers at SUPABASE_URL is not Supabase's Data API")
        ensure_schema_version(rows[0].get("schema_version") if rows and isinstance(rows[0], dict) else None)

    def read_rows(self, source: TableSource, names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """Return the rows whose column holds one of some names."""
        columns = ",".join(columns_of(source)) or "*"
        rows: list[Mapping[str, Any]] = []
        for portion in _portions(map(_quoted, names)):
            narrow = methodcaller("filter", source.by, "in", f"({portion})")
            rows += read_rows(self._ask_table(source, columns, narrow), source)
        return rows

    def feed(self, cursor: str | None) -> Feed:
        """Return changes of attached tables after a cursor."""
        return read_feed(self._call("callcache_feed", {"p_cursor": cursor, "p_limit": CHANGES_AT_ONCE}))

    def collect_changes(self) -> int:
        """Remove some of the changes that are older than a day."""
        return read_count(self._call("callcache_changes_gc", {}))

    def attached(self) -> frozenset[tuple[str, str]]:
        """Return which columns of which tables tell of changes."""
        return read_attached(self._call("callcache_attached", {}))

    def latest_change(self, source: TableSource) -> Stamp | None:
        """Return the stamp of the row that changed last."""
        at = source.changed_at or ""
        found = self._ask_table(
            source,
            f"{source.by},{at}",
            lambda query: query.not_.is_(at, "null").order(at, desc=True).limit(1),
        )
        return next(iter(read_stamps(found, source)), None)

    def changed_since(self, source: TableSource, since: str, after: Stamp | None) -> Sequence[Stamp]:
        """Return a page of the stamps of rows that changed at some moment or later."""
        at, by = source.changed_at or "", source.by
        if after is None:
            later = f"{at}.gte.{_quoted(since)}"
        else:
            moment, name = _quoted(after.changed_at), _quoted(after.name)
            later = f"{at}.gt.{moment},and({at}.eq.{moment},{by}.gt.{name})"
        found = self._ask_table(
            source,
            f"{by},{at}",
            lambda query: query.or_(later).not_.is_(by, "null").order(at).order(by).limit(CHANGES_AT_ONCE),
        )
        return read_stamps(found, source)

    def close(self) -> None:
        """Close the connections of this process."""
        if self._http is not None and self._pid == os.getpid():
            self._http.close()
        self._http = self._client = None

    def _ask_table(self, source: TableSource, columns: str, narrow: Callable[[Any], Any]) -> Any:
        """Read from a table what a query is narrowed to."""

        def ask(client: Client) -> Any:
            at = client.table if source.schema == "public" else client.schema(source.schema).table
            return narrow(at(source.name).select(columns)).execute().data

        try:
            return self._within_time(ask)
        except RemoteRefused as error:
            raise not_readable(source) from error

    def _call(self, function: str, parameters: dict[str, Any]) -> Any:
        """Call a function of the database; return what it returned."""
        return self._within_time(lambda client: client.rpc(function, parameters).execute().data)

    def _within_time(self, ask: Callable[[Client], Any]) -> Any:
        """Ask, and give up when the whole answer takes too long; httpx limits each read of it only."""
        if (left := self._rests_until - time.monotonic()) > 0:
            raise still_resting(left, is_limited=self._is_limited)
        client, http = self._connected()
        answer: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        given_up = threading.Event()

        def work() -> None:
            _is_ours.set(True)
            try:
                answer.put((ask(client), None))
            except BaseException as error:
                answer.put((None, _translated(error)))
            if given_up.is_set():
                http.close()

        threading.Thread(
            target=copy_context().run, args=(work,), name="callcache-remote", daemon=True
        ).start()
        try:
            found, error = answer.get(timeout=self._timeout_seconds)
        except BaseException as interruption:
            # Whoever waits for the rest of the answer has the connection; the next call gets another.
            self._http = self._client = None
            given_up.set()
            if not isinstance(interruption, Empty):
                raise
        else:
            if error is not None:
                self._rest(error)
                raise error
            return found
        raise RemoteUnavailable(f"Supabase's answer took longer than {self._timeout_seconds:g} s")

    def _rest(self, error: BaseException) -> None:
        if isinstance(error, RemoteUnavailable) and error.retry_after:
            self._rests_until = time.monotonic() + error.retry_after
            self._is_limited = error.is_limited

    def _connected(self) -> tuple[Client, httpx.Client]:
        """Return this process's client."""
        if self._client is None or self._http is None or self._pid != os.getpid():
            # A parent's connections are its own: they are left as they are, not closed.
            self._http = httpx.Client(
                http2=False,
                follow_redirects=False,
                timeout=self._timeout,
                limits=httpx.Limits(max_connections=8, max_keepalive_connections=4, keepalive_expiry=20),
                event_hooks={"response": [_judge_status]},
            )
            for name in _TALKATIVE:
                logging.getLogger(name).addFilter(_silence)
            options = ClientOptions(
                httpx_client=self._http,
                schema="public",
                auto_refresh_token=False,
                persist_session=False,
                postgrest_client_retry=False,
            )
            self._client = create_client(self._url, self._key, options)
            self._pid = os.getpid()
        return self._client, self._http

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {urlsplit(self._url).hostname}>"


def _quoted(text: str) -> str:
    """Return a text as a literal in a filter of PostgREST."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _portions(names: Iterable[str]) -> Iterator[str]:
    """Join quoted names to lists that fit into an address."""
    portion: list[str] = []
    size = 0
    for name in names:
        length = len(quote(name)) + 1
        if portion and (len(portion) == MOST_NAMES or size + length > MOST_NAME_BYTES):
            yield ",".join(portion)
            portion, size = [], 0
        portion.append(name)
        size += length
    if portion:
        yield ",".join(portion)


def _ensure_secret_key(key: str) -> None:
    """Refuse a key with which nothing could be written."""
    if not key:
        raise ImproperlyConfigured("SUPABASE_KEY is missing: it takes the project's secret key")
    if key.startswith("sb_publishable_") or _role_of(key) in ("anon", "authenticated"):
        raise ImproperlyConfigured(
            "SUPABASE_KEY is a publishable key, made for browsers: it takes the project's secret key"
        )


def _role_of(key: str) -> object:
    """Return the role that a key of the older kind, a JSON Web Token, names."""
    try:
        body = key.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError):
        return None
    return claims.get("role") if isinstance(claims, dict) else None


def _translated(error: BaseException) -> BaseException:
    """Return our error for one of the client's, which may quote values, keys and addresses.

    Neither what it was caused by nor where it was raised is kept: headers are among the variables there.
    """
    match error:
        case APIError():
            return fault_of(str(error.code or ""), error.message or "")
        case httpx.TransportError():
            return RemoteUnavailable(f"Supabase does not answer ({type(error).__name__})")
        case ValueError() | TypeError():
            # A success without JSON, or with other JSON than the client expects.
            return RemoteUnavailable(f"Supabase's reply makes no sense ({type(error).__name__})")
        case SyncError():
            error.__context__ = None
            return error.with_traceback(None)
    return error


def _judge_status(response: httpx.Response) -> None:
    """Raise for answers that say enough by their status; the client loses it."""
    status = response.status_code
    if response.has_redirect_location or 300 <= status < 400:
        raise RemoteUnavailable(f"Supabase answers with a redirect ({status}), which is not followed")
    if status in BUSY_STATUSES:
        raise RemoteUnavailable(
            f"Supabase is busy or down ({status})",
            retry_after=_retry_after(response.headers),
            is_limited=status == TOO_MANY,
        )
    if status in (401, 403):
        raise RemoteRefused(
            f"Supabase refuses us ({status}): check SUPABASE_KEY and the grants of the schema"
        )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a ``Retry-After`` header; its other form, a date, is not used by gateways."""
    try:
        return min(max(0.0, float(headers["retry-after"])), MAX_RETRY_AFTER)
    except (KeyError, ValueError):
        return None
