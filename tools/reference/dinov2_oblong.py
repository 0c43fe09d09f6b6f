"""Writes tests/golden/dinov2-tiny/oblong.safetensors: transformers' tokens of oblong pictures.

Random pixels [3, height, width] through transformers' Dinov2Model with the golden folder's weights, in fp32. Its own code
interpolates the positions (bicubic, no antialiasing). Run with the Python that tools/reference/anomalib-venv prints.
"""
import pathlib

import safetensors.torch
import torch
from transformers import Dinov2Model

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/dinov2-tiny"
SIZES = ((126, 56), (42, 140), (70, 84))  # height and width in pixels; a patch has 14
BLOCKS = (1, 4)


def keeper(kept, block):
    """A hook that keeps the tokens behind a block; some versions wrap them into a tuple."""

    def hook(_layer, _inputs, told):
        kept[block] = told[0] if isinstance(told, tuple) else told

    return hook


def main():
    model = Dinov2Model.from_pretrained(FOLDER, dtype=torch.float32, attn_implementation="eager").eval()
    random = torch.Generator().manual_seed(16)
    tensors = {}
    for height, width in SIZES:
        name = f"{height}x{width}"
        pixels = torch.randn((1, 3, height, width), generator=random)
        kept = {}
        hooks = [layer.register_forward_hook(keeper(kept, block)) for block, layer in enumerate(model.encoder.layer, 1)]
        with torch.no_grad():
            told = model(pixels)
        for hook in hooks:
            hook.remove()
        tensors[f"pixels.{name}"] = pixels[0]
        tensors[f"final_norm.{name}"] = told.last_hidden_state[0]
        for block in BLOCKS:
            tensors[f"block{block}.{name}"] = kept[block][0]
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    source = {"source": "transformers Dinov2Model on random pixels"}
    safetensors.torch.save_file(whole, FOLDER / "oblong.safetensors", metadata=source)


if __name__ == "__main__":
    main()
