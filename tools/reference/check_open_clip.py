"""Holds `winspect inspect` against open_clip, anomalib and transformers on random-weights models of many shapes.

For each model: a hub folder is written, `winspect model import` takes it, and `inspect --tensors` judges a few pictures
of odd sizes, zero-shot and with two references, in every preset. Its tensors are compared twice: with what the others
compute from Pillow's pixels (the whole way), and with what they compute from winspect's own pixels (the encoder and the
scorer alone, ten times closer). One line a model, then every mismatch. Exits with 1 when there is one.
"""

import argparse
import copy
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import reference_models
import numpy as np
import torch
import winclip_formulas as formulas
from reference_models import OpenClip, TransformersClip, TransformersDino
from PIL import Image
from safetensors.numpy import load_file
from torchvision import transforms

ROOT = Path(__file__).resolve().parents[2]
WINSPECT = ROOT / "target/release/winspect"
WORK = ROOT / "target/check-open-clip"
REFERENCES = ["good_a", "good_b"]
# Width and height; beside them "exact" of the model's own side, "ratio" whose averages fall between two grey levels
# often, and a grey one.
SIZES = {"good_a": (131, 97), "good_b": (89, 144), "wide": (301, 130), "tall": (97, 403), "small": (37, 31)}
# Absolute, from Pillow's pixels and from our own. Embeddings: for values up to 17, in proportion beyond.
SCORES, EMBEDDINGS = {"png": 1e-3, "own": 1e-4}, {"png": 3e-2, "own": 2e-3}
TOLD = 40  # mismatches that are listed


def open_clip_cfg(embed, vision, text, **more):
    names = ["image_size", "patch_size", "width", "layers", "head_width", "mlp_ratio"]
    text = dict(zip(["width", "heads", "layers"], text)) | more.pop("text_cfg", {})
    return {"embed_dim": embed, "vision_cfg": dict(zip(names, vision)), "text_cfg": text, **more}


def clip_cfg(embed, vision, text, activations, eos):
    names = ["image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"]
    vision = dict(zip(names, vision)) | {"hidden_act": activations[0]}
    text = dict(zip(names[2:], text)) | {"hidden_act": activations[1], "eos_token_id": eos}
    return {"projection_dim": embed, "vision_config": vision, "text_config": text}


def dino_cfg(side, patch, width, layers, heads, ratio):
    return {"image_size": side, "patch_size": patch, "hidden_size": width, "num_hidden_layers": layers,
            "num_attention_heads": heads, "mlp_ratio": ratio}  # fmt: skip


HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
PLUS_240 = open_clip_cfg(640, (240, 16, 896, 12), (640, 10, 12))

# name, configuration, type of the stored weights, class name
OPEN_CLIP = [
    ("plain", {"model_cfg": open_clip_cfg(24, (64, 16, 64, 2, 16, 4.0), (32, 2, 1))}, "fp32", "metal nut"),
    ("quick-gelu", {"model_cfg": open_clip_cfg(56, (112, 14, 96, 5, 32, 2.5), (48, 3, 3), quick_gelu=True)}, "fp16",
     "Cable_gland M8"),
    ("remainder", {"model_cfg": open_clip_cfg(40, (90, 16, 80, 3, 40, 3.7), (24, 4, 2)), "preprocess_cfg": HALF},
     "bf16", "screw"),
    ("head-88", {"model_cfg": open_clip_cfg(48, (98, 14, 176, 3, 88, 4.3637), (40, 5, 2))}, "fp32", "nut &amp; bolt"),
    ("context-48", {"model_cfg": open_clip_cfg(512, (224, 32, 128, 4), (128, 2, 4), text_cfg={"context_length": 48})},
     "fp16", "  Printed   CIRCUIT board"),
    ("one-block", {"model_cfg": open_clip_cfg(32, (96, 8, 64, 1, 32), (32, 2, 1), quick_gelu=True,
                                             text_cfg={"no_causal_mask": True})}, "bf16", "Gehäuse µ-SD"),
    ("grid-3", {"model_cfg": open_clip_cfg(20, (48, 16, 32, 2, 8), (16, 1, 2))}, "fp32", "operator’s cap {}"),
    ("b-16-plus-240", {"model_cfg": PLUS_240}, "fp16", "metal nut"),
]  # fmt: skip
CLIP = [
    ("hf-quick", clip_cfg(32, (80, 16, 64, 3, 4, 256), (24, 2, 3, 96), ("quick_gelu",) * 2, 2), "fp16", "screw"),
    ("hf-gelu", clip_cfg(48, (98, 14, 96, 2, 3, 200), (64, 3, 2, 150), ("gelu", "gelu"), 49407), "fp32", "metal nut"),
    ("hf-mixed", clip_cfg(40, (96, 12, 48, 4, 6, 192), (32, 2, 4, 128), ("gelu", "quick_gelu"), 49407), "bf16", "cap"),
]
# and the sides and blocks to run
DINO = [
    ("dino-70", dino_cfg(70, 14, 64, 4, 4, 2), "fp32", [(70, 4), (98, 2), (154, 1)]),
    ("dino-112", dino_cfg(112, 14, 48, 3, 3, 4), "fp16", [(112, 3), (84, 2), (210, 1)]),
    ("dino-128", dino_cfg(128, 16, 96, 6, 2, 3), "bf16", [(128, 5), (48, 6), (320, 3)]),
]


def say(words):
    print(f"check-open-clip: {words}", file=sys.stderr, flush=True)


def winspect(*words):
    done = subprocess.run([WINSPECT, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"winspect {' '.join(map(str, words))} ended with {done.returncode}:\n{done.stderr}")


def draw(path, size, seed, mode="RGB"):
    """Something like a photograph: soft shapes, sharp edges, grain."""
    rng = np.random.default_rng(seed)
    soft = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8)).resize(size, Image.BICUBIC)
    pixels = np.asarray(soft, np.float32) + rng.normal(0, 8, (size[1], size[0], 3))
    for _ in range(4):
        left, top = rng.integers(0, size[0]), rng.integers(0, size[1])
        pixels[top : top + size[1] // 3, left : left + size[0] // 4] += rng.integers(-120, 120, 3)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode).save(path)


def pictures(folder, side, few):
    sizes = SIZES | {"exact": (side, side), "ratio": (side * 3 // 2, side * 3), "grey": (150, 150)}
    sizes = {name: sizes[name] for name in [*REFERENCES, "wide"]} if few else sizes
    folder.mkdir(exist_ok=True)
    for seed, (name, size) in enumerate(sizes.items()):
        draw(folder / f"{name}.png", size, seed, "L" if name == "grey" else "RGB")
    return list(sizes)


def pillow_pixels(path, side, spec, fit="squash"):
    picture = Image.open(path).convert("RGB")
    finish = [transforms.ToTensor(), transforms.Normalize(spec["mean"], spec["std"])]
    if fit == "crop":  # open_clip's image_transform
        cubic = transforms.InterpolationMode.BICUBIC
        return transforms.Compose([transforms.Resize(side, cubic), transforms.CenterCrop(side), *finish])(picture)
    return transforms.Compose(finish)(picture.resize((side, side), Image.BICUBIC))


class Ledger:
    """Worst differences of one model by group, what is off, and what was never written."""

    def __init__(self, model):
        self.model, self.worst, self.off, self.absent, self.seen = model, {}, [], [], set()

    def compare(self, group, name, ours, golden, limit, kind=None):
        golden = np.asarray(golden, np.float64)
        if name not in ours:
            self.absent.append(name)
            return
        self.seen.add(kind or name)
        mine = ours[name].astype(np.float64)
        if mine.size != golden.size:
            self.off.append(f"{group} {name}: shape {mine.shape}, golden {golden.shape}")
            return
        difference = float(np.abs(mine.reshape(golden.shape) - golden).max())
        largest = float(np.abs(golden).max())
        if not difference <= limit(largest):  # NaN is off too
            allowed, relative = f"limit {limit(largest):.1e}", f"relative {difference / largest:.1e}"
            self.off.append(f"{group} {name}: {difference:.2e} off ({allowed}, values to {largest:.3g}, {relative})")
        self.worst[group] = max(self.worst.get(group, 0.0), difference)

    def scores(self, group, name, ours, golden):
        self.compare(group, name, ours, golden, lambda _: SCORES[group.split()[-1]])

    def embedding(self, group, name, ours, golden, kind):
        allowed = EMBEDDINGS[group.split()[-1]]
        self.compare(group, name, ours, golden, lambda largest: allowed * max(1.0, largest / 17.0), kind)
        if name in ours:
            relative = np.abs(ours[name].reshape(golden.shape) - golden).max() / np.abs(golden).max()
            self.worst["relative"] = max(self.worst.get("relative", 0.0), float(relative))

    def pixels(self, name, ours, pillow, spec):
        if name not in ours:
            self.absent.append(name)
            return
        half_a_grey_level = (0.5 / 255.0 / np.array(spec["std"]))[:, None, None]
        same = float((np.abs(ours[name] - pillow) < half_a_grey_level).mean())
        self.worst["pixels"] = min(self.worst.get("pixels", 1.0), same)
        if same < 0.999:
            self.off.append(f"pixels {name}: {100 * same:.3f} % are Pillow's (limit 99.9 %)")

    def close(self, needed):
        """Every kind of tensor must have been written by some run."""
        self.off += [f"{kind} was written by no run" for kind in needed if kind not in self.seen]


def inspect(folder, model, pictures_folder, names, few_shot, *more):
    out = folder / "tensors.safetensors"
    references = [w for r in REFERENCES for w in ("--reference", pictures_folder / f"{r}.png")] if few_shot else []
    files = [pictures_folder / f"{name}.png" for name in names]
    winspect("inspect", "--model", model, *references, "--tensors", out, *more, *files)
    return load_file(out)


def check_clip(kind, name, config, dtype, class_name, seed):
    """open_clip's and transformers' CLIP: all presets, zero-shot and few-shot."""
    folder = WORK / name
    encoder = kind(folder / "hub", config, seed, dtype)
    spec, side = encoder.spec, encoder.spec["side"]
    names = pictures(folder / "pictures", side, few=side == 240)
    winspect("model", "import", folder / "hub", folder / "model")
    ledger, golden = Ledger(name), {}
    with_class = ["--class-name", class_name]

    crop = inspect(folder, folder / "model", folder / "pictures", names, False, "--fit", "crop", *with_class)
    for picture in names:
        pillow = pillow_pixels(folder / f"pictures/{picture}.png", side, spec, "crop").numpy()
        ledger.pixels(f"crop.{picture}", crop, pillow, spec)
        pixels = pillow_pixels(folder / f"pictures/{picture}.png", side, spec)
        golden["png", picture] = (pixels, encoder.encode(pixels))

    for preset in formulas.PRESETS:
        embeddings = [encoder.embed(prompts) for prompts in formulas.prompts(preset, class_name)]
        text = formulas.prototypes(preset, *embeddings)
        if preset == "paper":
            maps = [formulas.judge(preset, golden["png", p][1], text)[1] for p in names]
            ledger.spread = float(np.max(maps) - np.min(maps))
        for run in ("zero_shot", "few_shot2"):
            few = run != "zero_shot"
            ours = inspect(folder, folder / "model", folder / "pictures", names, few, "--preset", preset, *with_class)
            if f"{preset}.text.features" in ours:
                ours["text"] = formulas.unit(ours[f"{preset}.text.features"].astype(np.float64))
            ledger.compare("text", "text", ours, text, lambda _: 1e-4)
            for way in ("png", "own"):
                compare_clip(ledger, encoder, golden, ours, names, way, (preset, run, text))
            if preset == "anomalib" and kind is OpenClip and spec["context"] == 77:
                compare_anomalib(ledger, encoder, golden, ours, names, few, class_name)
    ledger.close(["image", "windows2", "windows3", "patches", "patches_after_ln_post"])
    return ledger


def compare_clip(ledger, encoder, golden, ours, names, way, judged):
    preset, run, text = judged
    for picture in names:
        if way == "own" and (way, picture) not in golden:
            golden[way, picture] = own_features(encoder, golden, ours, picture)
    references = [golden[way, r][1] for r in REFERENCES] if run != "zero_shot" else []
    for picture in names:
        pixels, features = golden[way, picture]
        if way == "png":
            ledger.pixels(f"squash.{picture}", ours, pixels.numpy(), encoder.spec)
        tensors = {"image": features["image"]} | {f"windows{s}": rows for s, rows in features["windows"].items()}
        tensors |= {kind: features[kind] for kind in ("patches", "patches_after_ln_post")}
        for kind, tensor in tensors.items():
            ledger.embedding(f"embedding {way}", f"encode.{kind}.{picture}", ours, tensor, kind)
        score, grid = formulas.judge(preset, features, text, references)
        group = f"{'few' if references else 'zero'} {way}"
        ledger.scores(group, f"{preset}.{run}.score.{picture}", ours, score)
        ledger.scores(group, f"{preset}.{run}.grid.{picture}", ours, grid)


def own_features(encoder, golden, ours, picture, *more):
    """Features from winspect's own pixels; those of Pillow's where they are the same numbers."""
    pillow, features = golden["png", picture]
    pixels = torch.from_numpy(ours[f"squash.{picture}"])
    same = torch.allclose(pixels, pillow, rtol=0, atol=1e-6)
    return (pixels, features if same else encoder.encode(pixels, *more))


def compare_anomalib(ledger, encoder, golden, ours, names, few, class_name):
    """anomalib's own forward pass: its score, and its enlarged map."""
    model = reference_models.anomalib_of(copy.deepcopy(encoder.model), class_name)
    if few:
        model.setup(reference_images=torch.stack([golden["png", r][0] for r in REFERENCES]))
    run = "few_shot2" if few else "zero_shot"
    for picture in names:
        theirs = model(golden["png", picture][0][None])
        ledger.scores("anomalib png", f"anomalib.{run}.score.{picture}", ours, theirs.pred_score.numpy())
        grid = torch.from_numpy(ours[f"anomalib.{run}.grid.{picture}"])[None, None]
        enlarged = torch.nn.functional.interpolate(grid, theirs.anomaly_map.shape[-2:], mode="bilinear")
        name = f"anomalib.{run}.map.{picture}"
        ledger.scores("anomalib png", name, {name: enlarged.numpy()}, theirs.anomaly_map[0][None, None].numpy())


def check_dino(name, config, dtype, runs, seed):
    """DINOv2 at several sides: a block's tokens, windows, and the visual score with two references."""
    folder = WORK / name
    encoder = TransformersDino(folder / "hub", config, seed, dtype)
    spec, ledger = encoder.spec, Ledger(name)
    names = pictures(folder / "pictures", spec["side"], few=False)
    winspect("model", "import", folder / "hub", folder / "model")
    for side, block in runs:
        golden = {}
        for picture in names:
            pixels = pillow_pixels(folder / f"pictures/{picture}.png", side, spec)
            golden["png", picture] = (pixels, encoder.encode(pixels, block))
        for maps in (["patch"], ["patch", 2, 3], [3]):
            listed = ",".join(map(str, maps))
            ours = inspect(folder, folder / "model", folder / "pictures", names, True, "--input-px", side, "--block", block,
                           "--maps", listed)  # fmt: skip
            for picture in names:
                golden["own", picture] = own_features(encoder, golden, ours, picture, block)
            for way in ("png", "own"):
                references = [golden[way, r][1] for r in REFERENCES]
                for picture in names:
                    pixels, features = golden[way, picture]
                    if way == "png":
                        ledger.pixels(f"squash.{picture}", ours, pixels.numpy(), spec)
                    if "patch" in maps:
                        tensor = f"block{block}.{picture}"
                        ledger.embedding(f"embedding {way}", tensor, ours, features["class_and_patches"], "tokens")
                    for scale in (m for m in maps if m != "patch"):
                        tensor, kind = f"encode.windows{scale}.{picture}", f"windows{scale}"
                        ledger.embedding(f"embedding {way}", tensor, ours, features["windows"][scale], kind)
                    score, grid = formulas.judge_without_text(features, references, maps)
                    ledger.scores(f"few {way}", f"paper.few_shot2.score.{picture}", ours, score)
                    ledger.scores(f"few {way}", f"paper.few_shot2.grid.{picture}", ours, grid)
    ledger.close(["tokens", "windows2", "windows3"])
    ledger.spread = float(grid.max() - grid.min())
    return ledger


COLUMNS = [("embedding png", "emb png"), ("embedding own", "emb own"), ("relative", "emb rel"), ("text", "text"),
           ("zero png", "zero png"), ("zero own", "zero own"), ("few png", "few png"), ("few own", "few own"),
           ("anomalib png", "anomalib")]  # fmt: skip


def show(ledger, seconds):
    cell = lambda group: f"{ledger.worst[group]:.1e}" if group in ledger.worst else "-"
    cells = [f"{100 * ledger.worst['pixels']:.3f}", *(cell(group) for group, _ in COLUMNS), f"{ledger.spread:.2f}"]
    verdict = "OFF" if ledger.off else "ok"
    print(f"{ledger.model:<14}" + "".join(f"{c:>9}" for c in cells) + f"  {verdict:<4}{seconds:5.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Holds winspect against open_clip, anomalib and transformers.")
    parser.add_argument("--only", action="append", default=[], metavar="MODEL", help="this model; may be repeated")
    parser.add_argument("--skip", action="append", default=[], metavar="MODEL", help="not this one; may be repeated")
    parser.add_argument("--seeds", type=int, default=1, help="how many draws of weights of each model (default 1)")
    parser.add_argument("--keep", action="store_true", help=f"leave the models and tensors in {WORK.relative_to(ROOT)}")
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count())

    checks = [(name, lambda seed, m=(name, *rest): check_clip(OpenClip, *m, seed)) for name, *rest in OPEN_CLIP]
    checks += [(name, lambda seed, m=(name, *rest): check_clip(TransformersClip, *m, seed)) for name, *rest in CLIP]
    checks += [(name, lambda seed, m=(name, *rest): check_dino(*m, seed)) for name, *rest in DINO]
    unknown = {*arguments.only, *arguments.skip} - {name for name, _ in checks}
    if unknown:
        parser.error(f"no model {', '.join(sorted(unknown))}; there are {', '.join(name for name, _ in checks)}")
    wanted = set(arguments.only or (name for name, _ in checks)) - set(arguments.skip)
    checks = [(name, check) for name, check in checks if name in wanted]

    print("worst absolute differences; png: from Pillow's pixels (limits 3e-2 and 1e-3), own: from winspect's")
    print("(2e-3 and 1e-4); pixels: per cent equal (limit 99.9); spread: of the golden map (none would prove nothing)")
    print(f"{'model':<14}" + "".join(f"{c:>9}" for c in ["pixels %", *(title for _, title in COLUMNS), "spread"]))
    off, absent = [], set()
    for name, check in checks:
        for seed in range(arguments.seeds):
            started = time.monotonic()
            shutil.rmtree(WORK / name, ignore_errors=True)
            ledger = check(seed)
            show(ledger, time.monotonic() - started)
            off += [f"{name} (seed {seed}): {words}" for words in dict.fromkeys(ledger.off)]
            absent |= {words.rsplit(".", 1)[0] for words in ledger.absent}
            if not arguments.keep:
                shutil.rmtree(WORK / name)
    if absent:
        print("not written by every run: " + ", ".join(sorted(absent)))
    for words in off[:TOLD]:
        print(f"OFF: {words}")
    if len(off) > TOLD:
        print(f"and {len(off) - TOLD} more")
    print(f"{len(checks) * arguments.seeds} models, {len(off)} mismatches")
    sys.exit(1 if off else 0)


if __name__ == "__main__":
    main()
