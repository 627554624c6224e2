"""The sync of a `CacheService` in step with an ASGI server: started with it, stopped with it.

Django's own ASGI application knows nothing of the lifespan protocol (ASGI specification, "Lifespan
Protocol"), so a wrapper around it speaks it:

    application = lifespan(get_asgi_application())
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from django_callcache.service import CacheService

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

DEFAULT_SERVICE = "django_callcache.service.CacheService"
"""Named, not imported: it needs models, and a project's ``asgi.py`` imports this before Django is set up."""


def lifespan(application: Any, service: CacheService | None = None) -> Application:
    """Wrap an ASGI application so that the server's start and end are those of the sync loop.

    Requests and everything else go to the application untouched. Every worker process of the server
    runs a loop of its own; a lease lets one of them work at a time.

    Args:
        application: Any ASGI application.
        service: Whose sync to start and stop; left out, a `CacheService` with its defaults.
    """

    async def wrapped(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(service, receive, send)
        else:
            await application(scope, receive, send)

    return wrapped


async def _live(service: CacheService | None, receive: Receive, send: Send) -> None:
    """Answer the server's two messages."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                service = service or import_string(DEFAULT_SERVICE)()
                await service.start_sync()
            except Exception as error:
                logger.exception("sync=not started")
                await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
                return
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            try:
                if service is not None:
                    await service.stop_sync()
            except Exception as error:
                logger.exception("sync=not stopped")
                await send(
                    {"type": "lifespan.shutdown.failed", "message": f"{type(error).__name__}: {error}"}
                )
                return
            await send({"type": "lifespan.shutdown.complete"})
            return
