"""Is a false-reject rate kept on real good parts? The share of them that fails, over random splits.

    tools/figures/measure rate_kept MODEL GOOD... [--fit keep] [--splits 200] [--to-come FOLDER]

GOOD are pictures of good parts, or folders of them. Each split shuffles them. Two ways to a threshold (docs/teach.md):
`--references` of them are the gallery, `--calibration` others give the threshold, the rest are parts to come; or
`--turns` of them are the gallery and give the threshold, each compared with the others. With `--to-come` the parts to
come are these pictures instead, always the same: those of another day or batch. The rule is that of
src/recipe/conformal.rs: with n scores, number floor(rate (n + 1)) from the top is the highest that passes.

The first split's thresholds are held against what `winspect threshold` says of the same pictures.
"""
import argparse
import pathlib
import re
import tempfile

import inspected
import numpy as np
from inspected import unit

RATES = (0.05, 0.1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("good", nargs="+")
    parser.add_argument("--to-come", nargs="+", default=[])
    parser.add_argument("--fit", default="squash")
    parser.add_argument("--block", type=int, default=9)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--references", type=int, default=4)
    parser.add_argument("--calibration", type=int, default=19)
    parser.add_argument("--turns", type=int, default=20)
    return parser.parse_args()


def distances(asked, files):
    """[tested, reference, cell]: the distance of a cell to the nearest cell of one reference; 0 to 1."""
    size = [] if asked.fit == "keep" else ["--input-px", 224]
    words = ["--block", asked.block, "--maps", "patch", "--fit", asked.fit, *size]
    tokens = inspected.inspect(asked.model, files, files[:1], *words)[f"block{asked.block}"]
    cells = np.array([unit(token[1:]) for token in tokens])
    every = cells.reshape(-1, cells.shape[2]).T
    alike = [(one @ every).reshape(len(one), *cells.shape[:2]).max(2).T for one in cells]
    return (1 - np.array(alike)) / 2


def scores(apart, tested, references):
    """The mean of the highest 1 % of a map's cells, at least one, as `winspect` scores DINOv2."""
    found = []
    for one in tested:
        cells = np.sort(apart[one, [other for other in references if other != one]].min(0))[::-1]
        found.append(cells[: max(1, len(cells) // 100)].mean())
    return np.array(found)


def threshold(rate, good):
    """The threshold that keeps the rate, None where the scores are too few."""
    place = min(int(rate * (len(good) + 1) + 1e-9), len(good))
    return np.nextafter(np.sort(good)[-place], np.float32(np.inf)) if place else None


def of_winspect(asked, files, references, calibration, rate):
    """The threshold of the command, out of its lines of text."""
    size = "" if asked.fit == "keep" else "input_px = 224"
    listed = lambda numbers: str([str(files[number]) for number in numbers])
    with tempfile.TemporaryDirectory() as work:
        line = pathlib.Path(work) / "line.toml"
        line.write_text(
            f'prefix = "plant"\nstation = "box"\nmodel = "{asked.model.absolute()}"\nbackend = "onnx"\n'
            f'[recipe]\nname = "part"\n'
            f'fit = "{asked.fit}"\nblock = {asked.block}\nmaps = ["patch"]\n{size}\nreferences = {listed(references)}\n'
            f'threshold = 0.5\n[[camera]]\nname = "top"\nkind = "folder"\nlocation = "{work}"\n[mqtt]\nport = 1883\n'
        )
        good = [word for number in calibration for word in ("--good", files[number])]
        said = inspected.run("threshold", line, "--false-reject-rate", rate, *good)
    return float(re.search(r"by rate: threshold = ([0-9.e-]+)", said)[1])


def check(asked, files, references, calibration, rate, limit):
    """Ends the measurement where `winspect threshold` has another threshold than this script."""
    theirs = of_winspect(asked, files, references, calibration, rate)
    if abs(theirs - limit) > 1e-5:
        raise SystemExit(f"winspect threshold says {theirs}, and this script {limit}")
    how = f"{len(calibration)} calibration pictures" if len(calibration) else "references in turns"
    print(f"{how}, {100 * rate:g} %: {limit:.6f}, winspect threshold {theirs:.6f}", flush=True)


def main():
    asked = arguments()
    good = [file for name in asked.good for file in inspected.pictures(name)]
    later = [file for name in asked.to_come for file in inspected.pictures(name)]
    files = good + later
    apart = distances(asked, files)
    random = np.random.default_rng(1)
    failed = {}
    for split in range(asked.splits):
        order = random.permutation(len(good))
        gallery, given = np.split(order[: asked.references + asked.calibration], [asked.references])
        turns = order[: asked.turns]
        ways = [
            (f"{len(given)} calibration pictures, {len(gallery)} references", gallery, given),
            (f"{len(turns)} references in turns", turns, []),
        ]
        for way, references, calibration in ways:
            rest = order[len(references) + len(calibration) :]
            tested = scores(apart, range(len(good), len(files)) if later else rest, references)
            found = scores(apart, calibration if len(calibration) else references, references)
            for rate in RATES:
                limit = threshold(rate, found)
                if limit is None:
                    continue
                failed.setdefault((way, rate, len(tested)), []).append((tested >= limit).mean())
                if split == 0:
                    check(asked, files, references, calibration, rate, limit)
    for (way, rate, tested), rates in failed.items():
        mean, error = np.mean(rates), np.std(rates, ddof=1) / len(rates) ** 0.5
        kept = "kept" if mean <= rate + 2 * error else "NOT kept"
        print(f"{way}, {tested} to come: {100 * rate:g} % asked for, {100 * mean:.2f} +- {100 * error:.2f} % fail: {kept}")


if __name__ == "__main__":
    main()
