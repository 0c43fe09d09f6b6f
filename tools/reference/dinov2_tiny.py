"""Writes the golden folders of DINOv2 with registers and of timm's DINOv2 under tests/golden.

`dinov2-reg-tiny` is transformers' Dinov2WithRegistersModel, in two shards; `timm-dinov2-tiny` and `timm-dinov2-reg-tiny` are
timm's `vit_small_patch14_dinov2` and `vit_small_patch14_reg4_dinov2`, made small by `model_args`. Weights are random, in fp16; golden
tensors are what transformers and timm compute in fp32 of pixels that a formula gives (`pixels`, and again in
tests/it/imported.rs): tokens behind blocks and behind the
final norm (class token, then patches: registers taken out), and the image's embedding, at the native grid, below and above it, and oblong;
and the embeddings of windows of 2 x 2 patches: class token, registers and the window's patches, through all blocks.

Run it in an environment with torch, transformers and timm, such as
python3 -m venv VENV; VENV/bin/pip install torch transformers timm; VENV/bin/python tools/reference/dinov2_tiny.py
"""

import json
import pathlib
import shutil

import torch
from safetensors.torch import load_file, save_file

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests/golden"
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
PATCH, SIDE, BLOCKS, REGISTERS = 14, 112, 3, 4
# Height and width in pixels: native, below, above, oblong.
SIZES = ((112, 112), (56, 56), (126, 126), (42, 126))
KEPT = (1, 3)
WINDOWS_OF = (56, 56)


def randomize(model, seed):
    """Weights with which everything matters: registers, positions, layer scales, biases and norms alike."""
    draw = torch.Generator().manual_seed(seed)
    for name, p in sorted(model.named_parameters()):
        noise = torch.randn(p.shape, generator=draw)
        if name.endswith(("lambda1", "gamma")):  # layer scale
            p.data = 0.5 + 0.2 * noise
        elif p.dim() == 1 and name.endswith("weight"):  # norms
            p.data = 1 + 0.2 * noise
        elif "token" in name or "pos" in name:
            p.data = 0.7 * noise
        elif p.dim() == 1:  # biases
            p.data = 0.2 * noise
        else:
            p.data = 1.2 * noise / p[0].numel() ** 0.5
        p.data = p.data.half().float()
    return model.eval()


def transformers_model(folder):
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(
        image_size=SIDE, patch_size=PATCH, hidden_size=48, num_hidden_layers=BLOCKS, num_attention_heads=3,
        mlp_ratio=2, num_register_tokens=REGISTERS, attn_implementation="eager",
    )  # fmt: skip
    model = randomize(Dinov2WithRegistersModel(config), 16)
    # transformers' own way to write shards: an index and as many files as it takes.
    half = Dinov2WithRegistersModel(config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder, max_shard_size="80KB")
    words = {"image_mean": IMAGENET["mean"], "image_std": IMAGENET["std"]}
    (folder / "preprocessor_config.json").write_text(json.dumps(words))

    def tokens(pixels):
        kept = {}
        hooks = [layer.register_forward_hook(keeper(kept, block)) for block, layer in enumerate(model.encoder.layer, 1)]
        told = model(pixels)
        for hook in hooks:
            hook.remove()
        return kept, told.last_hidden_state, told.pooler_output

    def embed(rows):
        for layer in model.encoder.layer:
            rows = layer(rows)
            rows = rows[0] if isinstance(rows, tuple) else rows
        return model.layernorm(rows)[:, 0]

    return tokens, model.embeddings, embed


def keeper(kept, block):
    """A hook that keeps the tokens behind a block; some versions wrap them into a tuple."""

    def hook(_layer, _inputs, told):
        kept[block] = told[0] if isinstance(told, tuple) else told

    return hook


def timm_model(folder, architecture, seed):
    import timm

    arguments = {"embed_dim": 48, "depth": BLOCKS, "num_heads": 3, "mlp_ratio": 2}
    # Any input size is timm's own way to resample the positions as it runs.
    model = timm.create_model(
        architecture, img_size=SIDE, num_classes=0, dynamic_img_size=True, pretrained=False, **arguments
    )
    randomize(model, seed)
    folder.mkdir(parents=True, exist_ok=True)
    # What `save_for_hf` of timm writes, with the few keys that a hub folder of these models has.
    config = {
        "architecture": architecture,
        "num_classes": 0,
        "num_features": 48,
        "pretrained_cfg": {
            "tag": "random", "custom_load": False, "input_size": [3, SIDE, SIDE], "fixed_input_size": True,
            "interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "center", **IMAGENET, "num_classes": 0,
            "pool_size": None, "first_conv": "patch_embed.proj", "classifier": "head", "license": "apache-2.0",
        },
        "model_args": arguments,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    stored = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(stored, folder / "model.safetensors")
    # The folder is read back by timm itself, which proves that it is one.
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, dynamic_img_size=True).float().eval()

    def tokens(pixels):
        kept = {}
        hooks = [layer.register_forward_hook(keeper(kept, block)) for block, layer in enumerate(model.blocks, 1)]
        last = model.forward_features(pixels)
        image = model.forward_head(last)
        for hook in hooks:
            hook.remove()
        return kept, last, image

    before = lambda pixels: model._pos_embed(model.patch_embed(pixels))
    return tokens, before, lambda rows: model.norm(model.blocks(rows))[:, 0]


def pixels(height, width):
    """[1, 3, height, width], each a multiple of 1/64 from -2 on: exact in every library."""
    c, y, x = torch.meshgrid(torch.arange(3), torch.arange(height), torch.arange(width), indexing="ij")
    return ((37 * x + 101 * y + 53 * c + 3 * x * y) % 256 / 64 - 2)[None]


@torch.no_grad()
def write_golden(folder, model, registers, source):
    tokens, before, embed = model
    tensors = {}
    for height, width in SIZES:
        name = f"{height}x{width}"
        blocks, last, image = tokens(pixels(height, width))
        # The class token comes first, then the registers, then the patches.
        visible = lambda rows: torch.cat([rows[0, :1], rows[0, 1 + registers :]])
        tensors[f"final_norm.{name}"] = visible(last)
        tensors[f"image.{name}"] = image[0]
        for block in KEPT:
            tensors[f"block{block}.{name}"] = visible(blocks[block])
    height, width = WINDOWS_OF
    rows, grid = before(pixels(height, width)), width // PATCH
    own = list(range(1 + registers))
    cell = lambda row, column: 1 + registers + row * grid + column
    places = [(row, column) for row in range(height // PATCH - 1) for column in range(grid - 1)]
    index = [own + [cell(row + i, column + j) for i in range(2) for j in range(2)] for row, column in places]
    tensors[f"windows2.{height}x{width}"] = embed(rows[0, torch.tensor(index)])
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(whole, folder / "golden.safetensors", metadata={"source": source})


def main():
    import timm
    import transformers

    made = [
        ("dinov2-reg-tiny", REGISTERS, transformers_model),
        ("timm-dinov2-tiny", 0, lambda folder: timm_model(folder, "vit_small_patch14_dinov2", 17)),
        ("timm-dinov2-reg-tiny", REGISTERS, lambda folder: timm_model(folder, "vit_small_patch14_reg4_dinov2", 18)),
    ]
    for name, registers, make in made:
        folder = GOLDEN / name
        shutil.rmtree(folder, ignore_errors=True)
        source = f"transformers {transformers.__version__}, timm {timm.__version__}, torch {torch.__version__}"
        write_golden(folder, make(folder), registers, source)


if __name__ == "__main__":
    main()
