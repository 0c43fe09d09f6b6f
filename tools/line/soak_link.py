"""The network between the daemon and the broker, as a small TCP proxy that can fail: cut, stalled, half-open, slow, cut
between a result and its acknowledgement. It reads the MQTT packets that pass, so that the audit knows what the broker
acknowledged: what a killed broker loses after that is not the daemon's loss.
"""

import asyncio
import json
import threading
import time

PUBLISH, PUBACK = 3, 4


class Packets:
    """Splits a stream into MQTT packets: (type, flags, body)."""

    def __init__(self):
        self.rest = b""

    def feed(self, data):
        self.rest += data
        while (packet := self.first()) is not None:
            yield packet

    def first(self):
        length, at = 0, 1
        while True:
            if at >= len(self.rest):
                return None
            byte = self.rest[at]
            length |= (byte & 127) << (7 * (at - 1))
            at += 1
            if byte < 128:
                break
        if len(self.rest) < at + length:
            return None
        head, body = self.rest[0], self.rest[at:at + length]
        self.rest = self.rest[at + length:]
        return head >> 4, head & 15, body


def result_in(flags, body):
    """(packet id, (run_id, camera, seq)) of a published result at QoS 1; else nothing."""
    size = int.from_bytes(body[:2], "big")
    topic = body[2:2 + size].decode(errors="replace")
    if not flags & 6 or not topic.endswith(("/result", "/result/late")):
        return None
    start = body.index(b"{", 4 + size)  # behind the properties
    result = json.loads(body[start:])
    return int.from_bytes(body[2 + size:4 + size], "big"), (result["run_id"], result["camera"], result["seq"])


class Link:
    """Runs in a thread of its own; `port` is where the daemon connects to."""

    def __init__(self, port, broker_port):
        self.port, self.broker_port = port, broker_port
        self.acked = {}  # result -> when its PUBACK passed last
        self.is_up, self.is_deaf, self.delay_s, self.bytes_a_second = True, False, 0.0, None
        self.cuts_after_publish = 0
        self.connections = set()
        self.loop = asyncio.new_event_loop()
        started = threading.Event()
        threading.Thread(target=self.run, args=(started,), daemon=True).start()
        started.wait(10)

    def run(self, started):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(asyncio.start_server(self.connected, "127.0.0.1", self.port))
        started.set()
        self.loop.run_forever()

    def down(self):
        """The cable is out: what is connected breaks, nothing connects."""
        self.is_up = False
        self.drop_all()

    def up(self):
        self.is_up = True

    def deaf(self):
        """Half-open: everybody seems connected, and nothing arrives any more."""
        self.is_deaf = True

    def hears(self):
        """What was half-open is broken now; new connections work."""
        self.is_deaf = False
        self.drop_all()

    def drop_all(self):
        self.loop.call_soon_threadsafe(lambda: [writer.transport.abort() for writer in list(self.connections)])

    async def connected(self, reader, writer):
        if not self.is_up:
            writer.transport.abort()
            return
        self.connections.add(writer)
        try:
            await self.forward_all(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.connections.discard(writer)
            writer.transport.abort()

    async def forward_all(self, reader, writer):
        await asyncio.sleep(self.delay_s)
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self.broker_port)
        pending = {}
        ways = [asyncio.create_task(self.to_broker(reader, broker_writer, pending)),
                asyncio.create_task(self.to_daemon(broker_reader, writer, pending))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            broker_writer.transport.abort()

    async def to_broker(self, reader, writer, pending):
        packets = Packets()
        while data := await reader.read(16384):
            results = [result_in(flags, body) for kind, flags, body in packets.feed(data) if kind == PUBLISH]
            results = [result for result in results if result]
            pending.update(results)
            if self.is_deaf:
                continue
            await self.pass_on(data, writer)
            if results and self.cuts_after_publish > 0:
                # The broker has them, the daemon must not hear so.
                self.cuts_after_publish -= 1
                pending["mute"] = True
                await asyncio.sleep(0.1)
                return

    async def to_daemon(self, reader, writer, pending):
        packets = Packets()
        while data := await reader.read(16384):
            if self.is_deaf or "mute" in pending:
                continue
            for kind, _, body in packets.feed(data):
                result = pending.pop(int.from_bytes(body[:2], "big"), None) if kind == PUBACK else None
                if result:
                    self.acked[result] = time.monotonic()
            await self.pass_on(data, writer)

    async def pass_on(self, data, writer):
        await asyncio.sleep(self.delay_s)
        if self.bytes_a_second:
            await asyncio.sleep(len(data) / self.bytes_a_second)
        writer.write(data)
        await writer.drain()
