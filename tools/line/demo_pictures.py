"""Takes the demo's pictures out of the conformal-clip-data wheel: 8 good references, a stream of 30 other good parts and
30 with a local defect, mixed by a fixed seed. The truth stands in a stream picture's name: 07-good.jpg, 08-bad.jpg."""

import os
import random
import sys
import zipfile

wheel, folder = zipfile.ZipFile(sys.argv[1]), sys.argv[2]
draw = random.Random(1)


def of(kind):
    names = sorted(n for n in wheel.namelist() if f"/simulated/{kind}/" in n and not n.endswith("/"))
    return draw.sample(names, len(names))


def put(name, path):
    with open(os.path.join(folder, path), "wb") as out:
        out.write(wheel.read(name))


good, bad = of("nominal"), of("local")
parts = [("good", n) for n in good[8:38]] + [("bad", n) for n in bad[:30]]
draw.shuffle(parts)
os.makedirs(f"{folder}/good", exist_ok=True)
for i, name in enumerate(good[:8]):
    put(name, f"good/{i:02}{os.path.splitext(name)[1]}")
os.makedirs(f"{folder}/stream.part", exist_ok=True)
for i, (truth, name) in enumerate(parts):
    put(name, f"stream.part/{i:02}-{truth}{os.path.splitext(name)[1]}")
os.rename(f"{folder}/stream.part", f"{folder}/stream")
