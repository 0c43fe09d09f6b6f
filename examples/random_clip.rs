//! Writer of an open_clip hub folder of ViT-B-16-plus-240 with random weights: `random_clip SEED OUT`.
//! Speed and memory do not depend on the values of the weights; its verdicts mean nothing.

use half::f16;
use rand::{Rng, SeedableRng, rngs::StdRng};
use safetensors::{Dtype, tensor::TensorView};
use std::error::Error;
use std::path::Path;

/// Width, blocks, width of the MLP.
type Tower = (usize, usize, usize);
const VISION: Tower = (896, 12, 3584);
const TEXT: Tower = (640, 12, 2560);
const EMBED: usize = 640;
const GRID: usize = 15;
const PATCH: usize = 16;
const CONTEXT: usize = 77;
const VOCABULARY: usize = 49408;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [seed, out] = arguments.as_slice() else {
        return Err("usage: random_clip SEED OUT".into());
    };

    let mut random = StdRng::seed_from_u64(seed.parse()?);
    let out = Path::new(out);
    let shapes = shapes();
    let bytes: Vec<Vec<u8>> = shapes
        .iter()
        .map(|(name, shape)| fill(&mut random, name, shape))
        .collect();

    let mut views = vec![];
    for ((name, shape), bytes) in shapes.iter().zip(&bytes) {
        views.push((
            name.as_str(),
            TensorView::new(Dtype::F16, shape.clone(), bytes)?,
        ));
    }

    std::fs::create_dir_all(out)?;
    safetensors::serialize_to_file(views, None, &out.join("open_clip_model.safetensors"))?;
    let config = serde_json::json!({
        "model_cfg": {
            "embed_dim": EMBED,
            "vision_cfg": {"image_size": GRID * PATCH, "layers": VISION.1, "width": VISION.0, "patch_size": PATCH},
            "text_cfg": {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": TEXT.0, "heads": 10, "layers": TEXT.1},
        },
    });

    std::fs::write(out.join("open_clip_config.json"), config.to_string())?;
    std::fs::write(
        out.join("README.md"),
        "---\nlicense: none needed (random numbers)\n---\n",
    )?;

    Ok(())
}

/// Every tensor that open_clip has for this model.
fn shapes() -> Vec<(String, Vec<usize>)> {
    let mut all = vec![
        ("positional_embedding".to_owned(), vec![CONTEXT, TEXT.0]),
        (
            "token_embedding.weight".to_owned(),
            vec![VOCABULARY, TEXT.0],
        ),
        ("text_projection".to_owned(), vec![TEXT.0, EMBED]),
        ("visual.class_embedding".to_owned(), vec![VISION.0]),
        (
            "visual.positional_embedding".to_owned(),
            vec![1 + GRID * GRID, VISION.0],
        ),
        (
            "visual.conv1.weight".to_owned(),
            vec![VISION.0, 3, PATCH, PATCH],
        ),
        ("visual.proj".to_owned(), vec![VISION.0, EMBED]),
    ];

    for (norm, width) in [
        ("ln_final", TEXT.0),
        ("visual.ln_pre", VISION.0),
        ("visual.ln_post", VISION.0),
    ] {
        put_pair(&mut all, norm, vec![width], width);
    }

    for (place, (width, blocks, mlp)) in [("", TEXT), ("visual.", VISION)] {
        for block in 0..blocks {
            let name = |part: &str| format!("{place}transformer.resblocks.{block}.{part}");
            put_pair(&mut all, &name("ln_1"), vec![width], width);
            put_pair(&mut all, &name("ln_2"), vec![width], width);
            put_pair(&mut all, &name("attn.out_proj"), vec![width, width], width);
            put_pair(&mut all, &name("mlp.c_fc"), vec![mlp, width], mlp);
            put_pair(&mut all, &name("mlp.c_proj"), vec![width, mlp], width);
            all.push((name("attn.in_proj_weight"), vec![3 * width, width]));
            all.push((name("attn.in_proj_bias"), vec![3 * width]));
        }
    }

    all
}

fn put_pair(all: &mut Vec<(String, Vec<usize>)>, name: &str, weight: Vec<usize>, bias: usize) {
    all.push((format!("{name}.weight"), weight));
    all.push((format!("{name}.bias"), vec![bias]));
}

/// Values of a tensor as before training: norms one, biases zero, everything else uniform within
/// +-0.035.
fn fill(random: &mut StdRng, name: &str, shape: &[usize]) -> Vec<u8> {
    let norm = name.contains("ln_") && name.ends_with("weight");
    let bias = name.ends_with("bias");
    let length: usize = shape.iter().product();
    let mut bytes = Vec::with_capacity(2 * length);
    for _ in 0..length {
        let value = if norm {
            1.0
        } else if bias {
            0.0
        } else {
            random.random_range(-0.035..0.035f32)
        };

        bytes.extend(f16::from_f32(value).to_le_bytes());
    }

    bytes
}
