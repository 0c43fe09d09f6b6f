//! Overlays for people, painted on the device beside the encoder: on a stream of its own and of the
//! lowest priority, with memory of its own, by another thread.
//!
//! ```text
//! pinned: layers, colours, maps, masks, rows of the picture
//!     --copy--> the same on the device --paint--> drawing --copy--> pinned
//! ```
//! One copy in, one launch, one copy out, one wait. Memory grows with the largest picture so far
//! (rows that the drawing does not show are not copied) and is kept: to make or to free any, the
//! driver may wait for the whole device.

use super::device::Device;
use super::error::failed;
use super::kernels::Kernels;
use super::kernels::paint::{self, PaintArgs, PaintLayer};
use super::memory::{Buffer, Pinned};
use crate::data::picture::Picture;
use crate::engine::EngineError;
use crate::engine::device_scorer::Paint;
use crate::image::overlay::{COLOURS, Overlay, PlacedLayer, Rgb, colours};
use cudarc::driver::{CudaContext, CudaStream, DeviceRepr, result};
use std::sync::Arc;

/// The painter. Before the first drawing it uses nothing of the device.
pub struct Painter {
    /// Index of the GPU, as cudarc counts.
    ordinal: usize,
    kernels: Kernels,
    stream: Option<PaintStream>,
}

impl Painter {
    /// A painter on the GPU of `device`.
    pub fn new(device: &Device, kernels: &Kernels) -> Self {
        Painter {
            ordinal: device.context.ordinal(),
            kernels: kernels.clone(),
            stream: None,
        }
    }
}

impl Paint for Painter {
    fn paint(&mut self, drawing: &Overlay) -> Result<Picture, EngineError> {
        // The stream is made at the first drawing, by the thread that paints. A line without
        // overlays never pays for it.
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(PaintStream::new(self.ordinal)?),
        };

        stream.paint(&self.kernels, drawing)
    }
}

/// A stream and its memory.
struct PaintStream {
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
    /// Bytes that the kernel reads.
    input: MirroredBuffer,
    /// Bytes that the kernel writes.
    output: MirroredBuffer,
}

/// The same bytes on the device and in pinned memory.
struct MirroredBuffer {
    device: Buffer,
    pinned: Pinned,
}

impl MirroredBuffer {
    fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, EngineError> {
        Ok(MirroredBuffer {
            device: Buffer::new(context, bytes)?,
            pinned: Pinned::new(context, bytes)?,
        })
    }

    /// Makes room for `bytes`; the old bytes are lost.
    fn reserve(&mut self, context: &Arc<CudaContext>, bytes: usize) -> Result<(), EngineError> {
        if bytes > self.device.bytes() {
            *self = MirroredBuffer::new(context, bytes)?;
        }

        Ok(())
    }
}

impl PaintStream {
    /// Opens the device's context once more, as an object of its own: in cudarc it remembers errors
    /// of a drop, and returns them at the next use of the context, which must not be the encoder's.
    fn new(ordinal: usize) -> Result<Self, EngineError> {
        let cannot = failed("the GPU has no stream for overlays");
        let context = CudaContext::new(ordinal).map_err(&cannot)?;

        // SAFETY: all memory is ours, on one stream: there is nothing for events to keep in order.
        unsafe { context.disable_event_tracking() };

        // The lowest priority makes the painter wait for parts: no verdict waits for an overlay.
        let (lowest, _) = result::stream::get_priority_range().map_err(&cannot)?;
        let stream = context.new_stream_with_priority(lowest).map_err(&cannot)?;
        Ok(PaintStream {
            stream,
            input: MirroredBuffer::new(&context, 0)?,
            output: MirroredBuffer::new(&context, 0)?,
            context,
        })
    }

    fn paint(&mut self, kernels: &Kernels, drawing: &Overlay) -> Result<Picture, EngineError> {
        // The context is this painter's own, and a thread may have used another before.
        self.context
            .bind_to_thread()
            .map_err(failed("the GPU cannot be used"))?;

        // The drawing's bytes are RGB, rows without gaps. Room is made before anything is enqueued,
        // because growing frees the old memory.
        let bytes = 3 * drawing.width * drawing.height;
        self.input.reserve(&self.context, input_bytes(drawing))?;
        self.output.reserve(&self.context, bytes)?;
        let mut input = InputWriter {
            bytes: self.input.pinned.as_mut_slice(),
            device: self.input.device.address(),
            end: 0,
        };

        // The arguments hold device addresses, although the bytes still lie in pinned memory: both
        // sides are laid out alike.
        let args = input.put_all(drawing, self.output.device.address());
        let filled = input.end;
        let enqueued = self.enqueue(kernels, &args, filled, bytes);

        // Waited for in any case: enqueued work reads and writes the pinned memory.
        let waited = self.stream.synchronize().map_err(failed("the GPU failed"));
        enqueued.and(waited)?;

        // The copy leaves the pinned memory free for the next drawing.
        let rgb = self.output.pinned.as_slice()[..bytes].to_vec();
        Ok(Picture::new(drawing.width, drawing.height, rgb)
            .expect("as many bytes as the drawing has"))
    }

    /// Enqueues the copy of `filled` bytes of input, the kernel, and the copy of `bytes` bytes of
    /// output.
    fn enqueue(
        &mut self,
        kernels: &Kernels,
        args: &PaintArgs,
        filled: usize,
        bytes: usize,
    ) -> Result<(), EngineError> {
        let stream = self.stream.cu_stream();
        let input = &self.input.pinned.as_slice()[..filled];
        let to = self.input.device.address();

        // SAFETY: both are of one size, and the pinned memory is written only when nothing is
        // enqueued.
        unsafe { result::memcpy_htod_async(to, input, stream) }
            .map_err(failed("cannot copy the picture"))?;

        // SAFETY: `InputWriter::put_all` made the addresses with their contents, and there is room
        // for the drawing.
        unsafe { paint::enqueue(kernels, &self.stream, args) }?;
        let output = &mut self.output.pinned.as_mut_slice()[..bytes];
        let from = self.output.device.address();

        // SAFETY: both are of one size, and the pinned memory is read after the stream was waited
        // for.
        unsafe { result::memcpy_dtoh_async(output, from, stream) }
            .map_err(failed("cannot copy the drawing"))
    }
}

/// Alignment of everything on the device, in bytes.
const ALIGNMENT: usize = 16;

/// The most bytes that [`InputWriter::put_all`] puts.
fn input_bytes(drawing: &Overlay) -> usize {
    // The sum is an upper bound: each piece may begin up to one alignment later than the last
    // ended.
    let layers: usize = drawing.layers.iter().map(layer_bytes).sum();
    let colours = COLOURS * size_of::<Rgb>() + ALIGNMENT;
    let rows = 3 * drawing.picture.width() * drawing.height + ALIGNMENT;

    layers + colours + rows
}

/// The most bytes of a layer: its descriptor, its map, and its mask, a byte a cell.
fn layer_bytes(placed: &PlacedLayer) -> usize {
    let values = placed.map.values();

    // A mask may be absent; its room is counted all the same, because a bound is enough.
    let mask = values.len();

    size_of::<PaintLayer>() + size_of_val(values) + mask + 3 * ALIGNMENT
}

/// Writes the kernel's input into pinned memory, with the addresses that it will have on the
/// device.
struct InputWriter<'a> {
    bytes: &'a mut [u8],
    device: u64,
    end: usize,
}

impl InputWriter<'_> {
    /// Writes all input; returns the kernel's arguments for it, with the drawing at `out`.
    fn put_all(&mut self, drawing: &Overlay, out: u64) -> PaintArgs {
        // A layer's map and mask are put before its descriptor, which holds their addresses. An
        // address of 0 stands for no mask.
        let mut layers = vec![];

        for placed in &drawing.layers {
            let map = self.put(placed.map.values());
            let counts = placed.map.mask().map_or(0, |mask| self.put(mask));
            layers.push(PaintLayer::new(placed, map, counts));
        }

        // The picture's width stays its own; its rows are as many as the drawing's, because no
        // other rows are copied.
        let width = drawing.picture.width() as u32;
        let height = drawing.height as u32;
        PaintArgs {
            layers: self.put(&layers),
            colours: self.put(&colours().concat()),
            picture: self.put_rows(drawing),
            out,
            stride: 3 * width,
            width,
            height, // one row for each of the drawing
            out_width: drawing.width as u32,
            out_height: height,
            layer_count: layers.len() as u32,
        }
    }

    /// Writes the picture's rows that the drawing shows, one after the other; returns their device
    /// address.
    fn put_rows(&mut self, drawing: &Overlay) -> u64 {
        // The first row is aligned by `put`; the others follow without gaps, as `stride` promises
        // the kernel.
        let address = self.put(drawing.source_row(0));

        for row in 1..drawing.height {
            let row = drawing.source_row(row);
            self.bytes[self.end..][..row.len()].copy_from_slice(row);
            self.end += row.len();
        }

        address
    }

    /// Writes `values`; returns their device address.
    fn put<T: DeviceRepr>(&mut self, values: &[T]) -> u64 {
        // Alignment holds for the offset, and the device buffer begins at a multiple of 256: the
        // address is aligned too.
        let begin = self.end.next_multiple_of(ALIGNMENT);
        let start = values.as_ptr().cast::<u8>();
        let count = size_of_val(values);

        // SAFETY: numbers and flags without gaps between, which the kernel's structs and tensors
        // are made of.
        let bytes = unsafe { std::slice::from_raw_parts(start, count) };
        self.end = begin + count;
        self.bytes[begin..self.end].copy_from_slice(bytes);

        self.device + begin as u64
    }
}
