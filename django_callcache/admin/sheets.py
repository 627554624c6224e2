"""Tables that leave the pages as CSV or JSON: plain numbers, whatever the language, sent as they are made."""

from __future__ import annotations

import csv
import datetime
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header

FORMATS = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
"""Types of content by the ending of an address."""

_FORMULA = re.compile("[=+\\-@\t\r\n\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}"
                      "\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}]")  # fmt: skip
_NO_FILE_NAME = re.compile(r"[^\w.]+")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table with its place in the world."""

    name: str
    columns: tuple[str, ...]
    rows: Iterable[Sequence[Any]]
    """Texts, numbers, booleans, moments, and None for what is not known."""
    about: Mapping[str, str | int | None] = field(default_factory=dict)
    """What it is about, such as the cache and the period, in the order of the file's name."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What else is to be said of it, where the format has a place for it."""

    def response(self, form: str) -> StreamingHttpResponse:
        """Return it as a file.

        Args:
            form: One of `FORMATS`.
        """
        lines = csv_lines(self) if form == "csv" else json_lines(self)
        response = StreamingHttpResponse(lines, content_type=FORMATS[form])
        words = [
            _NO_FILE_NAME.sub("_", str(word)).strip("_") for word in (*self.about.values(), self.name) if word
        ]
        name = "-".join(word for word in words if word)
        response["Content-Disposition"] = content_disposition_header(True, f"{name}.{form}") or "attachment"
        response["X-Content-Type-Options"] = "nosniff"
        return response


def csv_lines(sheet: Sheet) -> Iterator[str]:
    """Yield the lines of a table, its head first."""
    writer = csv.writer(_Line())
    yield writer.writerow(sheet.columns)
    for row in sheet.rows:
        yield writer.writerow(["" if cell is None else _cell(cell) for cell in row])


def json_lines(sheet: Sheet) -> Iterator[str]:
    """Yield the parts of an object whose "rows" are objects too."""
    head = json.dumps({"sheet": sheet.name, **sheet.about, **sheet.told}, ensure_ascii=False)
    yield f'{head[:-1]}, "rows": ['
    for number, row in enumerate(sheet.rows):
        cells = dict(zip(sheet.columns, row, strict=True))
        yield f"{',' if number else ''}\n{json.dumps(cells, default=_moment, ensure_ascii=False)}"
    yield "\n]}\n"


def plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula (OWASP, "CSV Injection")."""
    return f"'{text}" if _FORMULA.match(text) else text


def _cell(cell: Any) -> Any:
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, str):
        return plain(cell)
    return _moment(cell) if isinstance(cell, datetime.date) else cell


def _moment(cell: Any) -> str:
    if isinstance(cell, datetime.date):
        return cell.isoformat()
    raise TypeError(f"a sheet has no place for {type(cell).__name__}")


class _Line:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        """Return the text."""
        return text
