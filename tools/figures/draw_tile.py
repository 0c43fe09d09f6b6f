"""Draws a data set of a coarse texture for `winspect eval`: terrazzo tiles, good ones and ones with a small fault.

    tools/figures/draw_tile.py FOLDER [--seed N]     needs numpy and Pillow

Each picture has 320 x 320 pixels: stone chips of four colours in cement, new in every picture, so that no place is like the same
place of another tile. Good: 24 in train/good, 40 in test/good. Bad, 12 of each in test: a crack, a scratch, a stain, a broken
corner, a patch that was ground away, a strip of glue; the mask marks what was changed.
"""
import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

import draw_zipper

SIDE, CHIPS = 320, 420
FINE = 2  # drawn at twice the size, then shrunk
STONES = ((206, 198, 186), (96, 92, 90), (158, 112, 84), (132, 140, 146))
FAULTS = ("crack", "scratch", "stain", "corner", "ground", "glue")


def terrazzo(random):
    """Chips of stone in cement, each a polygon of its own shape, size and shade."""
    size = FINE * SIDE
    grain = random.normal(0, 6, (size, size, 1))
    cement = np.clip(np.array([174, 170, 162]) + random.normal(0, 2, 3) + grain, 0, 255)
    picture = Image.fromarray(cement.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(CHIPS):
        x, y = random.uniform(0, size, 2)
        radius = FINE * random.gamma(4.0, 1.4)
        corners = np.sort(random.uniform(0, 2 * np.pi, random.integers(4, 8)))
        reach = radius * random.uniform(0.6, 1.25, len(corners))
        shade = random.normal(1, 0.07)
        stone = tuple(int(min(255, shade * part)) for part in STONES[random.choice(4, p=(0.4, 0.25, 0.15, 0.2))])
        outline = list(zip(x + reach * np.cos(corners), y + reach * np.sin(corners)))
        draw.polygon(outline, fill=stone)
    return picture


def walk(random, start, steps, step, bend):
    """A line that bends a little at each of its corners."""
    points, turn = [start], random.uniform(0, 2 * np.pi)
    for _ in range(steps):
        turn += random.normal(0, bend)
        points.append((points[-1][0] + step * np.cos(turn), points[-1][1] + step * np.sin(turn)))
    return points


def damaged(picture, random, fault):
    """A picture with the fault, and its mask."""
    size = FINE * SIDE
    mask = Image.new("L", picture.size)
    draws = (ImageDraw.Draw(picture), ImageDraw.Draw(mask))
    middle = tuple(random.uniform(0.2, 0.8, 2) * size)
    if fault in ("crack", "scratch"):
        is_crack = fault == "crack"
        line = walk(random, middle, 9, 9 * FINE, 0.5) if is_crack else walk(random, middle, 5, 13 * FINE, 0.05)
        draws[0].line(line, fill=(58, 54, 52) if is_crack else (226, 224, 220), width=FINE if is_crack else 2)
        draws[1].line(line, fill=255, width=5 * FINE)
    elif fault == "stain":
        w, h = random.uniform(9, 18, 2) * FINE
        box = (middle[0] - w, middle[1] - h, middle[0] + w, middle[1] + h)
        soft = Image.new("L", picture.size)
        ImageDraw.Draw(soft).ellipse(box, fill=80)
        picture.paste((92, 70, 40), mask=soft.filter(ImageFilter.GaussianBlur(4 * FINE)))
        draws[1].ellipse(box, fill=255)
    elif fault == "corner":
        at, along, down = random.integers(4), *(random.uniform(10, 22, 2) * FINE)
        x, y = size * (at % 2), size * (at // 2)
        bite = [(x, y), (x + along * (1 - 2 * (at % 2)), y), (x, y + down * (1 - 2 * (at // 2)))]
        for draw, fill in zip(draws, ((30, 30, 32), 255)):
            draw.polygon(bite, fill=fill)
    elif fault == "ground":
        side = random.uniform(12, 20) * FINE
        box = tuple(int(part) for part in (middle[0] - side, middle[1] - side, middle[0] + side, middle[1] + side))
        soft = Image.new("L", picture.size)
        ImageDraw.Draw(soft).ellipse(box, fill=255)
        picture.paste(picture.filter(ImageFilter.GaussianBlur(5 * FINE)), mask=soft)
        draws[1].ellipse(box, fill=255)
    elif fault == "glue":
        line = walk(random, middle, 1, 34 * FINE, 0)
        strip = Image.new("L", picture.size)
        ImageDraw.Draw(strip).line(line, fill=90, width=9 * FINE)
        picture.paste((236, 232, 214), mask=strip)
        draws[1].line(line, fill=255, width=9 * FINE)
    return picture, mask


def drawn(random, fault=None):
    """A picture and the mask of its fault."""
    picture, mask = damaged(terrazzo(random), random, fault)
    small = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    mask = np.array(mask.resize((SIDE, SIDE), Image.Resampling.BOX))
    fall = 1 + random.normal(0, 0.03) * np.linspace(-1, 1, SIDE)[:, None, None]
    light = (1 + random.normal(0, 0.04)) * fall
    noisy = np.array(small) * light + random.normal(0, 3, (SIDE, SIDE, 3))
    seen = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    return seen, Image.fromarray(np.where(mask > 127, 255, 0).astype(np.uint8))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    draw_zipper.write(asked.folder, asked.seed, drawn, FAULTS)


if __name__ == "__main__":
    main()
