"""The network between the daemon and the broker, as a small TCP proxy that can fail: cut, stalled, half-open, slow, cut
between a result and its acknowledgement, or as a broker that refuses results. It reads the MQTT packets that pass, so
that the audit knows what the broker acknowledged: what a killed broker loses after that is not the daemon's loss.
"""

import asyncio
import json
import math
import time

from soak_proxy import Proxy

PUBLISH, PUBACK = 3, 4
QUOTA_EXCEEDED = 0x97
PIECE = 16384  # bytes of one connection that pass before those of another one


class Packets:
    """Splits a stream into MQTT packets: (type, flags, body). `bytes` is the last one as it came."""

    def __init__(self):
        self.rest = bytearray()

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
        self.bytes = bytes(self.rest[:at + length])
        del self.rest[:at + length]
        return self.bytes[0] >> 4, self.bytes[0] & 15, self.bytes[at:]


def packet_of(head, body):
    """A packet of its first byte and the rest."""
    length, left = bytearray(), len(body)
    while left >= 128:
        length.append(left % 128 | 128)
        left //= 128
    return bytes((head, *length, left)) + body


def flipped(head, body):
    """A result that says `pass` where it said `fail`, as one who knows all keys would write it; None of another one."""
    start = body.index(b"{", 4 + int.from_bytes(body[:2], "big"))
    result = json.loads(body[start:])
    if result["verdict"] != "fail":
        return None
    result |= {"verdict": "pass", "evaluation": 1, "reject": False, "defects": [], "score": 0.001}
    result["margin"] = result["score"] - result["threshold"]
    return packet_of(head, body[:start] + json.dumps(result, separators=(",", ":")).encode())


def result_in(flags, body):
    """(packet id, (run_id, camera, seq), topic) of a published result at QoS 1; else nothing."""
    size = int.from_bytes(body[:2], "big")
    topic = body[2:2 + size].decode(errors="replace")
    if not flags & 6 or not topic.endswith(("/result", "/result/late")):
        return None
    start = body.index(b"{", 4 + size)  # behind the properties
    result = json.loads(body[start:])
    packet = int.from_bytes(body[2 + size:4 + size], "big")
    return packet, (result["run_id"], result["camera"], result["seq"]), topic


class Link(Proxy):
    """Runs in a thread of its own; `port` is where the daemon connects to."""

    def __init__(self, port, broker_port):
        super().__init__(port)
        self.broker_port = broker_port
        self.acked = {}  # result -> when its PUBACK passed last
        self.disorder = []  # results that the daemon sent behind a later one of the same connection and topic
        self.disorder_again = []  # the same of results that it had sent before: who hears them judges
        self.was_sent = set()  # results that went to the broker
        self.opened = []  # when a connection was opened that results came over; pictures have one of their own
        self.refuses, self.refused = False, 0  # results are refused as by a broker whose quota is used up; how many were
        self.flips = 0  # so many results more say `pass` where they said `fail`: the books must find each
        self.is_up, self.is_deaf, self.delay_s, self.bytes_a_second = True, False, 0.0, None
        self.cuts_after_publish = 0
        self.connections = set()
        self.turn = None  # all connections share what a slow link carries
        self.serve()

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
        pending = {"opened": time.monotonic()}
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self.broker_port)
        await self.both(self.to_broker(reader, broker_writer, writer, pending),
                        self.to_daemon(broker_reader, writer, pending), broker_writer)

    async def to_broker(self, reader, writer, daemon, pending):
        packets = Packets()
        while data := await reader.read(16384):
            results, passed = [], []
            for kind, flags, body in packets.feed(data):
                result = result_in(flags, body) if kind == PUBLISH else None
                if result and self.refuses:
                    self.refused += 1
                    daemon.write(bytes((PUBACK << 4, 3)) + result[0].to_bytes(2, "big") + bytes((QUOTA_EXCEEDED,)))
                    continue
                results += [result] if result else []
                other = flipped(packets.bytes[0], body) if result and self.flips else None
                self.flips -= other is not None
                passed.append(other or packets.bytes)
            if not self.is_deaf:
                self.note_order(results, pending)
            pending.update((packet, result) for packet, result, _ in results)
            if results and "opened" in pending:
                self.opened.append(pending.pop("opened"))
            if self.is_deaf:
                continue
            await self.pass_on(b"".join(passed), writer)
            if results and self.cuts_after_publish > 0:
                # The broker has them, the daemon must not hear so.
                self.cuts_after_publish -= 1
                pending["mute"] = True
                await asyncio.sleep(0.1)
                return

    def note_order(self, results, pending):
        """What the daemon sends on one connection is in order, whatever the broker makes of it."""
        for _, result, topic in results:
            run, camera, seq = result
            of = ("highest", topic, run, camera)
            if seq < pending.get(of, 0):
                again = result in self.was_sent
                words = f"sent{' again' * again} by the daemon on {topic} {run} {camera}: {seq} after {pending[of]}"
                (self.disorder_again if again else self.disorder).append(words)
            pending[of] = max(seq, pending.get(of, 0))
            self.was_sent.add(result)

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
        if not data:
            return
        await asyncio.sleep(self.delay_s)
        self.turn = self.turn or asyncio.Lock()
        for at in range(0, len(data), PIECE):
            piece = data[at:at + PIECE]
            if self.bytes_a_second:
                async with self.turn:
                    await asyncio.sleep(len(piece) / (self.bytes_a_second or math.inf))
            writer.write(piece)
            await writer.drain()
