"""The pictures of the soak's belt. Each shows one part and carries the part's number as a drawn code, so that the books
know which part a verdict is about. A strip above the part holds the code, outside of the recipe's crop; it survives
H.264, and heat maps do not paint it.
"""

import os
import random
import struct
import zlib

SIDE = 256
STRIP = 32  # rows of the code
CELL = 16
NUMBERS = 64
CROP = (32, 48, 192, 192)  # x, y, width, height of what is judged


def cells(number):
    """One bit each of the strip's 16 cells: a frame of 1 and 0, each bit of the number beside its opposite, parity."""
    bits = [number >> place & 1 for place in range(6)]
    bits.append(sum(bits) % 2)
    return [1, 0] + [cell for bit in bits for cell in (bit, 1 - bit)]


def number_of(levels):
    """The number of 16 cells' brightness; None where the strip is no code: black, torn, or of two pictures."""
    middle = (max(levels) + min(levels)) / 2
    if max(levels) - min(levels) < 80:
        return None
    found = [int(level > middle) for level in levels]
    number = sum(found[2 + 2 * place] << place for place in range(6))
    return number if found == cells(number) else None


def is_bad(number):
    """The truth about a part: about half of them have a scratch, in no order that a neighbour could share."""
    return bool(zlib.crc32(b"part %d" % number) & 4)


def draw(number, bad, is_empty=False):
    """Rows of RGB bytes. Number None leaves the strip grey, as on a reference and on an empty belt."""
    noise = random.Random(7)  # the same texture on each part: they differ by the scratch alone
    rows = []
    code = cells(number) if number is not None else None
    scratch = random.Random(number or 0)
    left, top = 76 + scratch.randrange(80), 90 + scratch.randrange(80)
    for y in range(SIDE):
        row = bytearray()
        for x in range(SIDE):
            if y < STRIP:
                level = 128 if code is None else 225 if code[x // CELL] else 30
                row += bytes((level, level, level))
                continue
            far = ((x - 128) ** 2 + (y - 144) ** 2) ** 0.5
            grain = noise.randrange(-10, 11)
            red, green, blue = (150, 152, 148) if 28 < far < 80 and not is_empty else (60, 66, 74)
            if bad and left <= x < left + 26 and top <= y < top + 22:
                red, green, blue = 215, 70, 40
            row += bytes((red + grain, green + grain, blue + grain))
        rows.append(bytes(row))
    return rows


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows):
    head = struct.pack(">IIBBBBB", SIDE, len(rows), 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def write_all(folder):
    """The belt's files, in its order."""
    for number in range(NUMBERS):
        with open(f"{folder}/{number:02}.png", "wb") as file:
            file.write(png(draw(number, is_bad(number))))


def write_passage(folder):
    """The gate's belt: the empty belt and a part in turn."""
    empty = png(draw(None, False, is_empty=True))
    for number in range(NUMBERS // 2):
        with open(f"{folder}/{number:02}-a.png", "wb") as file:
            file.write(empty)
        os.link(f"{folder}/../belt/{number:02}.png", f"{folder}/{number:02}-b.png")


def write_reference(name):
    with open(name, "wb") as file:
        file.write(png(draw(None, False)))


def chunks(data):
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        yield kind, data[at + 8:at + 8 + length]
        at += 12 + length


class Read:
    """What a heat map's file says: its texts, and the number in its strip."""

    def __init__(self, data):
        self.texts, packed = {}, []
        for kind, body in chunks(data):
            if kind == b"IHDR":
                self.width, self.height, depth, colours = struct.unpack(">IIBB", body[:10])
                if depth != 8 or colours not in (2, 6):
                    raise ValueError(f"a heat map of depth {depth} and colour type {colours}")
                self.channels = 3 if colours == 2 else 4
            elif kind == b"tEXt":
                key, _, value = body.partition(b"\0")
                self.texts[key.decode("latin-1")] = value.decode("latin-1")
            elif kind == b"IDAT":
                packed.append(body)
        row = 1 + self.width * self.channels
        top = zlib.decompressobj().decompress(b"".join(packed), row * (STRIP * self.height // SIDE))
        self.rows = unfiltered(top, row, self.channels)

    def number(self):
        """The part's number; None where there is no readable code."""
        scale = self.width / SIDE
        lines = self.rows[int(10 * scale):int(22 * scale):2]
        levels = []
        for cell in range(SIDE // CELL):
            begin, end = (int((cell * CELL + edge) * scale) for edge in (5, 11))
            seen = [line[x * self.channels + 1] for line in lines for x in range(begin, end)]
            levels.append(sum(seen) / len(seen))
        return number_of(levels)


def unfiltered(data, row, step):
    """The rows of PNG scan lines."""
    rows, above = [], bytearray(row - 1)
    for at in range(0, len(data) - row + 1, row):
        kind, line = data[at], bytearray(data[at + 1:at + row])
        if kind == 1:
            for x in range(step, len(line)):
                line[x] = (line[x] + line[x - step]) & 255
        elif kind == 2:
            line = bytearray((a + b) & 255 for a, b in zip(line, above))
        elif kind in (3, 4):
            for x, value in enumerate(line):
                left, up, corner = (line[x - step], above[x], above[x - step]) if x >= step else (0, above[x], 0)
                guess = (left + up) // 2 if kind == 3 else paeth(left, up, corner)
                line[x] = (value + guess) & 255
        rows.append(line)
        above = line
    return rows


def paeth(left, up, corner):
    near = left + up - corner
    return min((abs(near - left), 0, left), (abs(near - up), 1, up), (abs(near - corner), 2, corner))[2]
