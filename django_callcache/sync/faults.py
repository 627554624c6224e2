"""What an error of PostgreSQL means for a push: wait, call a person, or look for the row at fault.

Messages of the server are never repeated: they may quote values.
"""

from __future__ import annotations

from django_callcache.exceptions import RemoteRefused, RemoteRejected, RemoteUnavailable, SyncError
from django_callcache.sync.remote import HOW_TO_INSTALL

TRANSIENT = frozenset({"25006", "40001", "40P01", "55P03", "55006", "57014", "57P01", "57P02", "57P03"})
"""Conflicts of transactions, locks, time limits, a server that stops, starts or became a standby."""
TRANSIENT_CLASSES = frozenset({"08", "53"})
MISSING = frozenset({"42P01", "42883", "3F000", "PGRST202", "PGRST205", "PGRST106"})
"""A table, function or schema is not there, for PostgreSQL or for PostgREST's idea of it."""
DATA_CLASSES = frozenset({"21", "22", "23", "44", "54", "P0"})
"""The row: its values, constraints, size, or a trigger that somebody put on the table.
Appendix A of PostgreSQL's manual has the codes."""
REFUSAL_CLASSES = frozenset({"22", "28", "3D", "42"})
"""Arguments, credentials, database, rights and names: of class 22 only 22023, a wrong argument, is left."""
REFUSALS = ("authentication failed", "no pg_hba.conf entry", "does not exist")
"""What a connection that was not let in says; it has no code."""
LITE_UNCLASSIFIED = "SUP"
"""What @supabase/lite says for whatever a function raised."""
STATEMENT_TIMEOUT = "canceling statement due to statement timeout"


def fault_of(code: str, message: str = "") -> SyncError:
    """Return the error to raise for a SQLSTATE or a code of PostgREST."""
    if code in TRANSIENT or code[:2] in TRANSIENT_CLASSES or STATEMENT_TIMEOUT in message:
        return RemoteUnavailable(f"The remote database cannot do it now (code {code})")
    if code in MISSING:
        message = f"The remote schema is missing or incomplete (code {code}): {HOW_TO_INSTALL}"
        return RemoteRefused(message, lacks_schema=True)
    if code == LITE_UNCLASSIFIED or (code[:2] in DATA_CLASSES and code != "22023"):
        return RemoteRejected(f"The remote database refuses the data (code {code})")
    if code[:2] in REFUSAL_CLASSES or any(words in message for words in REFUSALS):
        return RemoteRefused(f"The remote database refuses us (code {code}): check credentials and rights")
    return RemoteUnavailable(f"The remote database failed (code {code or 'none'})")
