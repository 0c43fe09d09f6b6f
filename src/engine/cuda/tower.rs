//! The vision tower on the device: pixels to patch tokens, the picture's embedding and those of its
//! windows, in buffers whose addresses never change.

use super::device::Device;
use super::kernels::Kernels;
use super::kernels::gather::{self, GatherArgs};
use super::memory::Buffer;
use super::windows::UnmaskedWindows;
use crate::data::grid::Grid;
use crate::engine::graphs::{layer_output, trunk_outputs};
use crate::engine::network::{Binding, Network, Networks, Precision, TowerPart};
use crate::engine::{EncodePlan, EngineError, Features, PatchLayer, Pixels, WindowFeatures};
use crate::model::ModelSpec;
use half::f16;
use ndarray::{Array2, Array3};

/// The numbers that all buffers follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// S, the side of the square input in pixels.
    pub side: usize,
    /// Patches of the input, a square.
    pub grid: Grid,
    /// D, the width of a token.
    pub width: usize,
    /// E, the width of an embedding.
    pub embed: usize,
    /// Precision of the network's tensors.
    pub precision: Precision,
}

impl Sizes {
    /// The sizes that `plan` has with a model.
    ///
    /// # Errors
    /// [`EngineError::Plan`] for an oblong input.
    pub fn new(
        plan: &EncodePlan,
        spec: &ModelSpec,
        precision: Precision,
    ) -> Result<Self, EngineError> {
        Ok(Sizes {
            side: plan.square_side()?,
            grid: plan.grid(spec),
            width: spec.width,
            embed: spec.embed,
            precision,
        })
    }

    /// P, the patches of a crop.
    pub fn patches(&self) -> usize {
        self.grid.cells()
    }
}

/// Listener that is called with the name of each stage of a run when the stage was enqueued.
pub type Mark<'a> = &'a mut dyn FnMut(&'static str) -> Result<(), EngineError>;

/// The [`Mark`] that ignores all stages.
pub fn unmarked(_stage: &'static str) -> Result<(), EngineError> {
    Ok(())
}

/// One scale's windows, all crops together.
pub struct ScaleWindows {
    /// The windows that are computed.
    pub windows: UnmaskedWindows,
    /// REAL `[W, E]`
    pub embeddings: Buffer,
    places: Buffer,
    /// REAL `[W, 1 + k k, D]`
    gathered: Buffer,
    network: Box<dyn Network>,
}

/// A tower for a number of crops.
pub struct Tower {
    /// N, the number of crops.
    pub crops: usize,
    /// Sizes of all buffers.
    pub sizes: Sizes,
    /// REAL `[N, 3, S, S]`, filled before [`Tower::enqueue`].
    pub pixels: Buffer,
    /// One entry a scale of the plan, in its order.
    scales: Vec<ScaleWindows>,
    /// Outputs of the trunk by name.
    outputs: Vec<(String, Buffer)>,
    trunk: Box<dyn Network>,
    plan: EncodePlan,
}

impl Tower {
    /// A tower for one crop a mask. A mask holds the patches that count; `None` means all.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device has no room; [`EngineError::Plan`] for more than the
    /// networks were built for.
    pub fn new(
        device: &Device,
        networks: &dyn Networks,
        plan: &EncodePlan,
        sizes: Sizes,
        masks: &[Option<&[bool]>],
    ) -> Result<Self, EngineError> {
        // Each crop has a mask, so that the masks tell the number of crops too.
        let crops = masks.len();
        let pixels_dims = [crops, 3, sizes.side, sizes.side];
        let pixels = tensor(device, &pixels_dims, sizes.precision)?;
        let mut bindings = vec![binding("pixels", &pixels_dims, &pixels)];
        let mut outputs = vec![];

        // The trunk's outputs are the picture's embedding, REAL `[N, E]`, and token layers, REAL
        // `[N, 1 + P, D]`, whose first token is the class token.
        for name in trunk_outputs(plan) {
            let dims = match name.as_str() {
                "image" => vec![crops, sizes.embed],
                _ => vec![crops, 1 + sizes.patches(), sizes.width],
            };

            let buffer = tensor(device, &dims, sizes.precision)?;
            bindings.push(binding(&name, &dims, &buffer));
            outputs.push((name, buffer));
        }

        // SAFETY: the buffers are as large as their dims, and the network is dropped before them or
        // with them.
        let trunk = unsafe { networks.bind(TowerPart::Trunk, &bindings) }?;

        // Each scale's windows are bound as a network of their own: their number differs with the
        // masks.
        let mut scales = vec![];

        for scale in &plan.scales {
            let windows = UnmaskedWindows::new(sizes.grid, *scale, masks);
            scales.push(ScaleWindows::new(device, networks, sizes, windows)?);
        }

        Ok(Tower {
            crops,
            sizes,
            pixels,
            scales,
            outputs,
            trunk,
            plan: plan.clone(),
        })
    }

    /// Enqueues everything between the pixels and the features. `mark` hears the name of each stage
    /// after it was enqueued.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the driver or the network refuses.
    pub fn enqueue(
        &mut self,
        device: &Device,
        kernels: &Kernels,
        mark: Mark,
    ) -> Result<(), EngineError> {
        // The outputs become no numbers first. A network that silently wrote nothing is then found
        // by the check for finite values.
        self.spoil_outputs(device)?;
        let stream = device.stream.cu_stream();

        // SAFETY: the stream is that of the device that the network was bound for.
        unsafe { self.trunk.enqueue(stream) }?;
        mark("trunk")?;

        // Windows are gathered from the trunk's input tokens, before its blocks. A plan without
        // windows has no such output, and no kernel reads the 0.
        let tokens = self.output("tokens").map_or(0, Buffer::address);

        for scale in &mut self.scales {
            let args = scale.gather_args(tokens, self.sizes);

            // SAFETY: the trunk's tokens are there wherever the plan has windows, and all buffers
            // are as large as said.
            unsafe { gather::enqueue(kernels, &device.stream, &args) }?;
            mark("gather")?;

            // The gathered tokens REAL `[W, 1 + k k, D]` become embeddings REAL `[W, E]`.
            // SAFETY: the stream is that of the device that the network was bound for.
            unsafe { scale.network.enqueue(stream) }?;
            mark("windows")?;
        }

        Ok(())
    }

    fn spoil_outputs(&self, device: &Device) -> Result<(), EngineError> {
        for (_, output) in &self.outputs {
            device.spoil(output, 0, output.bytes())?;
        }

        for scale in &self.scales {
            device.spoil(&scale.embeddings, 0, scale.embeddings.bytes())?;
        }

        Ok(())
    }

    /// The crops' embeddings, REAL `[N, E]`; `None` where the plan has none.
    pub fn image(&self) -> Option<&Buffer> {
        self.output("image")
    }

    /// The recipe's own patch layer, REAL `[N, 1 + P, D]`; `None` where the plan has none.
    pub fn patches(&self) -> Option<&Buffer> {
        // The first layer is the recipe's; others in the plan are for measurements.
        let layer = self.plan.patches.first()?;

        self.output(&layer_output(layer))
    }

    /// The windows of `scale` patches; `None` where the plan has none.
    pub fn scale(&self, scale: usize) -> Option<&ScaleWindows> {
        self.scales
            .iter()
            .find(|known| known.windows.scale == scale)
    }

    fn output(&self, name: &str) -> Option<&Buffer> {
        let (_, buffer) = self.outputs.iter().find(|(known, _)| known == name)?;

        Some(buffer)
    }

    /// Puts pixels `[3, S, S]` of each crop where the trunk reads them.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the copy failed.
    pub fn put_pixels(&self, device: &Device, crops: &[&Pixels]) -> Result<(), EngineError> {
        // The crops follow each other without gaps, `[N, 3, S, S]` in all.
        let values = crops.iter().flat_map(|pixels| pixels.iter().copied());

        upload(device, &self.pixels, self.sizes.precision, values)
    }

    /// The pixels of a crop, `[3, S, S]`.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the copy failed or a value is not finite.
    pub fn pixels_of(&self, device: &Device, crop: usize) -> Result<Pixels, EngineError> {
        let side = self.sizes.side;

        // A crop begins `count` values after the one before.
        let count = 3 * side * side;
        let values = self.read(device, "pixels", &self.pixels, crop * count, count)?;
        let pixels = Array3::from_shape_vec((3, side, side), values);

        Ok(pixels.expect("as many as were asked for"))
    }

    /// The features of a crop.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the copy failed or a value is not finite.
    pub fn features(&self, device: &Device, crop: usize) -> Result<Features, EngineError> {
        // Layers stand in the plan's order, which callers index by.
        let mut tokens = vec![];

        for layer in &self.plan.patches {
            tokens.push(self.tokens_of(device, layer, crop)?);
        }

        let mut windows = vec![];
        for scale in &self.scales {
            windows.push(self.windows_of(device, scale, crop)?);
        }

        Ok(Features {
            grid: self.sizes.grid,
            image: self.embedding_of(device, crop)?,
            tokens,
            windows,
        })
    }

    /// A crop's embedding, `[E]`; `None` where the plan has none.
    fn embedding_of(&self, device: &Device, crop: usize) -> Result<Option<Vec<f32>>, EngineError> {
        if !self.plan.image {
            return Ok(None);
        }

        // The embedding is row `crop` of REAL `[N, E]`.
        let embed = self.sizes.embed;
        let from = self.planned_output("image");
        let values = self.read(device, "image", from, crop * embed, embed)?;

        Ok(Some(values))
    }

    /// A crop's tokens of one layer, `[1 + P, D]`.
    fn tokens_of(
        &self,
        device: &Device,
        layer: &PatchLayer,
        crop: usize,
    ) -> Result<Array2<f32>, EngineError> {
        let name = layer_output(layer);
        let from = self.planned_output(&name);

        // The class token and the patches of a crop are one block of rows.
        let rows = 1 + self.sizes.patches();
        let count = rows * self.sizes.width;
        let values = self.read(device, &name, from, crop * count, count)?;

        Ok(matrix(rows, self.sizes.width, values))
    }

    /// The embeddings of a crop's unmasked windows of one scale.
    fn windows_of(
        &self,
        device: &Device,
        scale: &ScaleWindows,
        crop: usize,
    ) -> Result<WindowFeatures, EngineError> {
        // The windows of a crop follow each other among those of all crops, so that one range of
        // rows is copied.
        let embed = self.sizes.embed;
        let range = scale.windows.in_crop(crop);
        let begin = range.start * embed;
        let count = range.len() * embed;
        let values = self.read(device, "windows", &scale.embeddings, begin, count)?;
        Ok(WindowFeatures {
            scale: scale.windows.scale,
            features: matrix(range.len(), embed, values),
        })
    }

    fn planned_output(&self, name: &str) -> &Buffer {
        self.output(name)
            .expect("the trunk computes what the plan asks for")
    }

    fn read(
        &self,
        device: &Device,
        name: &str,
        from: &Buffer,
        at: usize,
        count: usize,
    ) -> Result<Vec<f32>, EngineError> {
        // Half precision is widened on the host: `download` copies the bytes as the device holds
        // them.
        let values: Vec<f32> = match self.sizes.precision {
            Precision::Fp32 => device.download(from, at, count)?,
            Precision::Fp16 => {
                let halves: Vec<f16> = device.download(from, at, count)?;

                halves.into_iter().map(f32::from).collect()
            }
        };

        // A value that is not finite never leaves the engine; the error names the tensor and the
        // value.
        match values.iter().find(|value| !value.is_finite()) {
            None => Ok(values),
            Some(value) => Err(EngineError::Run(format!("{name} holds {value}"))),
        }
    }
}

impl ScaleWindows {
    fn new(
        device: &Device,
        networks: &dyn Networks,
        sizes: Sizes,
        windows: UnmaskedWindows,
    ) -> Result<Self, EngineError> {
        // A window is the class token and its k x k patches; its network reads REAL `[W, 1 + k k,
        // D]` and writes REAL `[W, E]`.
        let tokens = 1 + windows.scale * windows.scale;
        let gathered_dims = [windows.count(), tokens, sizes.width];
        let embeddings_dims = [windows.count(), sizes.embed];
        let gathered = tensor(device, &gathered_dims, sizes.precision)?;
        let embeddings = tensor(device, &embeddings_dims, sizes.precision)?;
        let bindings = [
            binding("tokens", &gathered_dims, &gathered),
            binding("embedding", &embeddings_dims, &embeddings),
        ];

        // SAFETY: the buffers are as large as their dims, and the network is dropped with them.
        let network = unsafe { networks.bind(TowerPart::Windows, &bindings) }?;
        Ok(ScaleWindows {
            places: device.buffer_of(&windows.places)?,
            windows,
            embeddings,
            gathered,
            network,
        })
    }

    fn gather_args(&self, tokens: u64, sizes: Sizes) -> GatherArgs {
        GatherArgs {
            tokens,
            places: self.places.address(),
            out: self.gathered.address(),
            windows: self.windows.count() as u32,
            grid: sizes.grid.w as u32,
            width: sizes.width as u32,
            scale: self.windows.scale as u32,
        }
    }
}

fn matrix(rows: usize, width: usize, values: Vec<f32>) -> Array2<f32> {
    Array2::from_shape_vec((rows, width), values).expect("as many as were asked for")
}

fn tensor(device: &Device, dims: &[usize], precision: Precision) -> Result<Buffer, EngineError> {
    let count: usize = dims.iter().product();

    Buffer::new(&device.context, count * precision.bytes())
}

fn binding(name: &str, dims: &[usize], buffer: &Buffer) -> Binding {
    Binding {
        name: name.to_owned(),
        dims: dims.to_vec(),
        address: buffer.address(),
    }
}

/// Puts values at the beginning of a REAL buffer.
///
/// # Errors
/// [`EngineError::Run`] when the copy failed.
pub fn upload(
    device: &Device,
    to: &Buffer,
    precision: Precision,
    values: impl Iterator<Item = f32>,
) -> Result<(), EngineError> {
    // The conversion to half precision happens here, on the host, value by value: only references
    // and preparation go this way.
    match precision {
        Precision::Fp32 => {
            let values: Vec<f32> = values.collect();

            device.upload(to, &values)
        }

        Precision::Fp16 => {
            let halves: Vec<f16> = values.map(f16::from_f32).collect();

            device.upload(to, &halves)
        }
    }
}
