#!/usr/bin/env python3
"""Writes metrics.json: small score vectors and maps, and what scikit-learn 1.9.1, anomalib 2.7.0 (OpenCV 5.0.0) and
torch 2.13 compute of them. Run it in an environment with these; the versions found are written into the file."""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from anomalib.metrics.aupro import _AUPRO
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

SIDE = 32


def f1_max(labels, scores):
    precision, recall, _ = precision_recall_curve(labels, scores)
    return float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300)))


def measures(labels, scores):
    return {
        "auroc": float(roc_auc_score(labels, scores)),
        "average_precision": float(average_precision_score(labels, scores)),
        "f1_max": f1_max(labels, scores),
    }


def vector(random, count, share, digits):
    """Rounded, so that there are ties within and between the labels; negative scores and zeros among them."""
    labels = (random.random(count) < share).astype(int)
    scores = np.round(random.normal(size=count) + labels, digits).astype(np.float32)
    return {"labels": labels.tolist(), "scores": [round(float(s), digits) for s in scores], **measures(labels, scores)}


def masks():
    """None; two squares that touch at a corner, beside one alone; a U, whose arms meet late; a whole picture's rim."""
    none, corner, u, rim = np.zeros((4, SIDE, SIDE), dtype=np.uint8)
    corner[4:8, 4:8] = corner[8:12, 8:12] = corner[20:23, 25:30] = 1
    u[5:20, 6:9] = u[5:20, 15:18] = u[18:20, 6:18] = u[5:8, 11:13] = 1
    rim[[0, -1], :] = rim[:, [0, -1]] = rim[15, 15] = 1
    return np.stack([none, corner, u, rim])


def pictures(random, digits, lift):
    labels = masks()
    maps = np.round(random.normal(size=labels.shape) / 2 + lift * labels, digits).astype(np.float32)
    aupro = _AUPRO(fpr_limit=0.3)
    aupro.update(torch.from_numpy(maps), torch.from_numpy(labels).int())
    return {
        "masks": ["".join(map(str, mask.ravel())) for mask in labels],
        "maps": [[round(float(v), digits) for v in values.ravel()] for values in maps],
        **measures(labels.ravel(), maps.ravel()),
        "aupro": float(aupro.compute()),
    }


def enlarged(random, side, width, height):
    values = np.round(random.random((side, side)), 3).astype(np.float32)
    large = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], size=(height, width), mode="bilinear", align_corners=False
    )
    return {"side": side, "width": width, "height": height, "map": [round(float(v), 3) for v in values.ravel()],
            "enlarged": [round(float(v), 7) for v in large.ravel()]}


def main():
    random = np.random.default_rng(7)
    golden = {
        "versions": {name: version(name) for name in ["scikit-learn", "anomalib", "torch", "opencv-python-headless"]},
        "vectors": [vector(random, 40, 0.5, 0), vector(random, 200, 0.1, 1), vector(random, 100, 0.9, 3)],
        "pictures": [pictures(random, 1, 0.4), pictures(random, 2, 1.0)],
        "enlarged": [enlarged(random, 4, 7, 11), enlarged(random, 5, 3, 2), enlarged(random, 1, 2, 2)],
    }
    Path(__file__).with_name("metrics.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
