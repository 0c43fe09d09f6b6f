"""What locating the part is worth, on drawn zippers that lie on a belt and on photographs of cookies.

    tools/figures/measure locate MODEL COOKIES [--work FOLDER]     COOKIES: a data set of docs/evaluate.md

Each set is judged as it is, turned by up to 30 degrees and moved by up to a tenth of the picture, and both again with
--locate: image AUROC, how far the scores of the same parts differ, what was not found. Then the likeness of pictures
with a part, of an empty belt and of another product; and the time, on pictures of several sizes.
"""
import argparse
import json
import pathlib
import tempfile

import numpy as np
from PIL import Image, ImageDraw

import draw_zipper
import inspected

SIZE, PART = (640, 640), (180, 450)  # the picture, and a zipper in it
AREA = "230,95,180,450"
COOKIE_AREA = "75,115,255,280"  # the cookie of train/good/normal-1.jpg


def belt(random, size):
    """A grey belt with a soft pattern, lit a little unevenly."""
    width, height = size
    small = random.normal(0, 1, (height // 4, width // 4)).astype(np.float32)
    soft = np.array(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))
    rows, columns = np.mgrid[0:height, 0:width]
    light = 1 + random.normal(0, 0.06) * (columns / width - 0.5) + random.normal(0, 0.06) * (rows / height - 0.5)
    return (np.array([112, 118, 120]) + 4 * soft[..., None]) * light[..., None]


def on_belt(random, part, right, down, turn):
    """A part on a belt: its middle beside that of the picture, turned clockwise."""
    width, height = SIZE
    layer = Image.new("RGBA", (2 * width, 2 * height))
    layer.paste(part, (width - PART[0] // 2, height - PART[1] // 2))
    layer = layer.rotate(-turn, resample=Image.Resampling.BICUBIC)
    at = (1, 0, width / 2 - right, 0, 1, height / 2 - down)
    layer = layer.transform(SIZE, Image.Transform.AFFINE, at, resample=Image.Resampling.BICUBIC)
    picture = Image.fromarray(np.clip(belt(random, SIZE), 0, 255).astype(np.uint8))
    picture.paste(layer.convert("RGB"), mask=layer.getchannel("A"))
    noisy = np.array(picture) * (1 + random.normal(0, 0.05)) + random.normal(0, 2.5, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def lies(random, size):
    """Pixels to the right and down, degrees: up to a tenth of the picture and up to 30."""
    return *(random.uniform(-0.1, 0.1) * side for side in size), random.uniform(-30, 30)


def zippers(work, random):
    """References and, for each test part, its still and its moved picture, and whether it is bad."""
    references, tests = [], []
    faults = [None] * 8 + [None] * 24 + list(draw_zipper.FAULTS) * 6
    for number, fault in enumerate(faults):
        part = draw_zipper.drawn(random, fault)[0].resize(PART, Image.Resampling.LANCZOS).convert("RGBA")
        still = work / f"still{number:03}.png"
        on_belt(random, part, 0, 0, 0).save(still)
        if number < 8:
            references.append(still)
            continue
        moved = work / f"moved{number:03}.png"
        on_belt(random, part, *lies(random, SIZE)).save(moved)
        tests.append((still, moved, fault is not None))
    return references, tests


def cookies(folder, work, random):
    """The same of photographs; beyond the edges a moved picture goes on as its mirror image."""
    references, files, masks = inspected.data_set(folder)
    tests = []
    for number, (file, mask) in enumerate(zip(files, masks)):
        picture = Image.open(file).convert("RGB")
        right, down, turn = lies(random, picture.size)
        room = max(picture.size)
        wide = Image.fromarray(np.pad(np.array(picture), ((room, room), (room, room), (0, 0)), mode="symmetric"))
        wide = wide.rotate(-turn, resample=Image.Resampling.BICUBIC, translate=(right, down))
        moved = work / f"cookie{number:03}.png"
        wide.crop((room, room, room + picture.width, room + picture.height)).save(moved)
        tests.append((file, moved, mask is not None))
    return references, tests


def inspect(model, references, files, *words):
    """The line of each picture; None where it could not be judged."""
    compared = [word for reference in references for word in ("--reference", reference)]
    asked = ("inspect", "--backend", "onnx", "--model", model, *compared, *words, *files)
    done = inspected.subprocess.run([inspected.WINSPECT, *map(str, asked)], capture_output=True, text=True)
    lines = {line["path"]: line for line in map(json.loads, done.stdout.splitlines())}
    if not lines:
        raise SystemExit(done.stderr)
    why = [line for line in done.stderr.splitlines() if "part" in line and "judged" not in line]
    return [lines.get(str(file)) for file in files], why


def compared(name, model, references, tests, ways):
    """A row for each way of judging."""
    is_bad = np.array([bad for _, _, bad in tests])
    for way, words in ways:
        scores = []
        for at, kind in enumerate(("still", "moved")):
            lines, why = inspect(model, references, [test[at] for test in tests], *words)
            score = np.array([line["score"] if line else np.nan for line in lines])
            scores.append(score)
            seen = ~np.isnan(score)
            auroc = inspected.auroc(score[seen & ~is_bad], score[seen & is_bad])
            print(f"{name:8} {way:28} {kind:6} AUROC {auroc:.4f}, not judged: {np.sum(~seen & ~is_bad)} good, {np.sum(~seen & is_bad)} bad")
            for cause in sorted({w.split(": ", 1)[-1].split(":")[0].split(" by ")[0][:40] for w in why}):
                print(f"{'':38} {cause}")
        both = ~np.isnan(scores[0]) & ~np.isnan(scores[1])
        apart = np.abs(scores[1] - scores[0])[both]
        good = both & ~is_bad
        shift = np.mean(scores[1][good] - scores[0][good]) / np.std(scores[0][good])
        print(f"{name:8} {way:28} scores differ by {np.mean(apart):.4f} in the mean, {np.max(apart):.4f} at most; "
              f"good ones by {shift:+.2f} of their standard deviation")


def with_pose(file, pose):
    """The camera's picture with the turned box of the part."""
    picture = Image.open(file).convert("RGB")
    turn = np.radians(pose["turn_deg"])
    half = [side / 2 for side in PART]
    corners = [(x * half[0], y * half[1]) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))]
    line = [
        (pose["x"] + np.cos(turn) * x - np.sin(turn) * y, pose["y"] + np.sin(turn) * x + np.cos(turn) * y)
        for x, y in corners
    ]
    ImageDraw.Draw(picture).line(line, fill=(255, 255, 255), width=3)
    return picture


def picture(model, references, file, master, work, to):
    """A moved part in the camera's picture, beside its overlay at the place of the master."""
    words = ["--fit", "keep", "--locate", master, "--overlay", work / "overlay"]
    lines, _ = inspect(model, references, [file], *words)
    camera = with_pose(file, lines[0]["pose"]).resize((480, 480), Image.Resampling.LANCZOS)
    overlay = Image.open(work / "overlay" / f"{file.stem}.png").convert("RGB").resize((480, 480))
    both = Image.new("RGB", (968, 480), (255, 255, 255))
    both.paste(camera)
    both.paste(overlay, (488, 0))
    both.save(to, quality=85)


def likeness(model, references, sets, words):
    """Figures of the likeness of sets of pictures, whatever the limit: those that are beneath it say so in words."""
    for name, files in sets:
        lines, why = inspect(model, references, files, *words)
        found = [line["pose"]["likeness"] for line in lines if line]
        found += [float(part.split("likeness of ")[1].split(",")[0]) for part in why if "likeness of " in part]
        low, middle, high = np.quantile(found, (0, 0.5, 1))
        print(f"likeness, {name:32} {len(found)} of {len(files)}: {low:.2f} to {high:.2f}, median {middle:.2f}")


def times(model, random, work):
    """Milliseconds of finding and aligning, the median of seven pictures, for several sizes of picture and limits."""
    part = draw_zipper.drawn(random)[0].resize(PART, Image.Resampling.LANCZOS).convert("RGBA")
    still = on_belt(random, part, 0, 0, 0)
    moved = [on_belt(random, part, *lies(random, SIZE)) for _ in range(7)]
    for side in (480, 640, 960, 1280):
        scale = side / SIZE[0]
        area = ",".join(str(int(scale * float(value))) for value in AREA.split(","))
        master = work / "master_of_size.png"
        still.resize((side, side)).save(master)
        files = []
        for number, one in enumerate(moved):
            files.append(work / f"timed{number}.png")
            one.resize((side, side)).save(files[-1])
        for turn in (0, 45, 180):
            words = ["--crop", area, "--threads", "1"]
            plain, _ = inspect(model, [master], files, *words)
            located, _ = inspect(model, [master], files, *words, "--locate", f"{master}={area}", "--turn-max", turn)
            took = [np.median([line["ms"]["pixels"] for line in lines if line] or [np.nan]) for lines in (plain, located)]
            print(f"time, {side} x {side} pixels, turns up to {turn:3}: {took[1] - took[0]:.2f} ms beside {took[0]:.2f} for pixels alone")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("cookies", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--picture", type=pathlib.Path, help="draw the picture of docs/locate.md into this file")
    asked = parser.parse_args()
    work = asked.work or pathlib.Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    references, tests = zippers(work, random)
    master = f"{references[0]}={AREA}"
    compared("zippers", asked.model, references, tests, [
        ("without", ["--crop", AREA, "--fit", "keep"]),
        ("--locate", ["--fit", "keep", "--locate", master]),
    ])
    good, photographs = cookies(asked.cookies, work, random)
    cookie = f"{good[0]}={COOKIE_AREA}"
    # Those whose part is turned too far, or cut off, are refused as references.
    lines, _ = inspect(asked.model, good[:1], good, "--locate", cookie)
    good = [file for file, line in zip(good, lines) if line]
    compared("cookies", asked.model, good, photographs, [
        ("without", []),
        ("--locate", ["--locate", cookie]),
    ])
    empty = []
    for number in range(20):
        empty.append(work / f"empty{number}.png")
        noisy = belt(random, SIZE) + random.normal(0, 2.5, (SIZE[1], SIZE[0], 3))
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(empty[-1])
    others = []
    for number, file in enumerate(good):
        others.append(work / f"other{number}.png")
        Image.open(file).convert("RGB").resize(SIZE).save(others[-1])
    zipped = []
    for number, (_, moved, _) in enumerate(tests[:20]):
        zipped.append(work / f"zipped{number}.png")
        Image.open(moved).resize(Image.open(good[0]).size).save(zipped[-1])
    likeness(asked.model, references, [
        ("zippers, good", [moved for _, moved, bad in tests if not bad]),
        ("zippers, bad", [moved for _, moved, bad in tests if bad]),
        ("zippers: empty belts", empty),
        ("zippers: cookies in their place", others),
    ], ["--fit", "keep", "--locate", master])
    likeness(asked.model, good, [
        ("cookies, good", [still for still, _, bad in photographs if not bad]),
        ("cookies, broken", [still for still, _, bad in photographs if bad]),
        ("cookies: zippers in their place", zipped),
    ], ["--locate", cookie])
    times(asked.model, random, work)
    if asked.picture:
        bad = next(moved for _, moved, is_bad in tests[24:] if is_bad)
        picture(asked.model, references, bad, master, work, asked.picture)


if __name__ == "__main__":
    main()
