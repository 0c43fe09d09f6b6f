//! Pixels of pictures of every kind against the processor's path: exactly the same.

use super::super::testing::{Bench, on_device};
use super::*;
use crate::camera::colour::{Converter, Matrix, Plane, Site, YuvChroma, YuvPicture};
use crate::data::picture::Picture;
use crate::engine::normalisation_lut;
use crate::image::resize::BITS;
use crate::model::{Family, ModelSpec};
use crate::winclip::Fit;
use crate::winclip::pixels::PixelMaker;
use rand::{Rng, SeedableRng, rngs::StdRng};

fn spec() -> ModelSpec {
    let (mean, std) = (
        [0.48145466, 0.4578275, 0.40821073],
        [0.26862954, 0.261_302_6, 0.275_777_1],
    );

    let family = Family::Dinov2;
    ModelSpec {
        family,
        side: 20,
        patch: 10,
        width: 8,
        blocks: 1,
        heads: 1,
        mlp: 32,
        embed: 8,
        mean,
        std,
        text: None,
        registers: 0,
        antialias: false,
        default_block: None,
    }
}

const SIDE: usize = 20;

/// Bytes that often are at the ends, where rounding and clamping show.
fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..count)
        .map(|_| [0, 255, random.random(), random.random()][random.random_range(0..4)])
        .collect()
}

/// A plane of `rows` rows of `row_bytes`, `stride` bytes apart.
fn strided(plane: &[u8], row_bytes: usize, stride: usize) -> Vec<u8> {
    plane
        .chunks_exact(row_bytes)
        .flat_map(|row| [row, &vec![99; stride - row_bytes]].concat())
        .collect()
}

/// A picture on the device, and what the processor's path makes of it.
struct TestPicture {
    source: DevicePicture,
    picture: Picture,
}

fn rgb(bench: &Bench, (width, height): (usize, usize), more: usize) -> TestPicture {
    let plane = bytes((width + height) as u64, 3 * width * height);
    let stride = 3 * width + more;
    let source = DevicePicture {
        format: PixelFormat::Rgb,
        width: width as u32,
        height: height as u32,
        plane: bench.up(&strided(&plane, 3 * width, stride)),
        stride: stride as u32,
        chroma: ChromaPlanes::default(),
    };

    TestPicture {
        source,
        picture: Picture::new(width, height, plane).expect("its bytes"),
    }
}

fn grey(bench: &Bench, (width, height): (usize, usize), more: usize) -> TestPicture {
    let plane = bytes((width * height) as u64, width * height);
    let source = DevicePicture {
        format: PixelFormat::Gray8,
        plane: bench.up(&strided(&plane, width, width + more)),
        stride: (width + more) as u32,
        ..rgb(bench, (width, height), 0).source
    };

    let rgb = plane.iter().flat_map(|value| [*value; 3]).collect();
    TestPicture {
        source,
        picture: Picture::new(width, height, rgb).expect("its bytes"),
    }
}

/// NV12, or I420 when not in `pairs`; the reference is the camera's converter.
fn subsampled(
    bench: &Bench,
    (width, height): (usize, usize),
    site: Site,
    pairs: bool,
    full_range: bool,
) -> TestPicture {
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    let luma = bytes(1, width * height);
    let chroma = bytes(2, 2 * half_width * half_height);
    let (stride, chroma_stride) = (
        width + 5,
        if pairs {
            2 * half_width + 3
        } else {
            half_width + 3
        },
    );

    let matrix = Matrix::new(0.2126, 0.0722, full_range);
    let planes = strided(
        &chroma,
        if pairs { 2 * half_width } else { half_width },
        chroma_stride,
    );

    let (luma_rows, second) = (strided(&luma, width, stride), planes.len() / 2);
    let of = |bytes| Plane {
        bytes,
        stride: chroma_stride,
    };

    let picture = YuvPicture {
        luma: Plane {
            bytes: &luma_rows,
            stride,
        },
        chroma: match pairs {
            true => YuvChroma::Nv12(of(&planes)),
            false => YuvChroma::I420(of(&planes), of(&planes[second..])),
        },
        matrix,
        site,
    };

    let mut rgb = vec![0; 3 * width * height];
    let converted = Converter::default().convert(&picture, width, &mut rgb);
    converted.expect("whole planes");
    let u = bench.up(&planes);
    let chroma = ChromaPlanes {
        u,
        v: u + if pairs { 1 } else { second as u64 },
        stride: chroma_stride as u32,
        step: if pairs { 2 } else { 1 },
        matrix: matrix.numbers().map(i32::from),
        left: site.left.into(),
        top: site.top.into(),
    };

    let source = DevicePicture {
        format: PixelFormat::Subsampled,
        width: width as u32,
        height: height as u32,
        plane: bench.up(&luma_rows),
        stride: stride as u32,
        chroma,
    };

    TestPicture {
        source,
        picture: Picture::new(width, height, rgb).expect("its bytes"),
    }
}

/// A picture, the crop of it and how that becomes a square.
type CroppedPicture<'a> = (&'a TestPicture, Area, Fit);

/// All crops in one launch.
fn on_the_device(bench: &Bench, crops: &[CroppedPicture]) -> Vec<f32> {
    let mut words = vec![];
    let mut descriptors = vec![];
    let mut rows = 1;
    for (shown, crop, fit) in crops {
        let (width, height) = (shown.picture.width(), shown.picture.height());
        let transform = PixelMaker::new(Some(*crop), *fit, (SIDE, SIDE), &spec())
            .transform(width, height)
            .expect("inside");

        let ((to_w, to_h), (left, top)) = (transform.resized, transform.at);
        let tables = [
            TapTable::new(crop.w, to_w, left..left + SIDE),
            TapTable::new(crop.h, to_h, top..top + SIDE),
        ];

        let [across, down] = tables.each_ref().map(|table| {
            let at = words.len() as u32;
            words.extend_from_slice(table.words());
            PlacedTaps { table, at }
        });

        let wide = bench.out_kept(wide_bytes(down.table, SIDE), 0x5au8);
        rows = rows.max(down.table.sources().len() / 2);
        descriptors.push(
            CropDescriptor::new(&shown.source, *crop, across, down, wide).expect("fitting tables"),
        );
    }

    let out = bench.out_real(crops.len() * 3 * SIDE * SIDE);
    let args = PixelArgs {
        crops: bench.up(&descriptors),
        taps: bench.up(&words),
        lut: bench.up(normalisation_lut(&spec()).as_flattened()),
        pixels: out.address,
        count: crops.len() as u32,
        side: SIDE as u32,
        rows: rows as u32,
        unused: 0,
    };

    // SAFETY: the bench holds what the sizes say.
    unsafe { enqueue(&bench.kernels, &bench.stream, &args) }.expect("enqueued");
    bench.down_real(&out)
}

/// Exactly what the processor's path makes, as the network's tensors hold it.
fn check(bench: &Bench, crops: &[CroppedPicture]) {
    let found = on_the_device(bench, crops);
    for (at, ((shown, crop, fit), found)) in crops
        .iter()
        .zip(found.chunks_exact(3 * SIDE * SIDE))
        .enumerate()
    {
        let mut maker = PixelMaker::new(Some(*crop), *fit, (SIDE, SIDE), &spec());
        let plain: Vec<f32> = maker
            .make(&shown.picture)
            .expect("inside")
            .into_iter()
            .collect();

        let (width, height) = (shown.picture.width(), shown.picture.height());
        let wrong = bench
            .stored(&plain)
            .iter()
            .zip(found)
            .filter(|(a, b)| a != b)
            .count();

        assert_eq!(wrong, 0, "crop {at}: {crop} of {width} x {height}, {fit:?}");
    }
}

/// Enlarged, shrunk, of the right size in one direction or both, thin, tiny, cropped, all in one
/// launch.
#[test]
fn pixels_are_those_of_the_processors_path_to_the_last_bit() {
    on_device(|bench| {
        let sizes = [
            (1, 1),
            (20, 20),
            (20, 31),
            (64, 20),
            (131, 77),
            (7, 90),
            (300, 3),
            (41, 40),
        ];

        let shown: Vec<TestPicture> = sizes
            .iter()
            .map(|size| rgb(bench, *size, size.0 % 4))
            .collect();

        let crop = Area {
            x: 3,
            y: 2,
            w: 17,
            h: 35,
        };

        let mut crops: Vec<CroppedPicture> =
            vec![(&shown[7], crop, Fit::Squash), (&shown[7], crop, Fit::Crop)];

        for shown in &shown {
            let whole = Area::whole(shown.picture.width(), shown.picture.height());
            crops.extend([(shown, whole, Fit::Squash), (shown, whole, Fit::Crop)]);
        }

        check(bench, &crops);
    });
}

#[test]
fn grey_pictures_are_their_three_equal_colours() {
    on_device(|bench| {
        let shown = [
            grey(bench, (33, 21), 0),
            grey(bench, (20, 50), 7),
            grey(bench, (1, 1), 1),
        ];

        let whole =
            |shown: &TestPicture| Area::whole(shown.picture.width(), shown.picture.height());

        let crops: Vec<CroppedPicture> = shown
            .iter()
            .map(|shown| (shown, whole(shown), Fit::Squash))
            .collect();

        check(bench, &crops);
    });
}

#[test]
fn subsampled_pictures_have_the_colours_of_the_cameras_converter() {
    on_device(|bench| {
        for (width, height) in [(1, 1), (2, 2), (63, 41), (40, 64)] {
            let (w, h) = (usize::div_ceil(width, 2), usize::div_ceil(height, 2));
            let crops = [
                Area::whole(width, height),
                Area {
                    x: width - w,
                    y: height - h,
                    w,
                    h,
                },
            ];

            for (left, top) in [(false, false), (true, false), (false, true), (true, true)] {
                let site = Site { left, top };
                let of =
                    |pairs, full_range| subsampled(bench, (width, height), site, pairs, full_range);

                let shown = [of(true, false), of(true, true), of(false, false)];
                let crops: Vec<CroppedPicture> = shown
                    .iter()
                    .flat_map(|shown| crops.map(|crop| (shown, crop, Fit::Squash)))
                    .collect();

                check(bench, &crops);
            }
        }
    });
}

#[test]
fn a_crop_beyond_the_picture_or_of_another_size_is_refused() {
    let source = DevicePicture {
        format: PixelFormat::Rgb,
        width: 30,
        height: 20,
        plane: 0,
        stride: 90,
        chroma: ChromaPlanes::default(),
    };

    let table = TapTable::new(10, 20, 0..20);
    let placed = PlacedTaps {
        table: &table,
        at: 0,
    };

    let refused = |crop| {
        CropDescriptor::new(&source, crop, placed, placed, 0)
            .expect_err("refused")
            .to_string()
    };

    assert!(
        refused(Area {
            x: 25,
            y: 0,
            w: 10,
            h: 10
        })
        .contains("25,0,10,10 is beyond a picture of 30 x 20")
    );

    assert!(
        refused(Area {
            x: 0,
            y: 0,
            w: 10,
            h: 11
        })
        .contains("tables for 10 x 10 pixels")
    );
}

#[test]
fn a_table_holds_only_what_is_wanted() {
    let (all, some) = (
        TapTable::new(100, 40, 0..40),
        TapTable::new(100, 40, 10..30),
    );

    assert_eq!((all.sources(), some.sources()), (0..100, 21..79));
    assert_eq!(&some.words()[..2], &all.words()[30..32]);
    assert_eq!(
        TapTable::new(9, 9, 2..4).words(),
        [2, 1, 6, 3, 1, 7, 1 << BITS, 1 << BITS]
    );
}
