//! A sample's picture as RGB, rows packed tightly, whatever the stride. JPEG is decoded here, because
//! GStreamer's decoder conceals what is damaged and says nothing.

use crate::camera::colour::{Converter, Matrix, Plane, Site, YuvChroma, YuvPicture};
use crate::camera::pool::BufferPool;
use crate::camera::source::CameraError;
use crate::data::picture::Picture;
use crate::image::jpeg;
use gstreamer as gst;
use gstreamer_video::{
    VideoChromaSite, VideoColorMatrix, VideoColorRange, VideoFormat, VideoFrameExt, VideoFrameRef,
    VideoInfo, VideoInterlaceMode,
};
use std::sync::Arc;

/// Formats that are taken. `videoconvert` leaves what decoders give as it is and makes RGB of everything
/// else, whose chroma is finer.
const FORMATS: [&str; 3] = ["RGB", "NV12", "I420"];

/// Media type of a camera that compresses each picture by itself (MJPEG).
const JPEG: &str = "image/jpeg";

/// Caps of all samples that are read.
pub fn readable_caps() -> gst::Caps {
    let raw = gst::Structure::builder("video/x-raw")
        .field("format", gst::List::new(FORMATS))
        .build();

    let jpeg = gst::Structure::new_empty(JPEG);
    [raw, jpeg].into_iter().collect()
}

/// A picture as a camera gave it.
pub struct CameraPicture {
    /// The picture; parts of it are made up where it is damaged.
    pub picture: Arc<Picture>,
    /// Damage of its data; `None` for a whole one, and for a raw one, whose decoder knows.
    pub damage: Option<String>,
    /// True if it was decoded here.
    pub is_jpeg: bool,
}

/// A readable video frame.
type VideoFrame<'a> = VideoFrameRef<&'a gst::BufferRef>;

/// Reader of one camera's pictures.
#[derive(Default)]
pub struct PictureReader {
    converter: Converter,
    pool: BufferPool,
}

impl PictureReader {
    /// The sample's picture. The size is each sample's own, so that caps may change.
    ///
    /// # Errors
    /// When the picture is interlaced, or its bytes do not fit its caps.
    pub fn read(&mut self, sample: &gst::Sample) -> Result<CameraPicture, CameraError> {
        let caps = sample.caps().ok_or_else(|| unreadable("no caps"))?;
        let structure = caps.structure(0).ok_or_else(|| unreadable("empty caps"))?;

        if structure.name() == JPEG {
            return self.read_jpeg(sample, structure);
        }

        // A raw picture's damage is known to the watch over its decoder.
        let picture = self.read_raw(sample, caps)?;
        Ok(CameraPicture {
            picture,
            damage: None,
            is_jpeg: false,
        })
    }

    /// Decodes a JPEG sample. One without any picture becomes a black one of the size that the caps
    /// say, so that its part is undecided instead of gone.
    fn read_jpeg(
        &mut self,
        sample: &gst::Sample,
        caps: &gst::StructureRef,
    ) -> Result<CameraPicture, CameraError> {
        let buffer = sample.buffer().ok_or_else(|| unreadable("no buffer"))?;

        // The bytes of one buffer are one JPEG: sources of `image/jpeg` cut them so.
        let map = buffer
            .map_readable()
            .map_err(|error| unreadable(&error.to_string()))?;

        let memory = self.pool.take();
        let (picture, damage) = match jpeg::decode(&map, memory) {
            Ok(decoded) => {
                let damage = decoded.damage.map(|damage| damage.to_string());

                (decoded.picture, damage)
            }

            Err(error) => (black(caps)?, Some(error.to_string())),
        };

        let picture = Arc::new(picture);
        self.pool.keep(&picture);
        Ok(CameraPicture {
            picture,
            damage,
            is_jpeg: true,
        })
    }

    fn read_raw(
        &mut self,
        sample: &gst::Sample,
        caps: &gst::CapsRef,
    ) -> Result<Arc<Picture>, CameraError> {
        let info = VideoInfo::from_caps(caps).map_err(|error| unreadable(&error.to_string()))?;

        // Two fields of an interlaced picture show a moving part twice, combed. Such a picture
        // would be judged by its combing.
        if info.interlace_mode() != VideoInterlaceMode::Progressive {
            let mode = info.interlace_mode().to_str();
            return Err(CameraError::Lost(format!(
                "its pictures are interlaced ({mode}), two moments in one; set the camera to progressive, or put \"! deinterlace\" into a pipeline file of your own"
            )));
        }

        // The buffer is mapped for reading; strides and offsets come from its video meta where it
        // has one.
        let buffer = sample.buffer().ok_or_else(|| unreadable("no buffer"))?;
        let video = VideoFrameRef::from_buffer_ref_readable(buffer, &info)
            .map_err(|error| unreadable(&error.to_string()))?;

        // Every size of the buffer is checked against the caps on the way: a plane that is too
        // short ends here.
        let rgb = self
            .rgb(&video)
            .ok_or_else(|| unreadable("shorter than its caps"))?;

        let width = info.width() as usize;
        let height = info.height() as usize;
        let picture =
            Picture::new(width, height, rgb).map_err(|error| unreadable(&error.to_string()))?;

        // The pool keeps a second reference, and takes the memory back when no other one is left.
        let picture = Arc::new(picture);
        self.pool.keep(&picture);

        Ok(picture)
    }

    /// The frame's bytes as RGB. `None` if a plane is too short.
    fn rgb(&mut self, video: &VideoFrame) -> Option<Vec<u8>> {
        let width = video.width() as usize;
        let height = video.height() as usize;

        // Memory of a picture that was judged serves again, with its old content.
        let mut rgb = self.pool.take();

        // NV12 and I420 are converted; RGB is only packed.
        let chroma = match video.format() {
            VideoFormat::Nv12 => YuvChroma::Nv12(plane(video, 1)?),
            VideoFormat::I420 => YuvChroma::I420(plane(video, 1)?, plane(video, 2)?),
            _ => {
                let rows = plane(video, 0)?;
                rgb.clear();

                for row in 0..height {
                    rgb.extend_from_slice(rows.row(row, 3 * width)?);
                }

                return Some(rgb);
            }
        };

        // Colour is converted by what the stream says of itself, since each standard has another
        // matrix.
        let picture = YuvPicture {
            luma: plane(video, 0)?,
            chroma,
            matrix: matrix(video.info()),
            site: site(video.info()),
        };

        // The picture has three bytes a pixel, rows packed tightly.
        rgb.resize(3 * width * height, 0);
        self.converter.convert(&picture, width, &mut rgb)?;

        Some(rgb)
    }
}

/// A black picture of the size in these caps.
fn black(caps: &gst::StructureRef) -> Result<Picture, CameraError> {
    // Caps without a size come from a source that has not seen a picture either.
    let missing = || unreadable("a JPEG without a picture");
    let width = side(caps, "width").ok_or_else(missing)?;
    let height = side(caps, "height").ok_or_else(missing)?;
    let rgb = vec![0; 3 * width * height];

    Picture::new(width, height, rgb).map_err(|error| unreadable(&error.to_string()))
}

fn side(caps: &gst::StructureRef, name: &str) -> Option<usize> {
    let value = caps.get::<i32>(name).ok()?;

    usize::try_from(value).ok()
}

fn unreadable(why: &str) -> CameraError {
    CameraError::Lost(format!("a frame that cannot be read: {why}"))
}

fn plane<'a>(video: &'a VideoFrame, index: u32) -> Option<Plane<'a>> {
    // Strides are positive: the appsink's formats have no rows upside down.
    let stride = *video.plane_stride().get(index as usize)?;
    Some(Plane {
        bytes: video.plane_data(index).ok()?,
        stride: stride as usize,
    })
}

/// The stream's own matrix. GStreamer fills in what is usual for its size where the stream says nothing.
fn matrix(info: &VideoInfo) -> Matrix {
    // The pairs are the weights of red and blue in luma; unknown matrices are taken for BT.601.
    let colorimetry = info.colorimetry();
    let (kr, kb) = match colorimetry.matrix() {
        VideoColorMatrix::Bt709 => (0.2126, 0.0722),
        VideoColorMatrix::Bt2020 => (0.2627, 0.0593),
        VideoColorMatrix::Fcc => (0.30, 0.11),
        VideoColorMatrix::Smpte240m => (0.212, 0.087),
        _ => (0.299, 0.114), // BT.601
    };

    // Any other range, an unknown one included, is taken for video range, which cameras send.
    let is_full_range = colorimetry.range() == VideoColorRange::Range0_255;

    Matrix::new(kr, kb, is_full_range)
}

fn site(info: &VideoInfo) -> Site {
    let site = info.chroma_site();
    Site {
        left: site.contains(VideoChromaSite::H_COSITED),
        top: site.contains(VideoChromaSite::V_COSITED),
    }
}
