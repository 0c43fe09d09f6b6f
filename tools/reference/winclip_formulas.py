"""WinCLIP's scores and maps as plain formulas over an encoder's features, in double precision, and its prompts.

What `check_open_clip.py` holds winspect against. Written from the paper (Jeong et al., CVPR 2023, arXiv 2303.14814) and
from what anomalib 2.7, zqhang/Accurate-WinCLIP-pytorch and caoyunkang/WinClip make of it; not from winspect's source.

Features of one picture are a dict: `image` [E], `windows` {scale: [W, E]}, `patches` [P, D], `patches_after_ln_post`.
"""

import numpy as np

PRESETS = ["paper", "anomalib", "zqhang", "caoyunkang"]
SCALES = (2, 3)

NORMAL = ["{}", "flawless {}", "perfect {}", "unblemished {}"]
NORMAL += ["{} without flaw", "{} without defect", "{} without damage"]
ANOMALOUS = ["damaged {}", "{} with flaw", "{} with defect", "{} with damage"]
SCENES = ["a cropped photo of", "a close-up photo of", "a bright photo of", "a dark photo of",
          "a jpeg corrupted photo of", "a blurry photo of", "a photo of"]  # fmt: skip
TEMPLATES = [f"{scene} {article} {{}}." for scene in SCENES for article in ("a", "the")]
TEMPLATES += [f"a photo of {article} {size} {{}}." for size in ("small", "large") for article in ("a", "the")]
TEMPLATES += [f"a photo of {article} {{}} for {end}." for end in ("visual inspection", "anomaly detection")
              for article in ("a", "the")]  # fmt: skip


def prompts(preset, class_name):
    """The normal and the anomalous prompts."""
    templates = list(TEMPLATES)
    if preset in ("anomalib", "zqhang"):
        templates.remove("a cropped photo of a {}.")
        templates[templates.index("a jpeg corrupted photo of a {}.")] = "a jpeg corrupted photo of the {}."
    if preset == "caoyunkang":
        templates = [template.rstrip(".") for template in templates]
    # Not str.format: the class name may hold braces.
    fill = lambda states: [t.replace("{}", s.replace("{}", class_name, 1), 1) for s in states for t in templates]
    return fill(NORMAL), fill(ANOMALOUS)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def prototypes(preset, normal, anomalous):
    """Unit vectors [2, E] from the raw embeddings of the two lists of prompts."""
    pool = unit if preset == "paper" else lambda rows: rows
    return unit(np.stack([pool(np.asarray(rows, np.float64)).mean(0) for rows in (normal, anomalous)]))


def harmonic(values):
    """The harmonic mean along the first axis; 0 where a value is 0."""
    with np.errstate(divide="ignore"):
        return len(values) / (1.0 / np.asarray(values)).sum(0)


def over_patches(values, grid, scale, mean):
    """[G, G] from one value a window: `mean` over the windows that cover each patch."""
    places = grid - scale + 1
    values = np.asarray(values).reshape(places, places)
    out = np.empty((grid, grid))
    for row in range(grid):
        for column in range(grid):
            covering = [values[top, left] for top in range(places) for left in range(places)
                        if top <= row < top + scale and left <= column < left + scale]  # fmt: skip
            out[row, column] = mean(np.array(covering))
    return out


def language(preset, features, text):
    """s(whole picture) and the language map [G, G]."""
    tau = 0.01 if preset == "caoyunkang" else 0.07

    def anomalous(rows):
        logits = unit(np.asarray(rows, np.float64)) @ text.T / tau
        return 1.0 / (1.0 + np.exp(logits[..., 0] - logits[..., 1]))

    grid = grid_of(features)
    whole = anomalous(features["image"])
    scores = {scale: anomalous(rows) for scale, rows in features["windows"].items()}
    if preset == "caoyunkang":
        odds = [over_patches(1.0 / (1.0 - s), grid, scale, np.mean) for scale, s in scores.items()]
        return whole, 1.0 - 1.0 / np.mean(odds, axis=0)
    maps = [over_patches(s, grid, scale, harmonic) for scale, s in scores.items()]
    return whole, harmonic(maps + [np.full((grid, grid), whole)])


def visual(features, references, maps, patches, mean):
    """The mean of the visual maps in `maps` (`"patch"` or a scale), [G, G]."""
    grid = grid_of(features)
    rows = lambda f, which: np.asarray(f[patches] if which == "patch" else f["windows"][which], np.float64)
    out = []
    for which in maps:
        gallery = unit(np.concatenate([rows(reference, which) for reference in references]))
        nearest = np.clip((1.0 - unit(rows(features, which)) @ gallery.T).min(1) / 2.0, 0.0, 1.0)
        out.append(nearest.reshape(grid, grid) if which == "patch" else over_patches(nearest, grid, which, mean))
    return np.mean(out, axis=0)


def judge(preset, features, text, references=()):
    """The image score and the map [G, G]; few-shot with references."""
    whole, words = language(preset, features, text)
    cao = preset == "caoyunkang"
    if not references:
        words = words / 2.0 if cao else words
        return (words.max() if cao else whole), words
    maps = list(SCALES) if cao else ["patch", *SCALES]
    patches = "patches_after_ln_post" if preset == "anomalib" else "patches"
    seen = visual(features, references, maps, patches, np.mean if cao else harmonic)
    if cao:
        both = harmonic([words, seen]) / 2.0
        return both.max(), both
    score = (whole + seen.max()) / 2.0
    return score, {"paper": seen, "anomalib": (words + seen) / 2.0, "zqhang": words + seen}[preset]


def judge_without_text(features, references, maps):
    """DINOv2: the visual map, and the mean of its highest 1 % (AnomalyDINO, arXiv 2405.14529)."""
    seen = visual(features, references, maps, "patches", harmonic)
    return np.sort(seen, axis=None)[::-1][: max(1, seen.size // 100)].mean(), seen


def grid_of(features):
    return round(len(features["patches"]) ** 0.5)
