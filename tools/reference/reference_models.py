"""Random-weights models in their hub layouts, and the features that open_clip and transformers compute with them.

An encoder here has `spec` (side, patch, mean, std, context), `encode(pixels)` to the features of
`winclip_formulas.py`, and `embed(prompts)` to raw text embeddings. Windows are gathered from the tower's own tokens and
run through the tower's own blocks, in the layout that those blocks ask for.
"""

import json

import open_clip
import torch
from safetensors.torch import load_file, save_file
from winclip_formulas import SCALES

TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
CLIP = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def randomize(model, seed):
    """Weights with which everything matters: an initialisation as before training leaves windows and prompts alike,
    and a wrong bias or norm unseen."""
    draw = torch.Generator().manual_seed(seed)
    for name, p in sorted(model.named_parameters()):
        noise = torch.randn(p.shape, generator=draw)
        if name.endswith("lambda1"):  # DINOv2's layer scale
            p.data = 0.5 + 0.2 * noise
        elif p.dim() == 1 and name.endswith("weight"):  # norms
            p.data = 1 + 0.2 * noise
        elif p.dim() == 0:  # logit_scale
            continue
        elif "embedding" in name and "patch_embedding" not in name or "cls_token" in name:
            p.data = 0.7 * noise
        elif p.dim() == 1:  # biases
            p.data = 0.2 * noise
        else:
            projection = name.endswith(("visual.proj", "text_projection"))
            fan_in = p.shape[0] if projection else p[0].numel()
            p.data = 1.2 * noise / fan_in**0.5
    return model.eval()


def windows_of(tokens):
    """{scale: {class token, scale x scale patches} [W, 1 + scale^2, D]} from tokens [1, 1 + P, D]."""
    grid = round((tokens.shape[1] - 1) ** 0.5)
    cell = lambda row, column: 1 + row * grid + column
    out = {}
    for scale in SCALES:
        span, places = range(scale), range(grid - scale + 1)
        index = [[0] + [cell(top + i, left + j) for i in span for j in span] for top in places for left in places]
        out[scale] = tokens[0, torch.tensor(index)]
    return out


def features(image, patches, after_norm, windows):
    return {
        "image": image[0].numpy(),
        "patches": patches[0, 1:].numpy(),
        "patches_after_ln_post": after_norm[0, 1:].numpy(),
        "windows": {scale: rows.numpy() for scale, rows in windows.items()},
    }


class Hook:
    """What went into (`take=0`) or came out of (`take=1`) a module, kept as `.value`."""

    def __init__(self, module, take):
        module.register_forward_hook(lambda _, given, made: setattr(self, "value", (given[0], made)[take].detach()))


class OpenClip:
    def __init__(self, folder, config, seed, dtype):
        """Writes the hub folder, and reads it back as open_clip's own model in fp32."""
        folder.mkdir(parents=True, exist_ok=True)
        normalisation = config.get("preprocess_cfg", CLIP)
        whole = {"model_cfg": config["model_cfg"], "preprocess_cfg": normalisation}
        (folder / "open_clip_config.json").write_text(json.dumps(whole, indent=2))
        drawn = randomize(open_clip.model.CLIP(**config["model_cfg"]), seed).state_dict()
        stored = {name: t.to(TYPES[dtype]).contiguous() for name, t in drawn.items()}
        save_file(stored, folder / "open_clip_model.safetensors")

        self.model, self.spec = open_clip_model(folder)
        self.tokens, self.last = Hook(self.model.visual.ln_pre, 1), Hook(self.model.visual.ln_post, 0)

    @torch.no_grad()
    def encode(self, pixels):
        visual = self.model.visual
        image = self.model.encode_image(pixels[None])
        tokens, last = self.tokens.value, self.last.value

        def embed(rows):
            rows = visual.transformer(rows.permute(1, 0, 2)).permute(1, 0, 2)  # before 2.26: length first
            return visual.ln_post(rows)[:, 0] @ visual.proj

        windows = {scale: embed(rows) for scale, rows in windows_of(tokens).items()}
        return features(image, last, visual.ln_post(last), windows)

    @torch.no_grad()
    def embed(self, prompts):
        ids = open_clip.tokenize(prompts, self.spec["context"])
        return torch.cat([self.model.encode_text(part) for part in ids.split(32)]).numpy()


class TransformersClip:
    def __init__(self, folder, config, seed, dtype):
        from transformers import CLIPConfig, CLIPModel

        made = randomize(CLIPModel(CLIPConfig(**config)), seed)
        made.to(TYPES[dtype]).save_pretrained(folder)
        write_preprocessor(folder, CLIP)
        self.model = CLIPModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        vision, text = self.model.config.vision_config, self.model.config.text_config
        self.spec = {
            "side": vision.image_size,
            "patch": vision.patch_size,
            "context": text.max_position_embeddings,
            **CLIP,
        }
        tower = self.model.vision_model
        self.tokens, self.last = Hook(tower.pre_layrnorm, 1), Hook(tower.encoder.layers[-1], 1)

    @torch.no_grad()
    def encode(self, pixels):
        tower, project = self.model.vision_model, self.model.visual_projection
        image = project(tower(pixel_values=pixels[None]).pooler_output)
        tokens, last = self.tokens.value, self.last.value
        embed = lambda rows: project(tower.post_layernorm(tower.encoder(inputs_embeds=rows)[0][:, 0]))
        windows = {scale: embed(rows) for scale, rows in windows_of(tokens).items()}
        return features(image, last, tower.post_layernorm(last), windows)

    @torch.no_grad()
    def embed(self, prompts):
        # CLIP's one vocabulary; transformers' own tokenizer needs its files.
        ids = open_clip.tokenize(prompts, self.spec["context"])
        parts = [self.model.text_model(input_ids=part).pooler_output for part in ids.split(32)]
        return self.model.text_projection(torch.cat(parts)).numpy()


class TransformersDino:
    def __init__(self, folder, config, seed, dtype):
        from transformers import Dinov2Config, Dinov2Model

        made = randomize(Dinov2Model(Dinov2Config(**config)), seed)
        made.to(TYPES[dtype]).save_pretrained(folder)
        write_preprocessor(folder, IMAGENET)
        self.model = Dinov2Model.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        self.spec = {"side": self.model.config.image_size, "patch": self.model.config.patch_size, **IMAGENET}
        self.tokens = Hook(self.model.embeddings, 1)
        self.blocks = [Hook(layer, 1) for layer in self.model.encoder.layer]

    @torch.no_grad()
    def encode(self, pixels, block):
        """Patches from block `block`, counted from 1; `class_and_patches` holds the class token too."""
        image = self.model(pixel_values=pixels[None]).pooler_output
        tokens, chosen, last = self.tokens.value, self.blocks[block - 1].value, self.blocks[-1].value

        def embed(rows):
            for layer in self.model.encoder.layer:
                rows = layer(rows)
            return self.model.layernorm(rows)[:, 0]

        windows = {scale: embed(rows) for scale, rows in windows_of(tokens).items()}
        made = features(image, chosen, self.model.layernorm(last), windows)
        return made | {"class_and_patches": chosen[0].numpy()}


def write_preprocessor(folder, normalisation):
    words = {"image_mean": normalisation["mean"], "image_std": normalisation["std"]}
    (folder / "preprocessor_config.json").write_text(json.dumps(words))


def open_clip_model(folder):
    """open_clip's own model of a hub folder, in fp32, and what there is to know of its pixels and prompts."""
    config = json.loads((folder / "open_clip_config.json").read_text())
    model = open_clip.model.CLIP(**config["model_cfg"]).eval()
    model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    visual = model.visual
    sizes = {"side": visual.image_size[0], "patch": visual.patch_size[0], "context": model.context_length}
    return model, sizes | config["preprocess_cfg"]


def anomalib_of(clip, class_name):
    """anomalib's own WinClipModel around an open_clip model, which it changes to give patch tokens too."""
    from anomalib.models.image.winclip import torch_model

    # It knows one pretrained model only.
    torch_model.open_clip.create_model_and_transforms = lambda *_, **__: (clip, None, None)
    return torch_model.WinClipModel(class_name=class_name).eval()
