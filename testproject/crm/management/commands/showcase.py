"""`manage.py showcase`: rows and keys for a look at the admin pages."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from testproject import showcase


class Command(BaseCommand):
    help = (
        "Fill the database and the cache with a made-up month, so that every admin page has something to "
        f"show, and make the account {showcase.NAME!r} with the same word as its password. Replaces the rows "
        "of the cache's tables; not for a site that anybody else can reach."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        showcase.fill()
        self.stdout.write(f"Log in as {showcase.NAME!r}, password {showcase.PASSWORD!r}.")
