//! Layer 5: a line's configuration: text to a checked [`LineConfig`], every problem at once.
//!
//! The file first, then the environment (`WINSPECT__MQTT__HOST=...`). Unknown keys are refused with the nearest
//! known one. Paths in the file are relative to the file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A whole line, checked: holding one is proof that every value is in its range and every named file was there.
#[derive(Debug, Clone)]
pub struct LineConfig {
    /// `<prefix>/<station>` begins every topic.
    pub prefix: String,
    pub station: String,
    /// An imported model folder.
    pub model: PathBuf,
    pub backend: Backend,
    /// Where libonnxruntime is, when it is neither beside the executable nor in `engines/lib`.
    pub onnxruntime: Option<PathBuf>,
    /// Threads of the encoder; nothing means one a core.
    pub threads: Option<usize>,
    pub recipe: RecipeConfig,
    /// At least one; names are unique.
    pub cameras: Vec<CameraConfig>,
    pub mqtt: MqttConfig,
    /// Where overlays are also written as files (newest kept, bounded); nothing for none.
    pub overlays: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    #[default]
    Auto,
    Onnx,
}

/// `threshold`: a number, or `auto` times `auto_factor`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    Fixed(f32),
    /// The highest leave-one-out score of the references, times this factor.
    Auto {
        factor: f32,
    },
    /// Nothing was said: every part is `undecided(not_ready)`.
    None,
}

#[derive(Debug, Clone)]
pub struct RecipeConfig {
    pub name: String,
    pub revision: u32,
    /// What is inspected, the algorithm's side of the recipe.
    pub winclip: crate::winclip::Recipe,
    /// Pictures of good parts: files, or folders of files. Empty for zero-shot.
    pub references: Vec<PathBuf>,
    pub threshold: Threshold,
}

/// One camera: which pipeline, and what fills its places.
#[derive(Debug, Clone)]
pub struct CameraConfig {
    pub name: String,
    /// `rtsp`, `file`, `folder`, `test`: a file of `pipelines/`.
    pub kind: String,
    /// Values for the pipeline's parameters, checked against its file.
    pub values: BTreeMap<String, String>,
    /// A verdict later than this after arrival is late.
    pub deadline: Duration,
    /// No frame for this long: the camera is asked again (a live camera only).
    pub stall: Duration,
}

#[derive(Debug, Clone)]
pub struct MqttConfig {
    pub host: String,
    pub port: u16,
    pub client_id: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// Plain TCP to another machine than this one.
    pub allow_insecure: bool,
    /// Results that may wait while the broker is away; the oldest are given up beyond it, counted and reported.
    pub waiting_max: usize,
    pub heatmaps: Heatmaps,
    /// Which MQTT client-side time a late verdict is still of use to the gate: added to the deadline for expiry.
    pub reject_window: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Heatmaps {
    /// `fail` and `undecided` parts.
    #[default]
    Fail,
    All,
    None,
}

/// A password: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The one way to the words themselves.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}
