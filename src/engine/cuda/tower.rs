//! The vision tower on the device: pixels to patch tokens, the picture's embedding and those of its windows, in buffers
//! whose addresses never change.

use super::device::Device;
use super::kernels::{Kernels, gather};
use super::memory::Buffer;
use super::tables::Counted;
use crate::engine::graphs::{layer_output, trunk_outputs};
use crate::engine::network::{Binding, Network, Networks, Precision, TowerPart};
use crate::engine::{EncodePlan, EngineError, Features, Pixels, WindowFeatures};
use crate::model::ModelSpec;
use half::f16;
use ndarray::{Array2, Array3};

/// The numbers that all buffers follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Input side in pixels, and patches along it.
    pub side: usize,
    pub grid: usize,
    /// D and E.
    pub width: usize,
    pub embed: usize,
    pub precision: Precision,
}

impl Sizes {
    pub fn new(plan: &EncodePlan, spec: &ModelSpec, precision: Precision) -> Self {
        Sizes {
            side: plan.side,
            grid: plan.side / spec.patch,
            width: spec.width,
            embed: spec.embed,
            precision,
        }
    }

    /// P
    pub fn patches(&self) -> usize {
        self.grid * self.grid
    }
}

/// Hears of each stage of a run when it was enqueued.
pub type Mark<'a> = &'a mut dyn FnMut(&'static str) -> Result<(), EngineError>;

/// For those who do not listen.
pub fn unmarked(_stage: &'static str) -> Result<(), EngineError> {
    Ok(())
}

/// One scale's windows, all looks together.
pub struct Windows {
    pub counted: Counted,
    /// REAL `[W, E]`
    pub embeddings: Buffer,
    places: Buffer,
    /// REAL `[W, 1 + k k, D]`
    gathered: Buffer,
    network: Box<dyn Network>,
}

/// A tower for a number of looks.
pub struct Tower {
    pub looks: usize,
    pub sizes: Sizes,
    /// REAL `[N, 3, S, S]`, filled before [`Tower::enqueue`].
    pub pixels: Buffer,
    /// One a scale of the plan, in its order.
    pub windows: Vec<Windows>,
    /// What the trunk computes, by name.
    outputs: Vec<(String, Buffer)>,
    trunk: Box<dyn Network>,
    plan: EncodePlan,
}

impl Tower {
    /// `cells` are those that count, look by look; nothing means all.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device has no room; [`EngineError::Plan`] for more than the networks were built for.
    pub fn new(
        device: &Device,
        networks: &dyn Networks,
        plan: &EncodePlan,
        sizes: Sizes,
        cells: &[Option<&[bool]>],
    ) -> Result<Self, EngineError> {
        let looks = cells.len();
        let pixels_dims = [looks, 3, sizes.side, sizes.side];
        let pixels = tensor(device, &pixels_dims, sizes.precision)?;
        let mut bindings = vec![binding("pixels", &pixels_dims, &pixels)];
        let mut outputs = vec![];
        for name in trunk_outputs(plan) {
            let dims = match name.as_str() {
                "image" => vec![looks, sizes.embed],
                _ => vec![looks, 1 + sizes.patches(), sizes.width],
            };
            let buffer = tensor(device, &dims, sizes.precision)?;
            bindings.push(binding(&name, &dims, &buffer));
            outputs.push((name, buffer));
        }
        // SAFETY: the buffers are as large as their dims, and the network is dropped before them or with them.
        let trunk = unsafe { networks.bind(TowerPart::Trunk, &bindings) }?;
        let scales = plan
            .scales
            .iter()
            .map(|scale| Counted::new(sizes.grid, *scale, cells));
        let windows = scales
            .map(|counted| Windows::new(device, networks, sizes, counted))
            .collect::<Result<_, _>>()?;
        Ok(Tower {
            looks,
            sizes,
            pixels,
            windows,
            outputs,
            trunk,
            plan: plan.clone(),
        })
    }

    /// Enqueues everything between the pixels and the features; `mark` hears the name of each stage when it stands in the
    /// stream.
    ///
    /// # Errors
    /// [`EngineError::Run`]
    pub fn enqueue(
        &mut self,
        device: &Device,
        kernels: &Kernels,
        mark: Mark,
    ) -> Result<(), EngineError> {
        let stream = device.stream.cu_stream();
        let embeddings = self.windows.iter().map(|windows| &windows.embeddings);
        for output in self
            .outputs
            .iter()
            .map(|(_, output)| output)
            .chain(embeddings)
        {
            device.spoil(output, 0, output.bytes())?;
        }
        // SAFETY: the stream is that of the device that it was bound for.
        unsafe { self.trunk.enqueue(stream) }?;
        mark("trunk")?;
        let tokens = self
            .outputs
            .iter()
            .find(|(name, _)| name == "tokens")
            .map_or(0, |(_, buffer)| buffer.address());
        for windows in &mut self.windows {
            let args = gather::Args {
                tokens,
                places: windows.places.address(),
                out: windows.gathered.address(),
                windows: windows.counted.count() as u32,
                grid: self.sizes.grid as u32,
                width: self.sizes.width as u32,
                scale: windows.counted.scale as u32,
            };
            // SAFETY: the trunk's tokens are there wherever the plan has windows, and all buffers are as large as said.
            unsafe { gather::enqueue(kernels, &device.stream, &args) }?;
            mark("gather")?;
            // SAFETY: as the trunk.
            unsafe { windows.network.enqueue(stream) }?;
            mark("windows")?;
        }
        Ok(())
    }

    /// The picture's embedding, REAL `[N, E]`, where the plan has it.
    pub fn image(&self) -> Option<&Buffer> {
        self.output("image")
    }

    /// The recipe's own patch layer, REAL `[N, 1 + P, D]`, where the plan has one.
    pub fn patches(&self) -> Option<&Buffer> {
        self.output(&layer_output(self.plan.patches.first()?))
    }

    pub fn scale(&self, scale: usize) -> Option<&Windows> {
        self.windows
            .iter()
            .find(|windows| windows.counted.scale == scale)
    }

    fn output(&self, name: &str) -> Option<&Buffer> {
        self.outputs
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, buffer)| buffer)
    }

    /// Puts pixels `[3, S, S]` of each look where the trunk reads them.
    ///
    /// # Errors
    /// [`EngineError::Run`]
    pub fn put_pixels(&self, device: &Device, looks: &[&Pixels]) -> Result<(), EngineError> {
        let all = looks.iter().flat_map(|pixels| pixels.iter().copied());
        upload(device, &self.pixels, self.sizes.precision, all)
    }

    /// The pixels of a look, `[3, S, S]`.
    ///
    /// # Errors
    /// [`EngineError::Run`]
    pub fn pixels_of(&self, device: &Device, look: usize) -> Result<Pixels, EngineError> {
        let (side, each) = (self.sizes.side, 3 * self.sizes.side * self.sizes.side);
        let values = self.read(device, "pixels", &self.pixels, look * each, each)?;
        Ok(Array3::from_shape_vec((3, side, side), values).expect("as many as were asked for"))
    }

    /// The features of a look.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the copy fails or a value is not finite.
    pub fn features(&self, device: &Device, look: usize) -> Result<Features, EngineError> {
        let (rows, width, embed) = (1 + self.sizes.patches(), self.sizes.width, self.sizes.embed);
        let output = |name: &str| {
            self.output(name)
                .expect("the trunk computes what the plan asks for")
        };
        let tokens = |name: String| -> Result<Array2<f32>, EngineError> {
            let values = self.read(
                device,
                &name,
                output(&name),
                look * rows * width,
                rows * width,
            )?;
            Ok(Array2::from_shape_vec((rows, width), values).expect("as many as were asked for"))
        };
        let image = match self.plan.image {
            true => Some(self.read(device, "image", output("image"), look * embed, embed)?),
            false => None,
        };
        let windows = self
            .windows
            .iter()
            .map(|windows| -> Result<WindowFeatures, EngineError> {
                let of_look = windows.counted.of_look(look);
                let (at, count) = (of_look.start * embed, of_look.len());
                let values =
                    self.read(device, "windows", &windows.embeddings, at, count * embed)?;
                let features = Array2::from_shape_vec((count, embed), values)
                    .expect("as many as were asked for");
                Ok(WindowFeatures {
                    scale: windows.counted.scale,
                    features,
                })
            });
        Ok(Features {
            grid: self.sizes.grid,
            image,
            tokens: self
                .plan
                .patches
                .iter()
                .map(|layer| tokens(layer_output(layer)))
                .collect::<Result<_, _>>()?,
            windows: windows.collect::<Result<_, _>>()?,
        })
    }

    fn read(
        &self,
        device: &Device,
        name: &str,
        from: &Buffer,
        at: usize,
        count: usize,
    ) -> Result<Vec<f32>, EngineError> {
        let values: Vec<f32> = match self.sizes.precision {
            Precision::Fp32 => device.download(from, at, count)?,
            Precision::Fp16 => device
                .download::<f16>(from, at, count)?
                .into_iter()
                .map(f32::from)
                .collect(),
        };
        match values.iter().find(|value| !value.is_finite()) {
            None => Ok(values),
            Some(value) => Err(EngineError::Run(format!("{name} holds {value}"))),
        }
    }
}

impl Windows {
    fn new(
        device: &Device,
        networks: &dyn Networks,
        sizes: Sizes,
        counted: Counted,
    ) -> Result<Self, EngineError> {
        let tokens_dims = [
            counted.count(),
            1 + counted.scale * counted.scale,
            sizes.width,
        ];
        let out_dims = [counted.count(), sizes.embed];
        let gathered = tensor(device, &tokens_dims, sizes.precision)?;
        let embeddings = tensor(device, &out_dims, sizes.precision)?;
        let bindings = [
            binding("tokens", &tokens_dims, &gathered),
            binding("embedding", &out_dims, &embeddings),
        ];
        // SAFETY: the buffers are as large as their dims, and the network is dropped with them.
        let network = unsafe { networks.bind(TowerPart::Windows, &bindings) }?;
        Ok(Windows {
            places: device.buffer_of(&counted.places)?,
            counted,
            embeddings,
            gathered,
            network,
        })
    }
}

fn tensor(device: &Device, dims: &[usize], precision: Precision) -> Result<Buffer, EngineError> {
    Buffer::new(
        &device.context,
        dims.iter().product::<usize>() * precision.bytes(),
    )
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
/// [`EngineError::Run`]
pub fn upload(
    device: &Device,
    to: &Buffer,
    precision: Precision,
    values: impl Iterator<Item = f32>,
) -> Result<(), EngineError> {
    match precision {
        Precision::Fp32 => device.upload(to, &values.collect::<Vec<f32>>()),
        Precision::Fp16 => device.upload(to, &values.map(f16::from_f32).collect::<Vec<f16>>()),
    }
}
