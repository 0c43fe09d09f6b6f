//! Overlays for people, painted on the device beside the encoder: on a stream of its own and of the lowest priority, with
//! memory of its own, by another thread.
//!
//! ```text
//! pinned: layers, outlines, maps, cells, rows of the picture --copy--> the same --paint--> drawing --copy--> pinned
//! ```
//! One copy in, one launch, one copy out, one wait. Memory grows with the largest picture so far (rows that the drawing
//! does not show are not copied) and is kept: to make or to free any, the driver may wait for the whole device.

use super::device::{Device, failed};
use super::kernels::Kernels;
use super::kernels::paint::{self, Args, Layer, Outline};
use super::memory::{Buffer, Pinned};
use crate::data::picture::Picture;
use crate::engine::EngineError;
use crate::engine::device_scorer::Paint;
use crate::image::overlay::{Overlay, PlacedLayer};
use cudarc::driver::{CudaContext, CudaStream, DeviceRepr, result};
use std::sync::Arc;

/// Nothing is asked of the device before the first drawing.
pub struct Painter {
    /// The GPU, as cudarc counts.
    ordinal: usize,
    kernels: Kernels,
    easel: Option<Easel>,
}

impl Painter {
    pub fn new(device: &Device, kernels: &Kernels) -> Self {
        Painter {
            ordinal: device.context.ordinal(),
            kernels: kernels.clone(),
            easel: None,
        }
    }
}

impl Paint for Painter {
    fn paint(&mut self, drawing: &Overlay) -> Result<Picture, EngineError> {
        let easel = match &mut self.easel {
            Some(easel) => easel,
            None => self.easel.insert(Easel::new(self.ordinal)?),
        };
        easel.paint(&self.kernels, drawing)
    }
}

/// A stream and what it works with.
struct Easel {
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
    /// What the kernel reads.
    shown: Both,
    /// What it writes.
    painted: Both,
}

/// The same bytes on the device and in pinned memory.
struct Both {
    device: Buffer,
    pinned: Pinned,
}

impl Both {
    fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, EngineError> {
        Ok(Both {
            device: Buffer::new(context, bytes)?,
            pinned: Pinned::new(context, bytes)?,
        })
    }

    /// Makes room for `bytes`; what was there is lost.
    fn reserve(&mut self, context: &Arc<CudaContext>, bytes: usize) -> Result<(), EngineError> {
        if bytes > self.device.bytes() {
            *self = Both::new(context, bytes)?;
        }
        Ok(())
    }
}

impl Easel {
    /// The device's context once more, as an object of its own: in cudarc it remembers what went wrong when something was
    /// dropped, and says it to whoever asks for the context next, which must not be the encoder.
    fn new(ordinal: usize) -> Result<Self, EngineError> {
        let cannot = failed("the GPU has no stream for overlays");
        let context = CudaContext::new(ordinal).map_err(&cannot)?;
        // SAFETY: all memory is ours, on one stream: there is nothing for events to keep in order.
        unsafe { context.disable_event_tracking() };
        let (lowest, _) = result::stream::get_priority_range().map_err(&cannot)?;
        let stream = context.new_stream_with_priority(lowest).map_err(&cannot)?;
        let (shown, painted) = (Both::new(&context, 0)?, Both::new(&context, 0)?);
        Ok(Easel {
            stream,
            context,
            shown,
            painted,
        })
    }

    fn paint(&mut self, kernels: &Kernels, drawing: &Overlay) -> Result<Picture, EngineError> {
        self.context
            .bind_to_thread()
            .map_err(failed("the GPU cannot be used"))?;
        let bytes = 3 * drawing.width * drawing.height;
        self.shown.reserve(&self.context, bytes_of(drawing))?;
        self.painted.reserve(&self.context, bytes)?;
        let mut filling = Filling {
            bytes: self.shown.pinned.as_mut_slice(),
            device: self.shown.device.address(),
            end: 0,
        };
        let args = filling.put_all(drawing, self.painted.device.address());
        let filled = filling.end;
        let enqueued = self.enqueue(kernels, &args, filled, bytes);
        // Waited for in any case: what was enqueued reads and writes the pinned memory.
        let waited = self.stream.synchronize().map_err(failed("the GPU failed"));
        enqueued.and(waited)?;
        let rgb = self.painted.pinned.as_slice()[..bytes].to_vec();
        Ok(Picture::new(drawing.width, drawing.height, rgb)
            .expect("as many bytes as the drawing has"))
    }

    /// `filled` bytes are shown, `bytes` are painted.
    fn enqueue(
        &mut self,
        kernels: &Kernels,
        args: &Args,
        filled: usize,
        bytes: usize,
    ) -> Result<(), EngineError> {
        let cu_stream = self.stream.cu_stream();
        let shown = &self.shown.pinned.as_slice()[..filled];
        // SAFETY: both are of one size, and the pinned memory is written only when nothing is enqueued.
        unsafe { result::memcpy_htod_async(self.shown.device.address(), shown, cu_stream) }
            .map_err(failed("cannot copy the picture"))?;
        // SAFETY: `Filling::put_all` made the addresses with what they hold, and there is room for the drawing.
        unsafe { paint::enqueue(kernels, &self.stream, args) }?;
        let painted = &mut self.painted.pinned.as_mut_slice()[..bytes];
        // SAFETY: both are of one size, and the pinned memory is read after the stream was waited for.
        unsafe { result::memcpy_dtoh_async(painted, self.painted.device.address(), cu_stream) }
            .map_err(failed("cannot copy the drawing"))
    }
}

/// Where anything may begin on the device.
const ALIGNMENT: usize = 16;

/// How many bytes [`Filling::put_all`] puts at most.
fn bytes_of(drawing: &Overlay) -> usize {
    let of_layer = |placed: &PlacedLayer| {
        let values = placed.map.values();
        size_of::<Layer>() + size_of_val(values) + values.len() + 3 * ALIGNMENT // a cell counts or not in a byte
    };
    let outlines = size_of::<Outline>() * drawing.outlines.len() + ALIGNMENT;
    let rows = 3 * drawing.picture.width() * drawing.height + ALIGNMENT;
    drawing.layers.iter().map(of_layer).sum::<usize>() + outlines + rows
}

/// Fills pinned memory from its beginning with what will lie at the same places on the device.
struct Filling<'a> {
    bytes: &'a mut [u8],
    device: u64,
    end: usize,
}

impl Filling<'_> {
    /// Everything that is shown; the kernel's arguments for it, with the drawing at `out`.
    fn put_all(&mut self, drawing: &Overlay, out: u64) -> Args {
        let layers = drawing.layers.iter().map(|placed| {
            let map = self.put(placed.map.values());
            Layer::new(
                placed,
                map,
                placed.map.mask().map_or(0, |cells| self.put(cells)),
            )
        });
        let layers: Vec<Layer> = layers.collect();
        let outlines: Vec<Outline> = drawing.outlines.iter().map(Outline::from).collect();
        let (width, height) = (drawing.picture.width() as u32, drawing.height as u32);
        Args {
            layers: self.put(&layers),
            outlines: self.put(&outlines),
            picture: self.put_rows(drawing),
            out,
            stride: 3 * width,
            width,
            height, // one row for each of the drawing
            out_width: drawing.width as u32,
            out_height: height,
            layer_count: layers.len() as u32,
            outline_count: outlines.len() as u32,
            unused: 0,
        }
    }

    /// The device's address of the picture's rows that the drawing shows, one after the other.
    fn put_rows(&mut self, drawing: &Overlay) -> u64 {
        let address = self.put(drawing.source_row(0));
        for row in 1..drawing.height {
            let row = drawing.source_row(row);
            self.bytes[self.end..][..row.len()].copy_from_slice(row);
            self.end += row.len();
        }
        address
    }

    /// The device's address of `values`.
    fn put<T: DeviceRepr>(&mut self, values: &[T]) -> u64 {
        let begin = self.end.next_multiple_of(ALIGNMENT);
        // SAFETY: numbers and flags without gaps between, which is what the kernel's structs and tensors are made of.
        let bytes = unsafe {
            std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values))
        };
        self.end = begin + bytes.len();
        self.bytes[begin..self.end].copy_from_slice(bytes);
        self.device + begin as u64
    }
}
