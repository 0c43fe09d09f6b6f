"""What the measurements share: `winspect inspect --tensors` on a list of pictures, and the data sets of docs/evaluate.md."""

import pathlib
import re
import subprocess
import tempfile

import numpy as np
from safetensors.numpy import load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
WINSPECT = ROOT / "target/release/winspect"
PICTURES = (".jpg", ".jpeg", ".png")


def natural(path):
    """The order of names in winspect: numbers as numbers."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def pictures(folder):
    """The pictures of a folder, or the file itself."""
    folder = pathlib.Path(folder).absolute()
    if folder.is_file():
        return [folder]
    return sorted((file for file in folder.iterdir() if file.suffix.lower() in PICTURES), key=natural)


def data_set(folder):
    """References, test pictures, and the mask of each of those (None: good), of the layout in docs/evaluate.md."""
    folder = pathlib.Path(folder).absolute()
    tested, masks = [], []
    for kind in sorted(path for path in (folder / "test").iterdir() if path.is_dir()):
        for file in pictures(kind):
            mask = folder / "ground_truth" / kind.name / f"{file.stem}_mask.png"
            tested.append(file)
            masks.append(None if kind.name == "good" else mask)
    return pictures(folder / "train/good"), tested, masks


def run(*words):
    """Standard output of winspect; its words on standard error where it fails."""
    done = subprocess.run([WINSPECT, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"winspect {words[0]} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def inspect(model, files, references, *words):
    """The tensors of `winspect inspect`: {tensor's name: [one array a picture]}, and `text` of a model with words."""
    with tempfile.TemporaryDirectory() as work:
        # Pictures of two folders may share a name; a number ends the name of each tensor instead.
        links = [pathlib.Path(work) / f"{number}{file.suffix}" for number, file in enumerate(files)]
        for link, file in zip(links, files):
            link.symlink_to(file)
        compared = [word for reference in references for word in ("--reference", reference)]
        tensors = pathlib.Path(work) / "tensors.safetensors"
        run("inspect", "--backend", "onnx", "--model", model, *compared, "--tensors", tensors, *words, *links)
        loaded = load_file(tensors)
    # The prompts' features are no picture's.
    found = {"text": tensor for name, tensor in loaded.items() if name.endswith(".text.features")}
    for number in range(len(files)):
        for name in [name for name in loaded if name.endswith(f".{number}")]:
            found.setdefault(name.rsplit(".", 1)[0], []).append(loaded[name])
    return found


def unit(rows):
    """Rows of length 1."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def auroc(good, bad):
    """Share of (bad, good) pairs in which the bad one scores higher, ties half."""
    good, bad = np.asarray(good), np.asarray(bad)[:, None]
    return float(((bad > good) + 0.5 * (bad == good)).mean())
