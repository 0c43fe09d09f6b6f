"""Is a thinned gallery worth what it costs? A whole one, thinned ones and a small one on the same draws of references.

    tools/figures/measure thinned MODEL SET GOOD [--fit keep] [--references 64] [--to 8] [--draws 10] [--held 80]

SET is a data set of docs/evaluate.md, whose test pictures are judged; GOOD is a folder of other good parts, of which the last
`--held` are parts to come and the others are drawn from. Rows are chosen by a copy of src/winclip/thinning.rs (`turns`), for each
reference by itself (`alone`), and by chance. Told for each way: image AUROC with its deviation; the share of parts to come that fail
by `auto` (1.1 times the highest left-out score) and by a rate of 5 % (the rule of src/recipe/conformal.rs), both out of
left-out references; the share of bad parts that fail by them; the mean score of references left out and of parts to come.
"""
import argparse
import pathlib

import inspected
import numpy as np
from inspected import unit

RATE = 0.05


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("set", type=pathlib.Path)
    parser.add_argument("good", type=pathlib.Path)
    parser.add_argument("--fit", default="squash")
    parser.add_argument("--block", type=int, default=9)
    parser.add_argument("--references", type=int, default=64)
    parser.add_argument("--to", type=int, default=8)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--held", type=int, default=80)
    return parser.parse_args()


def cells(asked, files):
    """Unit features [picture, cell, D]."""
    size = [] if asked.fit == "keep" else ["--input-px", 224]
    words = ["--block", asked.block, "--maps", "patch", "--fit", asked.fit, *size]
    tokens = inspected.inspect(asked.model, files, files[:1], *words)[f"block{asked.block}"]
    return np.array([unit(token[1:]) for token in tokens], np.float32)


def score(shown, rows):
    """The mean of the highest 1 % of the cells' distances, at least one, as `winspect` scores DINOv2."""
    found = np.sort((1 - (shown @ rows.T).max(1)) / 2)[::-1]
    return found[: max(1, len(found) // 100)].mean()


def in_turns(references, quota):
    """The rows that each of the references [reference, cell, D] keeps, as src/winclip/thinning.rs chooses them."""
    count, each = references.shape[:2]
    rows = references.reshape(count * each, -1)
    similarity = rows @ rows.sum(0)
    kept = np.zeros((count, each), bool)
    for turn in range(quota):
        picks = similarity.reshape(count, each).argmin(1)
        alike = (rows @ references[np.arange(count), picks].T).max(1)
        similarity = alike if turn == 0 else np.maximum(similarity, alike)
        kept[np.arange(count), picks] = True
        similarity[kept.reshape(-1)] = np.inf
    return [one[mask] for one, mask in zip(references, kept)]


def galleries(asked, references, random):
    """For each way: the references whose rows it has, and those rows."""
    count, each = references.shape[:2]
    quota = -(-asked.to * each // count)
    drawn = [one[np.sort(random.choice(each, quota, replace=False))] for one in references]
    alone = [in_turns(one[None], quota)[0] for one in references]
    return {
        "whole": (references, list(references)),
        "turns": (references, in_turns(references, quota)),
        "alone": (references, alone),
        "chance": (references, drawn),
        f"{asked.to} references": (references[: asked.to], list(references[: asked.to])),
    }


def judged(references, kept, tested, is_bad, to_come):
    rows = np.concatenate(kept)
    scores, good = (np.array([score(one, rows) for one in shown]) for shown in (tested, to_come))
    others = lambda left_out: np.concatenate([own for number, own in enumerate(kept) if number != left_out])
    left_out = np.array([score(one, others(number)) for number, one in enumerate(references)])
    place = int(RATE * (len(left_out) + 1) + 1e-9)
    auto, rate = 1.1 * left_out.max(), np.sort(left_out)[-place] if place else np.inf
    above = scores[is_bad][:, None] - scores[~is_bad]
    auroc = (above > 0).mean() + (above == 0).mean() / 2
    fails = [(of > limit).mean() for limit in (auto, rate) for of in (good, scores[is_bad])]
    return [auroc, *fails, left_out.mean(), good.mean()]


def main():
    asked = arguments()
    good = inspected.pictures(asked.good)
    _, files, masks = inspected.data_set(asked.set)
    is_bad = np.array([mask is not None for mask in masks])
    pool, to_come = good[: -asked.held], good[-asked.held :]
    pool, to_come, tested = (cells(asked, shown) for shown in (pool, to_come, files))
    found = {}
    for draw in range(asked.draws):
        random = np.random.default_rng(draw)
        references = pool[random.choice(len(pool), asked.references, replace=False)]
        for way, (own, kept) in galleries(asked, references, random).items():
            found.setdefault(way, []).append(judged(own, kept, tested, is_bad, to_come))
    print("AUROC ±; fail by auto: to come, bad; by rate: to come, bad; mean score: left out, to come")
    for way, all_draws in found.items():
        mean, deviation = np.mean(all_draws, 0), np.std(all_draws, 0, ddof=1)
        print(f"{way:<14}{mean[0]:.4f} ± {deviation[0]:.4f}  " + "  ".join(f"{value:.4f}" for value in mean[1:]))


if __name__ == "__main__":
    main()
