"""Draws an elongated data set for `winspect eval`: zippers of 1 : 2.5, good ones and ones with a small fault.

    tools/figures/draw_zipper.py FOLDER [--seed N] [--good N]     needs numpy and Pillow

Each picture has 240 x 600 pixels: two tapes of twill and a chain of 46 teeth, new in light, place, colour, weave and noise.
Good: 24 in train/good, 40 in test/good. Bad, 12 of each in test: a tooth that is missing, bent or short, a slit in the tape,
a loose thread, a spot of oil; the mask marks what was changed. `--good N` draws N more good ones into more/good; the
others stay the same.
"""
import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT, TEETH = 240, 600, 46
FINE = 2  # drawn at twice the size, then shrunk
FAULTS = ("missing", "bent", "short", "slit", "thread", "oil")


def weave(random, colour):
    """Twill: diagonal threads, each a little different in brightness."""
    rows, columns = np.mgrid[0 : FINE * HEIGHT, 0 : FINE * WIDTH]
    phase = rows + 2 * columns + random.integers(0, 12)
    threads = random.normal(0, 5, 4096)[(phase // 12) % 4096]
    ridges = 9 * np.sin(2 * np.pi * phase / 12)
    across = 5 * np.sin(2 * np.pi * (rows - columns) / 9)
    return np.clip(colour + (threads + ridges + across)[..., None], 0, 255).astype(np.uint8)


def tooth(draw, at, side, middle, length, tilt, shade):
    """A metal tooth at height `at` that reaches over the middle from its side (-1 left, 1 right)."""
    inner = middle - side * 7 * FINE
    outer = inner + side * length * FINE
    half = 3.6 * FINE
    lean = tilt * FINE
    body = [(outer, at - half), (inner, at - half + lean), (inner, at + half + lean), (outer, at + half)]
    draw.polygon(body, fill=tuple(int(shade * part) for part in (1.0, 0.93, 0.7)))
    draw.line([body[0], body[1]], fill=tuple(int(min(255, 1.25 * shade * part)) for part in (1, 0.96, 0.8)), width=FINE)
    draw.line([body[3], body[2]], fill=tuple(int(0.5 * shade * part) for part in (1, 0.9, 0.7)), width=FINE)


def chain(picture, random, middle, first, fault):
    """The teeth, and a mask of the one that is wrong."""
    draw, mask = ImageDraw.Draw(picture), Image.new("L", picture.size)
    wrong = random.integers(4, TEETH - 4)
    step = FINE * HEIGHT / TEETH
    for number in range(TEETH):
        at, side = first + number * step, 1 if number % 2 else -1
        length, tilt = 24 + random.normal(0, 0.5), random.normal(0, 0.35)
        shade = 178 + random.normal(0, 8)
        is_wrong = number == wrong and fault in ("missing", "bent", "short")
        if is_wrong:
            edges = sorted((middle - side * 8 * FINE, middle + side * 18 * FINE))
            box = (edges[0], at - 5 * FINE, edges[1], at + 5 * FINE)
            ImageDraw.Draw(mask).rectangle(box, fill=255)
            tilt += 4.5 * random.choice((-1, 1)) if fault == "bent" else 0
            length -= 11 if fault == "short" else 0
        if not (is_wrong and fault == "missing"):
            inset = side * 11 * FINE if is_wrong and fault == "short" else 0
            tooth(draw, at, side, middle + inset, length, tilt, shade)
    return mask


def surface(picture, random, middle, fault):
    """A fault of the tape, and its mask."""
    mask = Image.new("L", picture.size)
    draws = (ImageDraw.Draw(picture), ImageDraw.Draw(mask))
    side = random.choice((-1, 1))
    x = middle + side * random.integers(45, 85) * FINE
    y = random.integers(60, HEIGHT - 60) * FINE
    if fault == "slit":
        ends = [(x, y), (x + random.integers(-4, 5) * FINE, y + random.integers(16, 30) * FINE)]
        draws[0].line(ends, fill=(24, 22, 22), width=2 * FINE)
        draws[1].line(ends, fill=255, width=6 * FINE)
    elif fault == "thread":
        turns = [random.integers(-7, 8) for _ in range(6)]
        points = [(x + turn * FINE, y + 7 * FINE * i) for i, turn in enumerate(turns)]
        draws[0].line(points, fill=(205, 195, 180), width=FINE, joint="curve")
        draws[1].line(points, fill=255, width=5 * FINE, joint="curve")
    elif fault == "oil":
        w, h = (random.integers(5, 10) * FINE for _ in range(2))
        spot = Image.new("L", picture.size)
        ImageDraw.Draw(spot).ellipse((x - w, y - h, x + w, y + h), fill=105)
        picture.paste((38, 34, 30), mask=spot.filter(ImageFilter.GaussianBlur(2 * FINE)))
        draws[1].ellipse((x - w, y - h, x + w, y + h), fill=255)
    return mask


def drawn(random, fault=None):
    """A picture and the mask of its fault."""
    colour = np.array([92, 74, 58]) + random.normal(0, 3, 3)
    picture = Image.fromarray(weave(random, colour))
    middle = FINE * (WIDTH / 2 + random.normal(0, 3))
    first = FINE * random.uniform(0, HEIGHT / TEETH)
    seam = ImageDraw.Draw(picture)
    seam.rectangle((middle - 9 * FINE, 0, middle + 9 * FINE, FINE * HEIGHT), fill=(44, 36, 30))
    for side in (-1, 1):
        for stitch in range(int(first) % 20, FINE * HEIGHT, 20):
            x = middle + side * 34 * FINE
            seam.line([(x, stitch), (x + FINE, stitch + 11)], fill=(128, 106, 84), width=FINE)
    masks = [chain(picture, random, middle, first, fault), surface(picture, random, middle, fault)]
    mask = np.maximum(*(np.array(mask) for mask in masks))
    turned = {"angle": random.normal(0, 0.4), "resample": Image.Resampling.BICUBIC, "fillcolor": (70, 58, 46)}
    small = picture.rotate(**turned).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    mask = Image.fromarray(mask).rotate(turned["angle"]).resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    fall = 1 + random.normal(0, 0.04) * np.linspace(-1, 1, HEIGHT)[:, None, None]
    light = (1 + random.normal(0, 0.05)) * fall
    noisy = np.array(small) * light + random.normal(0, 3, (HEIGHT, WIDTH, 3))
    seen = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    return seen, Image.fromarray(np.where(np.array(mask) > 127, 255, 0).astype(np.uint8))


def write(to, seed, drawn, faults, more=0):
    """Writes a set of docs/evaluate.md: `drawn(random, fault)` gives a picture and its mask; `more` good ones on top."""
    random = np.random.default_rng(seed)
    for folder, fault, count in [
        ("train/good", None, 24),
        ("test/good", None, 40),
        *((f"test/{fault}", fault, 12) for fault in faults),
        *([("more/good", None, more)] if more else []),
    ]:
        (to / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture, mask = drawn(random, fault)
            picture.save(to / folder / f"{number:02}.png")
            if fault:
                truth = to / "ground_truth" / fault
                truth.mkdir(parents=True, exist_ok=True)
                mask.save(truth / f"{number:02}_mask.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--good", type=int, default=0)
    asked = parser.parse_args()
    write(asked.folder, asked.seed, drawn, FAULTS, asked.good)


if __name__ == "__main__":
    main()
