"""A TCP proxy on an event loop in a thread of its own; what it carries is its heirs' matter."""

import asyncio
import threading


class Proxy:
    """`port` is where the daemon connects to; `connected(reader, writer)` is called for each connection."""

    def __init__(self, port):
        self.port = port
        self.loop = asyncio.new_event_loop()

    def serve(self):
        """Returns once connections are taken."""
        started = threading.Event()
        threading.Thread(target=self.run, args=(started,), daemon=True).start()
        started.wait(10)

    def run(self, started):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(asyncio.start_server(self.connected, "127.0.0.1", self.port))
        started.set()
        self.loop.run_forever()

    async def both(self, one, other, *writers):
        """Carries both ways until one of them ends; what is left of the connections ends with it."""
        ways = [asyncio.create_task(one), asyncio.create_task(other)]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for writer in writers:
                writer.transport.abort()
