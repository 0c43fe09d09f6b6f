"""The encoder of ViT-B-16-plus-240 in PyTorch fp16 on this machine's GPU: what winspect's is compared with.

One picture: the trunk on 1 x 226 tokens, windows of 2 x 2 and 3 x 3 patches on 196 x 5 and 169 x 10 tokens, 12 blocks
each, random weights of a fixed seed. Twice: as open_clip computes it, and asking for the class token alone in the last
block of the windows, as winspect's graph does. Each as PyTorch runs it and as a CUDA graph, by the device's clock, from
pixels on the device to embeddings there: no picture, no copy, no score.

    python3 pytorch.py [--device cpu --runs 1]

One JSON line; without PyTorch or a GPU it says why, and ends with 69.
"""

import argparse
import json
import sys

WIDTH, HEADS, BLOCKS, MLP, EMBED = 896, 14, 12, 3584, 640
PATCH, GRID, SCALES = 16, 15, (2, 3)
WARM_UP = 30


def windows(scale):
    """Of each window, the rows of the tokens that it holds: the class token's, then its patches'."""
    corners = [(y, x) for y in range(GRID - scale + 1) for x in range(GRID - scale + 1)]
    inside = [(y, x) for y in range(scale) for x in range(scale)]
    return [[0] + [1 + (top + y) * GRID + left + x for y, x in inside] for top, left in corners]


class Encoder:
    def __init__(self, torch, device, real):
        self.torch, self.f = torch, torch.nn.functional
        generator = torch.Generator().manual_seed(1)

        def drawn(*shape):
            return ((torch.rand(shape, generator=generator) - 0.5) * 0.07).to(device, real)

        def norm():
            return torch.ones(WIDTH, device=device, dtype=real), torch.zeros(WIDTH, device=device, dtype=real)

        def linear(out, into):
            return drawn(out, into), torch.zeros(out, device=device, dtype=real)

        self.patches, self.klass, self.places = drawn(WIDTH, 3, PATCH, PATCH), drawn(1, 1, WIDTH), drawn(1 + GRID**2, WIDTH)
        self.before, self.after, self.projection = norm(), norm(), drawn(WIDTH, EMBED)
        self.blocks = [
            {"first": norm(), "qkv": linear(3 * WIDTH, WIDTH), "out": linear(WIDTH, WIDTH), "second": norm(),
             "wide": linear(MLP, WIDTH), "narrow": linear(WIDTH, MLP)}
            for _ in range(BLOCKS)
        ]
        self.rows = [torch.tensor(windows(scale), device=device) for scale in SCALES]

    def norm(self, x, pair):
        return self.f.layer_norm(x, (WIDTH,), *pair)

    def block(self, x, weights, asking):
        """`asking`: how many of the rows, from the first, have a query, a projection and an MLP; nothing means all."""
        count, rows, _ = x.shape
        normed, (weight, bias) = self.norm(x, weights["first"]), weights["qkv"]

        def heads(y):
            return y.view(count, -1, HEADS, WIDTH // HEADS).transpose(1, 2)

        if asking is None:
            q, k, v = self.f.linear(normed, weight, bias).chunk(3, dim=-1)
        else:
            x = x[:, :asking]
            q = self.f.linear(normed[:, :asking], weight[:WIDTH], bias[:WIDTH])
            k, v = self.f.linear(normed, weight[WIDTH:], bias[WIDTH:]).chunk(2, dim=-1)
        seen = self.f.scaled_dot_product_attention(heads(q), heads(k), heads(v))
        x = x + self.f.linear(seen.transpose(1, 2).reshape(count, -1, WIDTH), *weights["out"])
        wide = self.f.gelu(self.f.linear(self.norm(x, weights["second"]), *weights["wide"]))
        return x + self.f.linear(wide, *weights["narrow"])

    def tower(self, x, saving):
        """Tokens [N, T, D] to embeddings [N, E] of their class tokens."""
        for number, weights in enumerate(self.blocks):
            x = self.block(x, weights, 1 if saving and number == BLOCKS - 1 else None)
        return self.norm(x[:, 0], self.after) @ self.projection

    def __call__(self, pixels, saving):
        x = self.f.conv2d(pixels, self.patches, stride=PATCH).flatten(2).transpose(1, 2)
        x = self.norm(self.torch.cat([self.klass, x], dim=1) + self.places, self.before)
        return [self.tower(x, False)] + [self.tower(x[0][rows], saving) for rows in self.rows]


def timed(torch, run, runs):
    """Milliseconds by the device's clock: p50, p99."""
    for _ in range(WARM_UP):
        run()
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(runs)]
    for before, after in events:
        before.record()
        run()
        after.record()
        torch.cuda.synchronize()
    took = sorted(before.elapsed_time(after) for before, after in events)
    return {"p50_ms": took[(len(took) - 1) // 2], "p99_ms": took[min(len(took) - 1, int(0.99 * len(took)))]}


def captured(torch, run):
    """`run` as a CUDA graph's replay, and what it writes to."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run()
    return graph.replay, out


def off(torch, ours, theirs):
    """The relative error of all embeddings together."""
    ours, theirs = (torch.cat(list(parts)).double().cpu() for parts in (ours, theirs))
    return float((ours - theirs).norm() / theirs.norm())


def ceilings(torch):
    """What this GPU reaches at best: a large fp16 product of random numbers, a copy that counts what it reads and writes."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.float16) for _ in range(2))
    product = timed(torch, lambda: a @ b, 20)["p50_ms"]
    source = torch.empty(2 << 30, device="cuda", dtype=torch.uint8).random_()
    target = torch.empty_like(source)
    copy = timed(torch, lambda: target.copy_(source), 20)["p50_ms"]
    return {"gemm_tflops": 2 * 8192**3 / product / 1e9, "copy_tb_s": 2 * source.numel() / copy / 1e9}


def measure(torch, runs):
    encoder = Encoder(torch, "cuda", torch.float16)
    pixels = torch.randn(1, 3, GRID * PATCH, GRID * PATCH, device="cuda", dtype=torch.float16)
    exact = Encoder(torch, "cuda", torch.float32)(pixels.float(), False)
    told = {}
    for name, saving in (("as open_clip", False), ("class token alone in the last block", True)):
        def run(saving=saving):
            return encoder(pixels, saving)

        replay, out = captured(torch, run)
        eager = timed(torch, run, runs)
        graph = timed(torch, replay, runs)
        told[name] = {"eager": eager, "graph": graph, "error": off(torch, out, exact)}
    return {**told, **ceilings(torch)}


def rehearse(torch):
    """On the CPU, untimed: both ways agree, and each window sees what it should."""
    encoder = Encoder(torch, "cpu", torch.float32)
    pixels = torch.randn(1, 3, GRID * PATCH, GRID * PATCH)
    plain, saving = encoder(pixels, False), encoder(pixels, True)
    return {"shapes": [list(part.shape) for part in plain], "error": off(torch, saving, plain)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError as error:
        print(f"no torch here: {error}", file=sys.stderr)
        return 69
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(f"torch {torch.__version__} is here, but sees no GPU", file=sys.stderr)
        return 69
    with torch.inference_mode():
        told = measure(torch, arguments.runs) if arguments.device == "cuda" else rehearse(torch)
    print(json.dumps({"torch": torch.__version__, **told}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
