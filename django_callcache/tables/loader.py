"""Tables as sources of records: rules of prefixes that name one become loaders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from django.core.signals import setting_changed
from django.dispatch import receiver

from django_callcache.cache.loading import sources
from django_callcache.conf import SOURCES, TableSource, get_settings, stated_sources
from django_callcache.exceptions import RemoteRefused, RemoteRejected
from django_callcache.replication.remotes import open_reader
from django_callcache.sync.tables import SourceTables, name_of
from django_callcache.tables.readers import Readers

Row = Mapping[str, Any]


class TableLoader:
    """Reads the records of a prefix from a table's rows.

    Args:
        source: What the rule says.
        readers: Who reads.
    """

    thread_sensitive = False
    """Whether it has to be called in Django's thread: its connections are not that thread's."""

    def __init__(self, source: TableSource, readers: Readers) -> None:
        self._source = source
        self._readers = readers

    def __call__(self, names: Sequence[str], /) -> dict[str, Row]:
        """The records of rows by what their column holds.

        Raises:
            SyncError: The remote store does not answer, or refuses to read the table.
        """
        wanted = set(filter(_can_be_text, names))
        found: dict[str, Row] = {}
        for row in self._readers.ask(lambda store: list(self._rows(store, sorted(wanted)))):
            # 007 finds the row of 7, but is not its key: nothing would make its entry stale.
            name = name_of(row[self._source.by])
            if name not in wanted:
                continue
            if name in found:
                raise RemoteRefused(
                    f"{self._source.full_name}.{self._source.by} is not unique: {name!r} names several rows"
                )
            found[name] = self._record(row)
        return found

    def _rows(self, store: SourceTables, names: Sequence[str]) -> Iterator[Row]:
        """Read rows; a name that can be no value of the column is found by halving, and has none."""
        if not names:
            return
        try:
            yield from store.read_rows(self._source, names)
        except RemoteRejected:
            if len(names) > 1:
                middle = len(names) // 2
                yield from self._rows(store, names[:middle])
                yield from self._rows(store, names[middle:])

    def _record(self, row: Row) -> Row:
        fields = self._source.fields
        return {name: row[name] for name in fields} if fields else row


def register_tables() -> None:
    """Let `load` know the tables that rules name, and forget those that they named before."""
    readers.close()
    stated = stated_sources(TableSource)
    sources.state("tables", ((each.name, each.prefix, TableLoader(each.source, readers)) for each in stated))


@receiver(setting_changed, dispatch_uid=__name__)
def _read_again(*, setting: str, **kwargs: Any) -> None:
    if setting in SOURCES:
        register_tables()


def _can_be_text(name: str) -> bool:
    """Tell whether PostgreSQL has such a text; no row has another."""
    with suppress(UnicodeEncodeError):
        return "\0" not in name and bool(name.encode() or not name)
    return False


readers = Readers(lambda: open_reader(get_settings().sync))
"""Of the remote store that the settings name."""
