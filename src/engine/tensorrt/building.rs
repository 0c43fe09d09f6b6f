//! One graph to one plan: the typed graph as a file, the profiles that its shapes need, the
//! library's builder.

use super::key::PlanTarget;
use super::library::Library;
use super::raw::{Builder, Capabilities, Memory, Monitor, PhaseStep, Shapes};
use crate::engine::graphs::typed_graph;
use crate::engine::network::{Precision, TowerPart};
use crate::engine::{EncodePlan, EngineError};
use crate::model::ModelFolder;
use std::path::Path;

/// A plan to build.
#[derive(Debug, Clone)]
pub struct BuildOrder<'a> {
    /// The model whose graphs are built.
    pub model: &'a ModelFolder,
    /// The outputs and scales that the plan computes.
    pub plan: &'a EncodePlan,
    /// Precision of the network's tensors.
    pub precision: Precision,
    /// The most crops that the trunk takes at once.
    pub looks_max: usize,
    /// The GPU that the plan is for.
    pub target: PlanTarget,
}

/// Progress of a build.
#[derive(Debug, Clone)]
pub struct BuildProgress {
    /// The graph that is built.
    pub part: TowerPart,
    /// The last step of it.
    pub step: PhaseStep,
}

/// Listener to the progress of a build; called from threads of the library.
pub type OnProgress<'a> = dyn Fn(BuildProgress) + Sync + 'a;

/// A plan, and the timing cache where the library keeps one.
pub(super) struct Built<'a> {
    pub plan: Memory<'a>,
    pub cache: Option<Memory<'a>>,
}

/// `NetworkDefinitionCreationFlag::kSTRONGLY_TYPED` of TensorRT 10; later versions know nothing
/// else.
const STRONGLY_TYPED: u32 = 1 << 1;

/// `BuilderFlag::kTF32` of TensorRT 10, which is set from the start.
const TF32_TEN: i32 = 7;
/// `BuilderFlag::kTF32` of TensorRT 11.
const TF32_ELEVEN: i32 = 6;

/// `BuilderFlag::kREQUIRE_USER_ALLOCATION` of TensorRT-RTX: a run allocates nothing, so that it can
/// be captured.
const REQUIRE_USER_ALLOCATION: i32 = 28;

/// `ComputeCapability::kCURRENT`: the GPU of this machine.
const CURRENT: u32 = 1;

/// Builds `part` of the order; `work` is a folder for the files that the parser reads.
///
/// # Errors
/// [`EngineError::Unavailable`] with the library's words; the errors of the graph.
pub(super) fn build<'a>(
    library: &'a Library,
    order: &BuildOrder,
    part: TowerPart,
    work: &Path,
    cache: &[u8],
    on_progress: &OnProgress,
) -> Result<Built<'a>, EngineError> {
    let parser = library.parser()?;

    // The library's words are put behind its name and the graph's: a person searches for them.
    let failed = |words: String| {
        let name = library.name();
        let file = part.file();
        EngineError::Unavailable(format!("{name} cannot build {file}: {words}"))
    };

    // Options and profiles are set before the graph is parsed; the builder reads them all at the
    // end.
    let builder = new_builder(library).map_err(failed)?;
    set_options(&builder, library, order)?;

    for dims in profiles(order, part) {
        let input = input(part);
        builder
            .add_profile(&[Shapes { input, dims }])
            .map_err(failed)?;
    }

    // The graph goes through a file, because protobuf in memory ends at 2 GB.
    let graph = typed_graph(order.model, order.plan, part, order.precision)?;
    let onnx = graph.write(work)?;
    let on_step = |step: PhaseStep| on_progress(BuildProgress { part, step });
    let monitor = Monitor::new(&on_step);
    let built = builder.build(&parser, &onnx, cache, &monitor);
    let (plan, cache) = built.map_err(failed)?;

    Ok(Built { plan, cache })
}

fn new_builder(library: &Library) -> Result<Builder<'_>, String> {
    // TensorRT 10 has to be asked to keep the types of the graph; later versions always do.
    let strongly_typed = if library.has_ten_flags() {
        STRONGLY_TYPED
    } else {
        0
    };

    Builder::new(
        library.loaded(),
        library.number(),
        library.slots(),
        library.logger(),
        strongly_typed,
    )
}

/// Target, allocation and precision of the build.
fn set_options(
    builder: &Builder,
    library: &Library,
    order: &BuildOrder,
) -> Result<(), EngineError> {
    // Only RTX builds for several kinds of GPU at once, and for one that is not there.
    if let Some(slots) = library.rtx() {
        let list = match &order.target {
            PlanTarget::Device { .. } => &[CURRENT],
            PlanTarget::Capabilities(list) => list.as_slice(),
        };

        let capabilities = Capabilities { slots, list };
        builder.target(&capabilities).map_err(|words| {
            let name = library.name();
            EngineError::Plan(format!(
                "{name} {words} (1.7 knows 75, 80, 86, 89, 120 and 121)"
            ))
        })?;

        // Memory between the layers is handed over by the caller, so that a run allocates nothing
        // and can be captured.
        builder.set_flag(REQUIRE_USER_ALLOCATION);
    }

    // TF32 rounds the factors of a product to 10 bits of mantissa; a build in fp32 is asked for to
    // keep all 23.
    if order.precision == Precision::Fp32 {
        let tf32 = if library.has_ten_flags() {
            TF32_TEN
        } else {
            TF32_ELEVEN
        };

        builder.clear_flag(tf32);
    }

    Ok(())
}

/// Name of the graph's input.
pub(super) fn input(part: TowerPart) -> &'static str {
    match part {
        TowerPart::Trunk => "pixels",
        TowerPart::Windows => "tokens",
    }
}

/// Smallest, best and largest dims of the input, a profile each: the trunk has one, the windows one
/// a scale, whose token count is fixed. Best is one crop: a line judges one part at a time. There
/// may be fewer windows than a whole crop has: masks leave some out.
fn profiles(order: &BuildOrder, part: TowerPart) -> Vec<[Vec<usize>; 3]> {
    match part {
        TowerPart::Trunk => vec![trunk_profile(order)],
        TowerPart::Windows => order
            .plan
            .scales
            .iter()
            .map(|scale| windows_profile(order, *scale))
            .collect(),
    }
}

fn trunk_profile(order: &BuildOrder) -> [Vec<usize>; 3] {
    // The batch dimension alone varies. The library tunes for one crop, which is what a line mostly
    // judges.
    let EncodePlan { width, height, .. } = *order.plan;

    [1, 1, order.looks_max].map(|count| vec![count, 3, height, width])
}

fn windows_profile(order: &BuildOrder, scale: usize) -> [Vec<usize>; 3] {
    let grid = order.plan.grid(&order.model.spec);

    // The largest batch has the windows of all crops; the smallest is one window, because masks may
    // leave one.
    let windows = grid.windows(scale).cells();
    let tokens = 1 + scale * scale;
    let width = order.model.spec.width;

    [1, windows, order.looks_max * windows].map(|count| vec![count, tokens, width])
}
