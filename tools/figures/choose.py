"""Does choosing block and top share by a few bad pictures give a better image AUROC on other pictures?

    tools/figures/measure choose MODEL DATA [--fit keep] [--input-px 224] [--draws 60] [--default-block 9]

DATA is a set in the layout of docs/evaluate.md. Each draw takes 8 or 16 references and 3, 5 or 10 bad pictures at random
(`one kind`: 5 of one folder of test/), chooses by them, and is measured on test/good and all other bad pictures. Four ways:
`teach` is the rule of src/recipe/choice/rule.rs; `real` takes the combination with the largest separation of the bad pictures,
`drawn` that of drawn defects, and `fixed` is the best single combination in hindsight. Combinations are blocks from a third of the
depth to the one before the last, and top shares of 0.4, 1 and 2 %.

All blocks come out of one run of the model's trunk.onnx on the pixels that `winspect inspect` made; one block is held against
what `winspect inspect` itself says. The drawn defects are of the kinds of src/recipe/choice/pasted.rs, not the same ones.
"""
import argparse
import pathlib
import tempfile

import inspected
import numpy as np
import onnx
import onnxruntime
from inspected import auroc, unit
from onnx import numpy_helper
from PIL import Image
from scipy.stats import t as student
from shared_windows import cubic

SHARES = (0.004, 0.01, 0.02)
KINDS = ("piece", "strip", "spot", "piece", "strip", "piece", "strip", "spot")
GAIN, DRAWN_GAIN, HIGHEST = 0.1, 0.15, 2.576


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--fit", default="squash")
    parser.add_argument("--input-px", type=int, default=224)
    parser.add_argument("--draws", type=int, default=60)
    parser.add_argument("--default-block", type=int, default=9)
    return parser.parse_args()


def with_defect(file, kind, random):
    """A picture with a drawn defect."""
    seen = np.array(Image.open(file).convert("RGB")).astype(np.float32)
    height, width = seen.shape[:2]
    if kind == "spot":
        radii = random.uniform(0.02, 0.06) * min(width, height) * random.uniform(0.7, 1.4, 2)
        x, y = random.uniform(0.05, 0.95, 2) * (width, height)
        rows, columns = np.mgrid[:height, :width]
        far = ((columns - x) / radii[0]) ** 2 + ((rows - y) / radii[1]) ** 2
        seen += random.choice((-1, 1)) * random.uniform(25, 60) * np.clip(2 * (1 - far), 0, 1)[..., None]
    else:
        if kind == "piece":
            area = random.uniform(0.01, 0.06) * width * height
            aspect = np.exp(random.uniform(np.log(0.3), np.log(3.3)))
            w, h = int((area * aspect) ** 0.5), int((area / aspect) ** 0.5)
        else:
            w = int(random.uniform(0.01, 0.04) * min(width, height) + 2)
            h = int(random.uniform(0.05, 0.15) * max(width, height) + 2)
            w, h = (w, h) if random.integers(2) else (h, w)
        w, h = (max(1, min(side, most // 2)) for side, most in ((w, width), (h, height)))
        (x, y), (to_x, to_y) = ((random.integers(0, width - w + 1), random.integers(0, height - h + 1)) for _ in range(2))
        piece = seen[y : y + h, x : x + w].copy() * random.uniform(0.85, 1.15, 3).astype(np.float32)
        seen[to_y : to_y + h, to_x : to_x + w] = piece
    return Image.fromarray(np.clip(seen, 0, 255).astype(np.uint8))


def tokens(asked, files):
    """{block: [picture, cell, width] of unit length}."""
    size = [] if asked.fit == "keep" else ["--input-px", asked.input_px]
    words = ["--block", 1, "--maps", "patch", "--fit", asked.fit, *size]
    pixels = inspected.inspect(asked.model, files, files[:1], *words)[asked.fit]
    trunk = onnx.load(asked.model / "trunk.onnx")
    positions = next(tensor for tensor in trunk.graph.initializer if tensor.name == "positions")
    patch = next(tensor for tensor in trunk.graph.initializer if tensor.name == "convolution").dims[-1]
    native = numpy_helper.to_array(positions)
    side = round(native.shape[1] ** 0.5)
    rows, columns = (length // patch for length in pixels[0].shape[1:])
    grid = native.reshape(side, side, -1)
    resized = np.einsum("ay,bx,yxd->abd", cubic(rows, side), cubic(columns, side), grid).reshape(1, rows * columns, -1)
    positions.CopyFrom(numpy_helper.from_array(resized.astype(np.float32), "positions"))
    # An oblong input has two sides; the model's folder names one.
    for place, name in ((2, "H"), (3, "W")):
        trunk.graph.input[0].type.tensor_type.shape.dim[place].dim_param = name
    session = onnxruntime.InferenceSession(trunk.SerializeToString())
    depth = sum(output.name.startswith("block") for output in trunk.graph.output)
    blocks = range(-(-depth // 3), depth)
    outputs = [session.run([f"block{block}" for block in blocks], {"pixels": one[None]}) for one in pixels]
    checked = inspected.inspect(asked.model, files[:1], files[:1], "--block", blocks[0], *words[2:])[f"block{blocks[0]}"][0]
    off = np.abs(outputs[0][0][0] - checked).max()
    if off > 1e-3:
        raise SystemExit(f"block {blocks[0]} is {off} off what winspect inspect says")
    return {block: np.array([unit(one[at][0][1:]) for one in outputs], np.float32) for at, block in enumerate(blocks)}


def distances(cells, references):
    """[picture, reference, cell]: the distance of a cell to the nearest cell of one reference."""
    every = cells[:references].reshape(-1, cells.shape[2]).T.copy()
    return np.array([(1 - (one @ every).reshape(len(one), references, -1).max(2).T) / 2 for one in cells])


def top(maps, share):
    """The mean of the highest share of the cells, at least one."""
    count = max(1, int(maps.shape[-1] * share + 1e-9))
    return np.sort(maps, -1)[..., -count:].mean(-1)


def separation(good, bad):
    good, bad = (np.log(np.maximum(scores, 1e-6)) for scores in (good, bad))
    spread = np.sqrt(np.maximum(good.var(-1) + bad.var(-1), 1e-12))
    return np.clip((bad.mean(-1) - good.mean(-1)) / spread, -HIGHEST, HIGHEST)


def chosen(good, bad, drawn, first):
    """The rule: the place of the combination that is taken; `first` is that of the values of now."""
    n, k = good.shape[1], bad.shape[1]
    all_of = separation(good, bad)
    gain = all_of - all_of[first]
    error = 0
    for count, without in (
        (n, [separation(np.delete(good, one, 1), bad) for one in range(n)]),
        (k, [separation(good, np.delete(bad, one, 1)) for one in range(k)]),
    ):
        gains = np.array(without) - np.array(without)[:, [first]]
        error = error + (count - 1) * gains.var(0)
    seen = separation(good, drawn)
    ranked = np.array([auroc(*pair) for pair in zip(good, bad)])
    wins = (gain > student.ppf(0.8, k - 1) * np.sqrt(error)) & (gain >= GAIN) & (ranked >= ranked[first])
    wins &= seen - seen[first] >= DRAWN_GAIN
    return int(np.where(wins, gain, 0).argmax()) if wins.any() else first


def main():
    asked = arguments()
    train, tested, masks = inspected.data_set(asked.data)
    random = np.random.default_rng(7)
    with tempfile.TemporaryDirectory() as work:
        drawn = []
        for number, file in enumerate(train):
            for at, kind in enumerate(KINDS):
                drawn.append(pathlib.Path(work) / f"{number}-{at}.png")
                with_defect(file, kind, random).save(drawn[-1])
        cells = tokens(asked, train + tested + drawn)
    apart = {block: distances(some, len(train)) for block, some in cells.items()}
    kind_of = np.array(["train"] * len(train) + [file.parent.name for file in tested] + ["drawn"] * len(drawn))
    good_tests = np.flatnonzero(kind_of == "good")
    all_bad = np.flatnonzero(~np.isin(kind_of, ("train", "good", "drawn")))
    first_drawn = len(train) + len(tested)
    combinations = [(block, share) for block in apart for share in SHARES]
    first = combinations.index((asked.default_block, 0.01))
    print(f"{asked.data.name}, {asked.fit}: {asked.draws} draws; image AUROC of other pictures", flush=True)
    print(" good  bad            default  fixed (which)           teach: mean, worst, chosen in   real   drawn", flush=True)
    for count in (8, 16):
        for bad_count, one_kind in ((3, False), (5, False), (5, True), (10, False)):
            random = np.random.default_rng(0)
            rows = []
            for _ in range(asked.draws):
                gallery = random.choice(len(train), count, replace=False)
                pool = all_bad
                if one_kind:
                    pool = all_bad[kind_of[all_bad] == random.choice(sorted(set(kind_of[all_bad])))]
                bad = random.choice(pool, min(bad_count, len(pool) - 1), replace=False)
                rest = np.setdiff1d(all_bad, bad)
                each = 64 // count
                pasted = [(first_drawn + 8 * of + at, place) for place, of in enumerate(gallery) for at in range(each)]
                scores, held = ([], [], []), []
                for block, share in combinations:
                    here = apart[block][:, gallery]
                    known = [np.delete(here[of], place, 0).min(0) for place, of in enumerate(gallery)]
                    marked = [np.delete(here[one], place, 0).min(0) for one, place in pasted]
                    for some, maps in zip(scores, (np.array(known), here[bad].min(1), np.array(marked))):
                        some.append(top(maps, share))
                    later = (top(here[places].min(1), share) for places in (good_tests, rest))
                    held.append(auroc(*later))
                good, bad_scores, marked = (np.array(some) for some in scores)
                took = chosen(good, bad_scores, marked, first)
                real, seen = (int(separation(good, some).argmax()) for some in (bad_scores, marked))
                rows.append((np.array(held), took, real, seen))
            held = np.array([row[0] for row in rows])
            best = held.mean(0).argmax()
            default = held[:, first]
            teach, real, seen = (held[np.arange(len(rows)), [row[at] for row in rows]] for at in (1, 2, 3))
            shown = f"{bad_count} one kind" if one_kind else str(bad_count)
            print(
                f"{count:5}  {shown:13}  {default.mean():.4f}   {held.mean(0)[best]:.4f} {str(combinations[best]):14}  "
                f"{teach.mean():.4f} {100 * (teach - default).min():+.1f} {np.mean([row[1] != first for row in rows]):.2f}"
                f"                   {real.mean():.4f} {seen.mean():.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
