"""Do fewer prompt templates do? WinCLIP's text prototypes from some of its 22 templates against those from all.

    tools/figures/measure templates MODEL DATA_SET CLASS_NAME      a CLIP model; zero-shot

Every prompt is encoded once, by the text tower of the imported model; the prototypes of all 22 are held against
winspect's. Beside each list stand: the cosine of its normal and of its anomalous prototype with those of all 22; the cosine
of `t_a - t_n`, the direction that a score is measured along; the rank correlation (Spearman) of the test pictures' zero-shot
scores with those of all 22; and the image AUROC. Lists of N drawn ones are the mean of 100 draws, with the least.
"""
import argparse
import pathlib

import inspected
import numpy as np
import onnxruntime
from inspected import unit
from instant_clip_tokenizer import Tokenizer
from scipy.stats import spearmanr

SCENES = ["a cropped photo of", "a close-up photo of", "a bright photo of", "a dark photo of",
          "a jpeg corrupted photo of", "a blurry photo of", "a photo of"]  # fmt: skip
SIZES = [f"a photo of {article} {size} {{}}." for size in ("small", "large") for article in ("a", "the")]
ENDS = [f"a photo of {article} {{}} for {end}." for end in ("visual inspection", "anomaly detection")
        for article in ("a", "the")]  # fmt: skip
ALL = [f"{scene} {article} {{}}." for scene in SCENES for article in ("a", "the")] + SIZES + ENDS
STATES = [["{}", "flawless {}", "perfect {}", "unblemished {}", "{} without flaw", "{} without defect", "{} without damage"],
          ["damaged {}", "{} with flaw", "{} with defect", "{} with damage"]]  # fmt: skip
TEMPERATURE = 0.07
DRAWS = 100


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("class_name")
    return parser.parse_args()


def prompt_embeddings(asked):
    """Unit embeddings of the normal and of the anomalous prompts, [template, state, E] each."""
    tower = onnxruntime.InferenceSession(asked.model / "text.onnx")
    context = tower.get_inputs()[0].shape[1]
    found = []
    for states in STATES:
        prompts = [template.replace("{}", state.replace("{}", asked.class_name)) for template in ALL for state in states]
        tokens = Tokenizer().tokenize_batch(prompts, context_length=context).astype(np.int64)
        rows = np.concatenate([tower.run(None, {"ids": some})[0] for some in np.array_split(tokens, len(ALL))])
        found.append(unit(rows.astype(np.float64)).reshape(len(ALL), len(states), -1))
    return found


def prototypes_of(embedded, templates):
    """The two unit prototypes [2, E] of some templates."""
    chosen = [ALL.index(template) for template in templates]
    return unit(np.stack([kind[chosen].mean((0, 1)) for kind in embedded]))


def scores(prototypes, embeddings):
    """s of each picture (docs of winclip: a softmax over the two cosines)."""
    logits = embeddings @ prototypes.T / TEMPERATURE
    return 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))


def compared(prototypes, whole, embeddings, bad):
    """The five figures of one list."""
    cosines = (prototypes * whole).sum(1)
    direction = unit(prototypes[1] - prototypes[0]) @ unit(whole[1] - whole[0])
    found = scores(prototypes, embeddings)
    ranks = spearmanr(found, scores(whole, embeddings)).statistic
    return [*cosines, direction, ranks, inspected.auroc(found[~bad], found[bad])]


def main():
    asked = arguments()
    _, files, masks = inspected.data_set(asked.data)
    bad = np.array([mask is not None for mask in masks])
    tensors = inspected.inspect(asked.model, files, [], "--class-name", asked.class_name)
    embeddings = unit(np.array(tensors["encode.image"], np.float64))
    embedded = prompt_embeddings(asked)
    whole = prototypes_of(embedded, ALL)
    apart = np.abs(whole - unit(tensors["text"])).max()
    if apart > 1e-4:
        raise SystemExit(f"winspect's prototypes of all templates are {apart} off")
    random = np.random.default_rng(1)
    lists = {
        "all 22": [ALL],
        "11, with the article a": [ALL[::2]],
        "11, with the article the": [ALL[1::2]],
        "18, without small and large": [[t for t in ALL if t not in SIZES]],
        "4, small and large": [SIZES],
        "2, small and large, the": [SIZES[1::2]],
        "1, a photo of the": [["a photo of the {}."]],
    }
    lists |= {f"{n} drawn": [list(random.choice(ALL, n, replace=False)) for _ in range(DRAWS)] for n in (8, 4, 2, 1)}
    print(f"{asked.class_name}: {len(files)} pictures; cosine normal, anomalous, direction; rank correlation; image AUROC")
    for name, drawn in lists.items():
        rows = [compared(prototypes_of(embedded, templates), whole, embeddings, bad) for templates in drawn]
        least = f"  least {' '.join(f'{value:.3f}' for value in np.min(rows, 0))}" if len(rows) > 1 else ""
        print(f"{name:28} {' '.join(f'{value:.3f}' for value in np.mean(rows, 0))}{least}", flush=True)


if __name__ == "__main__":
    main()
