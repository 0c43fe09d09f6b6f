"""The network between the daemon and the camera, as a TCP proxy of RTSP with RTP inside (RFC 2326, 10.12): it can damage
pictures before they were packed, lose packets, stand still, and set the camera's clock, which sender reports tell.
"""

import asyncio
import random

from soak_proxy import Proxy

RTP, RTCP = 0, 1  # channels of the one stream
SENDER_REPORT = 200
FRAGMENT_H264 = 28  # FU-A
SLICES = (1, 5)  # NAL units of H.264 that hold parts of a picture


class Frames:
    """Splits a stream into RTSP text and interleaved packets: (channel or None, bytes)."""

    def __init__(self):
        self.rest = b""

    def feed(self, data):
        self.rest += data
        while self.rest:
            if self.rest[0] != 0x24:  # $
                text, _, _ = self.rest.partition(b"$")
                self.rest = self.rest[len(text):]
                yield None, text
                continue
            if len(self.rest) < 4 or len(self.rest) < 4 + (length := int.from_bytes(self.rest[2:4], "big")):
                return
            packet, self.rest = self.rest[:4 + length], self.rest[4 + length:]
            yield packet[1], packet


class Way(Proxy):
    """Runs in a thread of its own; `port` is where the daemon finds the camera."""

    def __init__(self, port, camera_port, seed):
        super().__init__(port)
        self.camera_port, self.random = camera_port, random.Random(seed)
        self.damage = None  # "bits": wrong bits in slices; "slices": slices that were never packed; "packets": lost ones
        self.share = 0.0  # of the packets
        self.clock_s = 0.0  # of the camera, ahead of ours
        self.is_still = False
        self.damaged = 0
        self.serve()

    async def connected(self, reader, writer):
        try:
            camera_reader, camera_writer = await asyncio.open_connection("127.0.0.1", self.camera_port)
        except OSError:
            writer.transport.abort()
            return
        await self.both(self.carry(reader, camera_writer), self.carry_pictures(camera_reader, writer), writer, camera_writer)

    async def carry(self, reader, writer):
        try:
            while data := await reader.read(16384):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass

    async def carry_pictures(self, reader, writer):
        frames, missing, unit = Frames(), 0, None
        try:
            while data := await reader.read(65536):
                while self.is_still:
                    await asyncio.sleep(0.05)
                passed = []
                for channel, packet in frames.feed(data):
                    if channel == RTCP:
                        packet = self.report(packet)
                    elif channel == RTP:
                        packet, missing, unit = self.picture(bytearray(packet), missing, unit)
                    if packet:
                        passed.append(bytes(packet))
                writer.write(b"".join(passed))
                await writer.drain()
        except OSError:
            pass

    def report(self, packet):
        """A sender report by the camera's own clock."""
        if packet[5] != SENDER_REPORT or not self.clock_s:
            return packet
        time = int.from_bytes(packet[12:20], "big") + int(self.clock_s * 2**32)
        return packet[:12] + (time % 2**64).to_bytes(8, "big") + packet[20:]

    def picture(self, packet, missing, unit):
        """The packet as it leaves, or nothing; how many were left out before the numbering; the unit that is left out.
        Behind the 4 bytes of the frame: 12 of RTP, then the NAL unit or a fragment of one."""
        kind, begins = nal_of(packet)
        is_slice = kind in SLICES
        if begins:
            unit = "lost" if self.damage == "slices" and is_slice and self.random.random() < self.share else None
        if unit == "lost":
            self.damaged += begins
            return None, missing + 1, unit
        if missing:
            number = (int.from_bytes(packet[6:8], "big") - missing) % 2**16
            packet[6:8] = number.to_bytes(2, "big")
        if self.damage == "packets" and self.random.random() < self.share:
            self.damaged += 1
            return None, missing, unit
        if self.damage == "bits" and is_slice and self.random.random() < self.share and len(packet) > 60:
            self.damaged += 1
            for _ in range(3):
                packet[self.random.randrange(30, len(packet))] ^= 1 << self.random.randrange(8)
        return packet, missing, unit


def nal_of(packet):
    """(type, whether the unit begins in this packet) of a packet of H.264."""
    if len(packet) < 18:
        return None, True
    kind = packet[16] & 31
    if kind == FRAGMENT_H264:
        return packet[17] & 31, bool(packet[17] & 128)
    return kind, True
