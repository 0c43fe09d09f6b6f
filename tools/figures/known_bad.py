"""Does a known bad part stay caught, and at what price? Over random draws of references, and of missed bad parts that are taught.

    tools/figures/measure known_bad MODEL DATASET [--fit keep] [--more FOLDER] [--draws 20]

DATASET has the layout of docs/evaluate.md; the good pictures of train/good, test/good and --more are shuffled in each draw: 8 are
references, 19 calibration pictures, the rest parts to come. Two thresholds: "auto" by the references, and a false-reject rate of 5 %
by the calibration pictures. Of the bad pictures that pass, 1, 3 or 10 are taught. Three ways: nothing is done with them; the threshold
is lowered to their scores where at most a quarter of the good parts by which it was found would fail (src/recipe/known_bad.rs, where
there are no looks); or their looks are known (src/winclip/looks.rs), and the threshold is found anew.

Each taught picture is also shown again: in a light of up to 2 % more or less, with new noise, in the same place and moved by up to 3
pixels. For one draw the image AUROC is held against what `winspect eval --bad` says of the same pictures.
"""
import argparse
import json
import pathlib
import tempfile

import inspected
import numpy as np
from inspected import unit
from PIL import Image

REFERENCES, CALIBRATION, TAUGHT = 8, 19, (1, 3, 10)
# src/winclip/looks.rs
SHARE, LEAST_DISTANCE = 0.1, 1e-4
RATE, FACTOR, COST_MAX = 0.05, 1.1, 0.25


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("dataset", type=pathlib.Path)
    parser.add_argument("--more", type=pathlib.Path)
    parser.add_argument("--fit", default="squash")
    parser.add_argument("--block", type=int, default=9)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--share", type=float, default=SHARE)
    return parser.parse_args()


def words(asked):
    """How is judged, as flags."""
    size = [] if asked.fit == "keep" else ["--input-px", 224]
    return ["--block", asked.block, "--maps", "patch", "--fit", asked.fit, *size]


def cells(asked, files):
    """Unit patches of each picture: [picture, cell, D]."""
    tokens = inspected.inspect(asked.model, files, files[:1], *words(asked))[f"block{asked.block}"]
    return np.array([unit(token[1:]) for token in tokens], dtype=np.float32)


def again(files, folder, random):
    """Each picture taken again, in the same place and moved."""
    taken = []
    for number, file in enumerate(files):
        seen = np.array(Image.open(file).convert("RGB")).astype(float)
        for moved in (0, 3):
            down, right = random.integers(-moved, moved + 1, 2) if moved else (0, 0)
            rows, columns = seen.shape[:2]
            wide = np.pad(seen, ((3, 3), (3, 3), (0, 0)), mode="edge")
            shown = wide[3 + down : 3 + down + rows, 3 + right : 3 + right + columns]
            shown = shown * random.uniform(0.98, 1.02) + random.normal(0, 2, shown.shape)
            taken.append(pathlib.Path(folder) / f"{number}-{moved}.png")
            Image.fromarray(np.clip(shown, 0, 255).astype(np.uint8)).save(taken[-1])
    return taken


def apart(queries, rows):
    """(1 - cos) / 2 of each cell and the nearest of some rows: [picture, cell]."""
    alike = (queries.reshape(-1, queries.shape[2]) @ rows.T).max(1)
    return np.clip((1 - alike) / 2, 0, 1).reshape(queries.shape[:2])


def score(values):
    """The mean of the highest 1 % of a map's cells."""
    count = max(1, values.shape[1] // 100)
    return np.sort(values, axis=1)[:, -count:].mean(1)


def raised(values, bad, share):
    """The rule of src/winclip/looks.rs."""
    reach = share * values
    alike = np.where(bad < reach, 1 - bad / np.maximum(reach, 1e-30), 0)
    return values + (1 - values) * alike


def auto(good):
    good = np.sort(good)
    quartile = lambda part: good[part * (len(good) - 1) // 4]
    return good[good <= quartile(3) + 1.5 * (quartile(3) - quartile(1))][-1] * FACTOR


def by_rate(good):
    place = int(RATE * (len(good) + 1) + 1e-9)
    return np.nextafter(np.sort(good)[-place], np.float32(np.inf))


def lowered(limit, taught, good):
    worth = [value for value in taught if value < limit and (good >= value).mean() <= COST_MAX]
    return min(worth, default=limit)


class Draw:
    """One draw of references: distances of all pictures to them."""

    def __init__(self, asked, patches, taken, order):
        self.asked, self.patches, self.taken = asked, patches, taken
        self.references, self.calibration, self.held = np.split(order, [REFERENCES, REFERENCES + CALIBRATION])
        gallery = patches[self.references]
        self.plain = self.distances(patches, gallery)
        self.of_taken = self.distances(taken, gallery)
        turns = [self.distances(gallery[[one]], np.delete(gallery, one, 0))[0] for one in range(REFERENCES)]
        self.turns = np.array(turns)

    @staticmethod
    def distances(pictures, gallery):
        rows = gallery.reshape(-1, gallery.shape[2])
        return np.concatenate([apart(pictures[at : at + 32], rows) for at in range(0, len(pictures), 32)])

    def looks(self, taught):
        """The patches of the highest cells of each taught picture."""
        count = max(1, self.plain.shape[1] // 100)
        found = []
        for one in taught:
            highest = np.argsort(-self.plain[one], kind="stable")[:count]
            found.extend(self.patches[one][cell] for cell in highest if self.plain[one][cell] >= LEAST_DISTANCE)
        return np.array(found)

    def known(self, taught):
        """Scores of all pictures, of the references in turns, and of the pictures taken again, with those looks."""
        looks, share = self.looks(taught), self.asked.share
        with_looks = lambda values, patches: score(raised(values, apart(patches, looks), share))
        return (
            with_looks(self.plain, self.patches),
            with_looks(self.turns, self.patches[self.references]),
            with_looks(self.of_taken, self.taken),
        )


def measure(draw, random, count_good, kind, found):
    """Adds the figures of one draw and one kind of threshold."""
    every = score(draw.plain)
    limit_of = {
        "auto": lambda scores, turns: auto(turns),
        "rate": lambda scores, turns: by_rate(scores[draw.calibration]),
    }[kind]
    turns = score(draw.turns)
    limit = limit_of(every, turns)
    bad = np.arange(count_good, len(every))
    missed = random.permutation(bad[every[bad] < limit])
    found.setdefault((kind, 0), []).append((len(missed), (every[draw.held] >= limit).mean()))
    of_taken = score(draw.of_taken).reshape(-1, 2)
    for count in TAUGHT:
        if count >= len(missed):
            continue
        taught, other = np.split(missed, [count])
        rest = np.setdiff1d(bad, taught)
        good = turns if kind == "auto" else every[draw.calibration]
        low = lowered(limit, every[taught], good)
        known, known_turns, known_taken = draw.known(taught)
        new = limit_of(known, known_turns)
        ways = [
            (every, limit, of_taken),
            (every, low, of_taken),
            (known, new, known_taken.reshape(-1, 2)),
        ]
        figures = []
        for scores, at, shown in ways:
            figures += [
                (scores[taught] >= at).mean(),
                *(shown[taught - count_good] >= at).mean(0),
                (scores[other] >= at).mean(),
                (scores[draw.held] >= at).mean(),
                inspected.auroc(scores[draw.held], scores[rest]),
            ]
        found.setdefault((kind, count), []).append(figures)


def check(asked, draw, files, count_good):
    """Holds the AUROC of one draw against `winspect eval --bad`."""
    taught = np.argsort(score(draw.plain)[count_good:])[:3] + count_good
    rest = np.setdiff1d(np.arange(count_good, len(files)), taught)
    with tempfile.TemporaryDirectory() as work:
        for folder, numbers in [("train/good", draw.references), ("test/good", draw.held), ("test/bad", rest)]:
            (pathlib.Path(work) / folder).mkdir(parents=True)
            for number in numbers:
                (pathlib.Path(work) / folder / f"{number}{files[number].suffix}").symlink_to(files[number])
        bad = [word for number in taught for word in ("--bad", files[number])]
        how = ["--backend", "onnx", "--model", asked.model, *words(asked), "--shots", REFERENCES, "--seeds", 1]
        theirs = json.loads(inspected.run("eval", work, *how, *bad).splitlines()[0])["image_AUROC"]["mean"]
    known = draw.known(taught)[0]
    ours = inspected.auroc(known[draw.held], known[rest])
    print(f"image AUROC of one draw with 3 known bad parts: {ours:.6f}, winspect eval --bad {theirs:.6f}", flush=True)
    if abs(ours - theirs) > 2e-4 and asked.share == SHARE:
        raise SystemExit("they are not the same")


def main():
    asked = arguments()
    references, tested, masks = inspected.data_set(asked.dataset)
    good = references + [file for file, mask in zip(tested, masks) if mask is None]
    good += inspected.pictures(asked.more) if asked.more else []
    bad = [file for file, mask in zip(tested, masks) if mask is not None]
    random = np.random.default_rng(1)
    patches = cells(asked, good + bad)
    with tempfile.TemporaryDirectory() as folder:
        taken = cells(asked, again(bad, folder, random))
    found = {}
    for number in range(asked.draws):
        draw = Draw(asked, patches, taken, random.permutation(len(good)))
        if number == 0:
            check(asked, draw, good + bad, len(good))
        for kind in ("auto", "rate"):
            measure(draw, random, len(good), kind, found)
    for (kind, count), rows in sorted(found.items()):
        rows = np.array(rows, dtype=float)
        mean = rows.mean(0)
        if count == 0:
            print(f"{kind}: {mean[0]:.1f} of {len(bad)} bad ones pass, {100 * mean[1]:.1f} % of the good ones fail")
            continue
        for way, at in (("before", 0), ("lowered", 6), ("looks", 12)):
            own, same, moved, other, rejected, area = mean[at : at + 6]
            difference = rows[:, at + 4] - rows[:, 4]
            error = difference.std(ddof=1) / len(rows) ** 0.5 if len(rows) > 1 else float("nan")
            print(
                f"  {kind}, {count} taught, {len(rows)} draws, {way}: caught {100 * own:.0f} %, again {100 * same:.0f} %, moved {100 * moved:.0f} %, "
                f"others {100 * other:.1f} %; good ones fail {100 * rejected:.2f} % "
                f"({100 * difference.mean():+.2f} +- {100 * error:.2f}); AUROC {area:.4f}"
            )


if __name__ == "__main__":
    main()
