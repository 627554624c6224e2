"""An ASGI server's part of the lifespan protocol."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager


@asynccontextmanager
async def living(application):
    """Start an application, and end it on the way out; yield its answer to the start."""
    inbox, outbox = asyncio.Queue(), asyncio.Queue()
    life = asyncio.create_task(application({"type": "lifespan"}, inbox.get, outbox.put))
    await inbox.put({"type": "lifespan.startup"})
    started = await outbox.get()
    try:
        yield started
    finally:
        if started["type"] == "lifespan.startup.complete":
            await inbox.put({"type": "lifespan.shutdown"})
            ended = await outbox.get()
            assert ended == {"type": "lifespan.shutdown.complete"}
        await life
