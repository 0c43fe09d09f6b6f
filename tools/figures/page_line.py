"""What the lines of page_load.py and page_viewers.py share: drawn zippers, good ones and parts of which one in ten has a fault, and
the end of the line's file."""

import numpy as np
from PIL import Image

import draw_zipper

ENDS = """[mqtt]
port = {port}
heatmaps = "none"
[page]
listen = "127.0.0.1:{page}"
[evidence]
folder = "evidence"
"""


def zippers(folder, parts, size=None):
    """Draws 8 good zippers and so many parts, lying on their side, as folder/good and folder/parts; smaller ones of that size."""
    source = np.random.default_rng(7)
    for kind, count in (("good", 8), ("parts", parts)):
        (folder / kind).mkdir()
        for number in range(count):
            fault = "oil" if kind == "parts" and number % 10 == 7 else None
            picture, _ = draw_zipper.drawn(source, fault)
            picture = picture.resize(size) if size else picture
            picture.transpose(Image.Transpose.ROTATE_90).save(folder / kind / f"{number:03}.png")
