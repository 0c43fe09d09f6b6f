"""How good is the anomaly map as a segmentation of the defect? One map, enlarged to the picture's pixels in several ways.

    tools/figures/measure segmentation MODEL DATA_SET [--fit keep] [--example FILE.png]

All of train/good are references. The ways: `cells`, each pixel has its cell's value; `bilinear`, what winspect shows and
measures; `guided`, the guided filter (He, Sun and Tang, TPAMI 2013) on the bilinear map by the grey photo, radius one
cell; `smoothed`, the same without a look at the photo; `bilateral`, joint bilateral upsampling (Kopf et al., SIGGRAPH
2007) from the 5 x 5 nearest cells, by the photo's colours. Their free numbers are in the names. `true cells` is no map but
the true mask at the map's cells, from the share of each cell that is defect: what any map of so few cells can reach.

Measures as in docs/evaluate.md, over the pixels of all pictures: F1 at its best threshold, which the masks choose;
AUPRO up to 30 % of the good pixels; AUROC.
"""
import argparse
import pathlib

import inspected
import numpy as np
from PIL import Image
from scipy import ndimage

LIMIT = 0.3  # of the false positive rate, for AUPRO


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--fit", default="squash")
    parser.add_argument("--block", type=int, default=9)
    parser.add_argument("--example", type=pathlib.Path, help="draws the ways of the first bad picture side by side")
    return parser.parse_args()


def centres(pixels, cells):
    """The place of each pixel's middle among the cells' middles: 0 is the middle of the first cell."""
    return (np.arange(pixels) + 0.5) * cells / pixels - 0.5


def nearest(grid, shape):
    rows, columns = (np.rint(centres(n, cells)).astype(int).clip(0, cells - 1) for n, cells in zip(shape, grid.shape))
    return grid[rows[:, None], columns]


def bilinear(grid, shape):
    for axis, (pixels, cells) in enumerate(zip(shape, grid.shape)):
        place = centres(pixels, cells).clip(0, cells - 1)
        low = np.minimum(place.astype(int), cells - 2)
        part = np.expand_dims(place - low, 1 - axis)
        grid = grid.take(low, axis) * (1 - part) + grid.take(low + 1, axis) * part
    return grid


def guided(grid, photo, epsilon):
    grey, values = photo.mean(2), bilinear(grid, photo.shape[:2])
    size = [2 * round(pixels / cells) + 1 for pixels, cells in zip(photo.shape, grid.shape)]
    mean = lambda plane: ndimage.uniform_filter(plane, size, mode="nearest")
    slope = (mean(grey * values) - mean(grey) * mean(values)) / (mean(grey**2) - mean(grey) ** 2 + epsilon)
    offset = mean(values) - slope * mean(grey)
    return mean(slope) * grey + mean(offset)


def bilateral(grid, photo, sigma):
    height, width = photo.shape[:2]
    small = Image.fromarray((255 * photo).astype(np.uint8)).resize(grid.shape[::-1], Image.Resampling.BOX)
    colours = np.asarray(small) / 255
    places = [centres(pixels, cells) for pixels, cells in zip((height, width), grid.shape)]
    total, weights = np.zeros((height, width)), np.full((height, width), 1e-12)
    for down in range(-2, 3):
        for right in range(-2, 3):
            at = [np.rint(place).astype(int) + step for place, step in zip(places, (down, right))]
            away = (places[0] - at[0])[:, None] ** 2 + (places[1] - at[1])[None] ** 2
            rows, columns = (index.clip(0, cells - 1) for index, cells in zip(at, grid.shape))
            unlike = ((photo - colours[rows[:, None], columns]) ** 2).sum(2)
            weight = np.exp(-away / (2 * 0.75**2) - unlike / (2 * sigma**2))
            total += weight * grid[rows[:, None], columns]
            weights += weight
    return total / weights


def true_cells(mask, shape):
    reduced = Image.fromarray(mask.astype(np.float32)).resize(shape[::-1], Image.Resampling.BOX)
    return nearest(np.asarray(reduced), mask.shape)


WAYS = {
    "cells": lambda grid, photo, mask: nearest(grid, photo.shape[:2]),
    "bilinear": lambda grid, photo, mask: bilinear(grid, photo.shape[:2]),
    "smoothed": lambda grid, photo, mask: guided(grid, photo, 1e9),
    "guided 0.01": lambda grid, photo, mask: guided(grid, photo, 0.01),
    "guided 0.001": lambda grid, photo, mask: guided(grid, photo, 0.001),
    "guided 0.0001": lambda grid, photo, mask: guided(grid, photo, 0.0001),
    "bilateral 0.2": lambda grid, photo, mask: bilateral(grid, photo, 0.2),
    "bilateral 0.1": lambda grid, photo, mask: bilateral(grid, photo, 0.1),
    "true cells": lambda grid, photo, mask: true_cells(mask, grid.shape),
}


def measures(values, labels, region_shares):
    """F1-max, AUPRO and AUROC of all pixels."""
    order = np.argsort(-values)
    values, labels, region_shares = values[order], labels[order], region_shares[order]
    ends = np.append(np.nonzero(np.diff(values))[0], len(values) - 1)
    found, good = np.cumsum(labels)[ends], np.cumsum(~labels)[ends]
    f1 = (2 * found / (found + good + labels.sum())).max()
    rate, overlap = (np.append(0, curve) for curve in (good / good[-1], np.cumsum(region_shares)[ends]))
    recall = np.append(0, found / found[-1])
    area = lambda x, y: ((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum()
    inside = rate < LIMIT
    cut = np.append(rate[inside], LIMIT), np.append(overlap[inside], np.interp(LIMIT, rate, overlap))
    return f1, area(*cut) / LIMIT, area(rate, recall)


def draw(file, photo, mask, maps):
    """The photo, its mask, and each way's map from black to white."""
    shown = [photo, np.repeat(mask[..., None], 3, 2)]
    low, high = maps["bilinear"].min(), maps["bilinear"].max()
    for name in maps:
        plane = maps[name] if name == "true cells" else (maps[name] - low) / (high - low)
        shown.append(np.repeat(plane[..., None], 3, 2))
    Image.fromarray((255 * np.concatenate(shown, 1)).clip(0, 255).astype(np.uint8)).save(file)


def main():
    asked = arguments()
    references, files, masks = inspected.data_set(asked.data)
    size = [] if asked.fit == "keep" else ["--input-px", 224]
    words = ["--block", asked.block, "--maps", "patch", "--fit", asked.fit, *size]
    found = inspected.inspect(asked.model, files, references, *words)
    grids = found[f"paper.few_shot{len(references)}.grid"]
    photos = [np.asarray(Image.open(file).convert("RGB")) / 255 for file in files]
    truths = [np.asarray(Image.open(m)) > 0 if m else np.zeros(p.shape[:2], bool) for m, p in zip(masks, photos)]
    regions = [ndimage.label(truth, np.ones((3, 3))) for truth in truths]
    share = 1 / sum(count for _, count in regions)
    shares = []
    for labelled, _ in regions:
        sizes = np.bincount(labelled.ravel())
        shares.append(np.where(labelled > 0, share / sizes[labelled], 0).ravel())
    labels, shares = np.concatenate([truth.ravel() for truth in truths]), np.concatenate(shares)
    cells = " x ".join(str(cells) for cells in grids[0].shape[::-1])
    print(f"{len(references)} references, {len(files)} pictures, {cells} cells, {100 * labels.mean():.2f} % of pixels defect")
    example = next(number for number, mask in enumerate(masks) if mask)
    maps = {}
    for name, way in WAYS.items():
        enlarged = [way(np.float64(grid), photo, truth) for grid, photo, truth in zip(grids, photos, truths)]
        maps[name] = enlarged[example]
        values = np.concatenate([plane.ravel().astype(np.float32) for plane in enlarged])
        f1, aupro, roc = measures(values, labels, shares)
        print(f"{name:14} F1-max {f1:.3f}  AUPRO {aupro:.3f}  AUROC {roc:.3f}", flush=True)
    if asked.example:
        draw(asked.example, photos[example], truths[example], maps)


if __name__ == "__main__":
    main()
