"""Must WinCLIP encode each window as a sequence of its own? Windows that share one pass over the grid, against that.

    tools/figures/measure shared_windows MODEL DATA_SET [--input-px 224] [--pictures 4] [--class-name NAME]

Gathered (what winspect does): each window of k x k patches goes through all blocks alone, with a class token of its own:
1 + k k rows a window. Shared: each window still has a class token of its own, which reads that window's patches in every
block, but a patch is one row a block for all windows. What a patch reads differs:
    tiles          as in Swin (Liu et al., ICCV 2021): its k x k tile, and the class token of the window that is this
                   tile; in every second block the tiles lie k // 2 further
    neighbourhood  all patches of the windows that hold it, and their class tokens
    picture        all patches and the picture's class token: the rows that the picture's own pass has anyway

Printed, for each scale and way: operations, and processor time in NumPy in the same run, as shares of the gathered ones'
(without the picture's own pass, which WinCLIP needs in any case; what is not read is computed and masked here); the mean
cosine of the windows' features with the gathered ones; the rank correlation of the cells of the few-shot map; and the image
AUROC of that map alone (mean of the highest 1 % of its cells), all of train/good as references. The gathered features are
computed here too, and held against winspect's.
"""
import argparse
import os
import pathlib
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads that wait for each other would count as work

import inspected
import numpy as np
import onnx
import onnxruntime
from inspected import unit
from onnx import numpy_helper
from scipy.special import erf
from scipy.stats import spearmanr

WAYS = ("tiles", "neighbourhood", "picture")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--class-name", help="of a model with words")
    parser.add_argument("--input-px", type=int, default=224)
    parser.add_argument("--pictures", type=int, default=4, help="pictures that are timed and gathered here too")
    return parser.parse_args()


class Tower:
    """The blocks of an imported model, in NumPy."""

    def __init__(self, model):
        graph = onnx.load(model / "windows.onnx").graph
        self.weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        nodes = {node.op_type: node for node in graph.node}
        self.is_quick = "Erf" not in nodes  # x sigmoid(1.702 x), OpenAI's
        norm = next(node for node in graph.node if node.op_type == "LayerNormalization")
        self.epsilon = next(float(some.f) for some in norm.attribute if some.name == "epsilon")
        split = self.weights["head_split"]
        self.heads = int(split[2])
        self.blocks = sum(name.endswith("norm1.weight") for name in self.weights)
        self.width = len(self.weights["b1.norm1.weight"])
        self.mlp = len(self.weights["b1.up.bias"])

    def linear(self, rows, name):
        return rows @ self.weights[f"{name}.weight"] + self.weights.get(f"{name}.bias", 0)

    def norm(self, rows, name):
        apart = rows - rows.mean(-1, keepdims=True)
        apart /= np.sqrt((apart**2).mean(-1, keepdims=True) + self.epsilon)
        return apart * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def block(self, rows, number, attend):
        """One block on rows [.., T, D]; `attend(q, k, v)` mixes the values."""
        name = f"b{number}"
        normed = self.norm(rows, f"{name}.norm1")
        mixed = attend(*(self.linear(normed, f"{name}.{part}") for part in ("query", "key", "value")))
        rows = rows + self.linear(mixed, f"{name}.out")
        raised = self.linear(self.norm(rows, f"{name}.norm2"), f"{name}.up")
        active = raised / (1 + np.exp(-1.702 * raised)) if self.is_quick else raised * (1 + erf(raised / 2**0.5)) / 2
        return rows + self.linear(active, f"{name}.down")

    def head(self, rows):
        normed = self.norm(rows, "norm_post")
        return self.linear(normed, "projection") if "projection.weight" in self.weights else normed

    def dense(self, q, k, v, unread=0.0):
        """Rows [.., T, D] read rows [.., K, D]; `unread` [T, K] is minus infinity where one does not read the other."""
        apart = lambda rows: rows.reshape(*rows.shape[:-1], self.heads, -1).swapaxes(-2, -3)
        # The queries of an imported model are already divided by the root of the head's width.
        shares = softmax(apart(q) @ apart(k).swapaxes(-1, -2) + unread)
        return (shares @ apart(v)).swapaxes(-2, -3).reshape(q.shape)

    def listed(self, reads, rows):
        """Each row reads, of so many rows, those that are listed for it."""
        unread = np.full((len(reads), rows), -np.inf, np.float32)
        for row, some in enumerate(reads):
            unread[row, some] = 0
        return lambda q, k, v: self.dense(q, k, v, unread)


def cubic(cells, native):
    """Torch's bicubic interpolation (a = -0.75, no aligned corners) as a matrix [cells, native]."""
    weights = np.zeros((cells, native))
    for row, place in enumerate((np.arange(cells) + 0.5) * native / cells - 0.5):
        for at in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            far, a = abs(place - at), -0.75
            near = (a + 2) * far**3 - (a + 3) * far**2 + 1
            weights[row, min(max(at, 0), native - 1)] += near if far <= 1 else a * (far**3 - 5 * far**2 + 8 * far - 4)
    return weights


def first_tokens(model, pictures):
    """A picture's tokens [1 + P, D] before the first block, with the positions of its own grid."""
    trunk = onnx.load(model / "trunk.onnx")
    positions = next(tensor for tensor in trunk.graph.initializer if tensor.name == "positions")
    patch = next(tensor for tensor in trunk.graph.initializer if tensor.name == "convolution").dims[-1]
    native = numpy_helper.to_array(positions)
    side, cells = round(native.shape[1] ** 0.5), pictures[0].shape[1] // patch
    if cells != side:
        grid, matrix = native.reshape(side, side, -1), cubic(cells, side)
        resized = np.einsum("ay,bx,yxd->abd", matrix, matrix, grid).reshape(1, cells * cells, -1)
        positions.CopyFrom(numpy_helper.from_array(resized.astype(np.float32), "positions"))
    session = onnxruntime.InferenceSession(trunk.SerializeToString())
    return [session.run(["tokens"], {"pixels": pixels[None]})[0][0] for pixels in pictures]


def softmax(values):
    raised = np.exp(values - values.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def windows(side, scale):
    """The patches [W, k k] of each window."""
    places = range(side - scale + 1)
    tops, inner = np.array(places) * side, np.arange(scale)
    corners = (tops[:, None] + np.array(places)).reshape(-1, 1)
    return corners + (inner[:, None] * side + inner).reshape(1, -1)


def patch_reads(side, scale, way, shift, covered):
    """What each patch reads. Rows: patches, then the windows' class tokens."""
    lists = []
    of_tile = {tuple(sorted(window)): number for number, window in enumerate(covered.tolist())}
    for patch in range(side * side):
        row, column = divmod(patch, side)
        if way == "tiles":
            tile = lambda y, x: ((y + shift) // scale, (x + shift) // scale)
            near = [p for p in range(side * side) if tile(*divmod(p, side)) == tile(row, column)]
            own = of_tile.get(tuple(near))
            lists.append(near + ([side * side + own] if own is not None else []))
        else:
            holding = np.nonzero((covered == patch).any(1))[0]
            lists.append([*np.unique(covered[holding]), *(side * side + holding)])
    return lists


def shared(tower, side, scale, way):
    """A function from a picture's tokens before each block to its windows' features [W, E], and its operations."""
    patches, covered = side * side, windows(side, scale)
    own = [[*window, patches + number] for number, window in enumerate(covered.tolist())]
    if way == "picture":
        # The picture's own pass has the patches in any case; the class tokens of the windows are all that is added.
        attend = tower.listed(own, patches + len(own))

        def encode(states):
            heads = np.repeat(states[0][:1], len(own), 0)
            for number in range(1, tower.blocks + 1):
                heads = class_tokens(tower, states[number - 1], heads, attend, number)
            return tower.head(heads)

        return encode, operations(tower, len(own), sum(map(len, own)))
    reads = [patch_reads(side, scale, way, shift, covered) + own for shift in (0, scale // 2)]
    steps = [tower.listed(some, patches + len(own)) for some in reads]

    def encode(states):
        rows = np.concatenate([states[0][1:], np.repeat(states[0][:1], len(own), 0)])
        for number in range(1, tower.blocks + 1):
            rows = tower.block(rows, number, steps[(number - 1) % 2])
        return tower.head(rows[patches:])

    return encode, operations(tower, len(own) + patches, np.mean([sum(map(len, some)) for some in reads]))


def class_tokens(tower, rows, heads, attend, number):
    """The windows' class tokens after one more block, `rows` those of the picture before it."""
    normed = tower.norm(rows[1:], f"b{number}.norm1")
    keys, values = (tower.linear(normed, f"b{number}.{part}") for part in ("key", "value"))
    return tower.block(heads, number, lambda q, k, v: attend(q, np.concatenate([keys, k]), np.concatenate([values, v])))


def own_pass(tower, tokens):
    """The picture's tokens [1 + P, D] before each block."""
    states = [tokens]
    for number in range(1, tower.blocks):
        states.append(tower.block(states[-1], number, tower.dense))
    return states


def gathered(tower, tokens, covered):
    rows = np.concatenate([np.repeat(tokens[None, :1], len(covered), 0), tokens[1:][covered]], 1)
    for number in range(1, tower.blocks + 1):
        rows = tower.block(rows, number, tower.dense)
    return tower.head(rows[:, 0])


def operations(tower, rows, pairs):
    """Multiplications and additions of all blocks: rows through the matrices, pairs of query and key."""
    return tower.blocks * (rows * (8 * tower.width**2 + 4 * tower.width * tower.mlp) + 4 * pairs * tower.width)


def map_of(features, gallery, covered, cells):
    """The few-shot map [cells]: the harmonic mean of the distances of the windows over each cell."""
    apart = np.clip((1 - (unit(features) @ gallery.T).max(1)) / 2, 1e-9, 1)
    total, count = np.zeros(cells), np.zeros(cells)
    np.add.at(total, covered, 1 / apart[:, None])
    np.add.at(count, covered, 1)
    return count / total


def judged(all_features, references, covered, side):
    """The maps of the test pictures, and their scores."""
    gallery = unit(np.concatenate(all_features[:references]))
    maps = [map_of(features, gallery, covered, side * side) for features in all_features[references:]]
    return np.array(maps), [np.sort(m)[::-1][: max(1, len(m) // 100)].mean() for m in maps]


def main():
    asked = arguments()
    references, files, masks = inspected.data_set(asked.data)
    bad = np.array([mask is not None for mask in masks])
    tower = Tower(asked.model)
    words = ["--input-px", asked.input_px, "--maps", "2,3"]
    words += ["--class-name", asked.class_name] if asked.class_name else []
    found = inspected.inspect(asked.model, references + files, references[:1], *words)
    passes = [own_pass(tower, tokens) for tokens in first_tokens(asked.model, found["squash"])]
    side = round((len(passes[0][0]) - 1) ** 0.5)
    about = f"{side} x {side} cells, {tower.blocks} blocks of {tower.width}"
    print(f"{asked.model.name}: {len(passes)} pictures, {about}", flush=True)
    for scale in (2, 3):
        covered = windows(side, scale)
        theirs = found[f"encode.windows{scale}"]
        begin = time.process_time()
        ours = [gathered(tower, states[0], covered) for states in passes[: asked.pictures]]
        seconds = time.process_time() - begin
        apart = max(np.abs(unit(a) - unit(b)).max() for a, b in zip(ours, theirs))
        whole = operations(tower, covered.size + len(covered), len(covered) * (scale**2 + 1) ** 2)
        maps, scores = judged(theirs, len(references), covered, side)
        roc = inspected.auroc(np.array(scores)[~bad], np.array(scores)[bad])
        told = f"{whole / 1e9:.2f} GFLOP a picture; {apart:.0e} off winspect's; image AUROC {roc:.3f}"
        print(f"scale {scale}  gathered       {told}", flush=True)
        for way in WAYS:
            encode, count = shared(tower, side, scale, way)
            begin = time.process_time()
            for states in passes[: asked.pictures]:
                encode(states)
            share = (time.process_time() - begin) / seconds
            features = [encode(states) for states in passes]
            cosine = np.mean([(unit(a) * unit(b)).sum(1).mean() for a, b in zip(features, theirs)])
            others, scores = judged(features, len(references), covered, side)
            ranks = spearmanr(maps.ravel(), others.ravel()).statistic
            roc = inspected.auroc(np.array(scores)[~bad], np.array(scores)[bad])
            print(
                f"scale {scale}  {way:14} operations {count / whole:.2f}  time {share:.2f}  cosine {cosine:.3f}  "
                f"ranks of cells {ranks:.3f}  image AUROC {roc:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
