//! One graph to one plan: the typed graph as a file, the profiles that its shapes need, the library's builder.

use super::key::Target;
use super::library::Library;
use super::raw::{Builder, Capabilities, Memory, Monitor, Shapes, Step};
use crate::engine::graphs::typed_graph;
use crate::engine::network::{Precision, TowerPart};
use crate::engine::{EncodePlan, EngineError};
use crate::model::ModelFolder;
use std::path::Path;

/// What is built.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    pub model: &'a ModelFolder,
    pub plan: &'a EncodePlan,
    pub precision: Precision,
    /// Looks that the trunk takes at once, at most.
    pub looks_max: usize,
    pub target: Target,
}

/// How far a build is.
#[derive(Debug, Clone)]
pub struct Progress {
    pub part: TowerPart,
    pub step: Step,
}

/// Who is told; from threads of the library.
pub type Told<'a> = dyn Fn(Progress) + Sync + 'a;

/// A plan, and the timing cache where the library keeps one.
pub(super) struct Built<'a> {
    pub plan: Memory<'a>,
    pub cache: Option<Memory<'a>>,
}

/// `NetworkDefinitionCreationFlag::kSTRONGLY_TYPED` of TensorRT 10; later versions know nothing else.
const STRONGLY_TYPED: u32 = 1 << 1;

/// `BuilderFlag::kTF32`, which is set from the start.
const TF32_TEN: i32 = 7;
const TF32_ELEVEN: i32 = 6;

/// `BuilderFlag::kREQUIRE_USER_ALLOCATION` of TensorRT-RTX: a run allocates nothing, so that it can be captured.
const REQUIRE_USER_ALLOCATION: i32 = 28;

/// `ComputeCapability::kCURRENT`: the GPU of this machine.
const CURRENT: u32 = 1;

/// Builds `part` of the order; `work` is a folder for the files that the parser reads.
///
/// # Errors
/// [`EngineError::Unavailable`] with the library's words; what the graph's own errors are.
pub(super) fn build<'a>(
    library: &'a Library,
    order: &Order,
    part: TowerPart,
    work: &Path,
    cache: &[u8],
    told: &Told,
) -> Result<Built<'a>, EngineError> {
    let parser = library.parser()?;
    let failed = |words: String| {
        EngineError::Unavailable(format!(
            "{} cannot build {}: {words}",
            library.name(),
            part.file()
        ))
    };
    let strongly_typed = if library.has_ten_flags() {
        STRONGLY_TYPED
    } else {
        0
    };
    let builder = Builder::new(
        library.loaded(),
        library.number(),
        library.slots(),
        library.logger(),
        strongly_typed,
    )
    .map_err(failed)?;
    if let Some(slots) = library.rtx() {
        let list = match &order.target {
            Target::Device { .. } => &[CURRENT],
            Target::Capabilities(list) => list.as_slice(),
        };
        builder
            .target(&Capabilities { slots, list })
            .map_err(|words| {
                EngineError::Plan(format!(
                    "{} {words} (1.7 knows 75, 80, 86, 89, 120 and 121)",
                    library.name()
                ))
            })?;
    }
    if library.rtx().is_some() {
        builder.set_flag(REQUIRE_USER_ALLOCATION);
    }
    if order.precision == Precision::Fp32 {
        builder.clear_flag(if library.has_ten_flags() {
            TF32_TEN
        } else {
            TF32_ELEVEN
        });
    }
    for dims in profiles(order, part) {
        builder
            .add_profile(&[Shapes {
                input: input(part),
                dims,
            }])
            .map_err(failed)?;
    }
    let onnx = typed_graph(order.model, order.plan, part, order.precision)?.write(work)?;
    let step = |step: Step| told(Progress { part, step });
    let (plan, cache) = builder
        .build(&parser, &onnx, cache, &Monitor::new(&step))
        .map_err(failed)?;
    Ok(Built { plan, cache })
}

/// The graph's input.
pub(super) fn input(part: TowerPart) -> &'static str {
    match part {
        TowerPart::Trunk => "pixels",
        TowerPart::Windows => "tokens",
    }
}

/// Smallest, best and largest dims of the input, a profile each: the trunk has one, the windows one a scale, whose
/// token count is fixed. Best is one look: a line judges one part at a time. Of windows there may be fewer than a whole look
/// has: cells that do not count leave some out.
fn profiles(order: &Order, part: TowerPart) -> Vec<[Vec<usize>; 3]> {
    let (side, looks, width) = (order.plan.side, order.looks_max, order.model.spec.width);
    let grid = side / order.model.spec.patch;
    match part {
        TowerPart::Trunk => vec![[1, 1, looks].map(|count| vec![count, 3, side, side])],
        TowerPart::Windows => order
            .plan
            .scales
            .iter()
            .map(|&scale| {
                let places = (grid - scale + 1) * (grid - scale + 1);
                [1, places, looks * places].map(|count| vec![count, 1 + scale * scale, width])
            })
            .collect(),
    }
}
