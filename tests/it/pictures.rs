//! Picture files of every kind: what is read comes out right, what is not meant to be read is refused in words.

use image::{ColorType, ImageFormat};
use proptest::prelude::*;
use std::io::Cursor;
use std::path::Path;
use winspect::data::picture::Picture;
use winspect::image::file::decode;

fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/pictures")
        .join(name);

    std::fs::read(path).expect("part of the project")
}

fn pixel(picture: &Picture, x: usize, y: usize) -> [u8; 3] {
    let at = 3 * (y * picture.width() + x);
    picture.rgb()[at..at + 3].try_into().expect("three")
}

/// 64 x 48 pixels that no codec makes tiny.
fn noise(format: ImageFormat) -> Vec<u8> {
    noise_of(64, 48, format)
}

fn noise_of(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };

    let picture =
        image::RgbImage::from_fn(width, height, |_, _| image::Rgb([next(), next(), next()]));
    let mut bytes = Cursor::new(vec![]);
    picture.write_to(&mut bytes, format).expect("encodes");
    bytes.into_inner()
}

fn encoded(values: &[u8], width: u32, height: u32, colour: ColorType) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    image::write_buffer_with_format(&mut bytes, values, width, height, colour, ImageFormat::Png)
        .expect("encodes");

    bytes.into_inner()
}

const FORMATS: [ImageFormat; 5] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::Bmp,
    ImageFormat::Tiff,
    ImageFormat::WebP,
];

#[test]
fn a_file_cut_anywhere_is_refused() {
    let own = FORMATS.map(|format| (format!("{format:?}"), noise(format)));
    let foreign = [
        "progressive.jpg",
        "restarts.jpg",
        "thumbnail.jpg",
        "still.webp",
        "lzw.tif",
        "palette.png",
    ]
    .map(|name| (name.to_owned(), file(name)));

    for (name, whole) in own.into_iter().chain(foreign) {
        decode(&whole).unwrap_or_else(|error| panic!("{name}: {error}"));
        for sixteenth in 0..16 {
            let cut = &whole[..whole.len() * sixteenth / 16];
            assert!(
                decode(cut).is_err(),
                "{name}: {} of {} bytes were read",
                cut.len(),
                whole.len()
            );
        }
    }
}

#[test]
fn a_jpeg_may_be_padded_but_not_cut() {
    for name in ["progressive.jpg", "restarts.jpg", "thumbnail.jpg"] {
        let mut bytes = file(name);
        let error = decode(&bytes[..bytes.len() - 12])
            .expect_err(name)
            .to_string();

        assert!(error.contains("cut short"), "{name}: {error}");
        // Half of the end marker is gone, and none of a sequential picture's blocks.
        let is_read = decode(&bytes[..bytes.len() - 1]).is_ok();
        assert_eq!(is_read, name != "progressive.jpg", "{name}");
        bytes.extend([0; 64]);
        decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn what_would_be_another_picture_is_refused() {
    let cases = [
        ("animated.png", "an animation; give one picture"),
        ("animated.webp", "an animation; give one picture"),
        ("animated.gif", "a Gif cannot be read; save it as PNG"),
        (
            "pages.tif",
            "a TIFF of several pages; give one picture a file",
        ),
        ("cmyk.tif", "a CMYK picture; save it as RGB"),
        ("cmyk.jpg", "a CMYK picture; save it as RGB"),
    ];

    for (name, words) in cases {
        let error = decode(&file(name)).expect_err(name).to_string();
        assert!(error.contains(words), "{name}: {error}");
    }

    let mut float = Cursor::new(vec![]);
    let white = image::Rgb32FImage::from_pixel(2, 2, image::Rgb([255.0; 3]));
    image::DynamicImage::ImageRgb32F(white)
        .write_to(&mut float, ImageFormat::Tiff)
        .expect("encodes");

    let error = decode(&float.into_inner())
        .expect_err("whose white is 255?")
        .to_string();

    assert!(error.contains("floating-point"), "{error}");
    for bytes in [&b""[..], b"hello", &[0; 1000]] {
        assert!(
            decode(bytes).is_err_and(|e| e.to_string().contains("neither PNG, JPEG")),
            "{bytes:?}"
        );
    }
}

/// A few bytes that claim to be huge must cost nothing.
#[test]
fn a_bomb_is_refused_before_it_is_decoded() {
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, 30_000, 30_000);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().expect("memory takes all");
    writer
        .write_chunk(png::chunk::IDAT, &[0x78, 0x9c, 0, 0])
        .expect("memory takes all");

    drop(writer);
    let error = decode(&bytes).expect_err("2.7 GB").to_string();
    let words = "a picture of 30000 x 30000 pixels (2700000000 bytes decoded) is too large, at most 200000000 pixels";
    assert!(error.contains(words), "{error}");

    let mut jpeg = file("restarts.jpg");
    let frame = jpeg
        .windows(2)
        .position(|pair| pair == [0xFF, 0xC0])
        .expect("a baseline frame header");

    jpeg[frame + 5..frame + 9].fill(0xFF);
    assert!(decode(&jpeg).is_err_and(|e| e.to_string().contains("65535 x 65535 pixels")));
}

#[test]
fn every_depth_and_layout_comes_out_as_eight_bit_rgb() {
    let sixteen: Vec<u8> = [0u16, 32_896, 65_535]
        .iter()
        .flat_map(|v| v.to_ne_bytes())
        .collect();

    let cases = [
        (
            "16-bit grey",
            encoded(&sixteen, 3, 1, ColorType::L16),
            [0, 128, 255].map(|v| [v; 3]).concat(),
        ),
        (
            "16-bit RGB",
            encoded(&sixteen, 1, 1, ColorType::Rgb16),
            vec![0, 128, 255],
        ),
        ("grey", encoded(&[7], 1, 1, ColorType::L8), vec![7; 3]),
        // Transparency is dropped, not blended.
        (
            "grey and alpha",
            encoded(&[9, 0], 1, 1, ColorType::La8),
            vec![9; 3],
        ),
        (
            "RGBA",
            encoded(&[1, 2, 3, 0], 1, 1, ColorType::Rgba8),
            vec![1, 2, 3],
        ),
    ];

    for (name, bytes, rgb) in cases {
        assert_eq!(
            decode(&bytes)
                .unwrap_or_else(|e| panic!("{name}: {e}"))
                .rgb(),
            rgb,
            "{name}"
        );
    }

    let narrow = decode(&encoded(&vec![5; 3 * 4000], 1, 4000, ColorType::Rgb8)).expect("1 x 4000");
    assert_eq!((narrow.width(), narrow.height()), (1, 4000));
}

#[test]
fn pictures_of_other_encoders_come_out_right() {
    for name in [
        "progressive.jpg",
        "restarts.jpg",
        "still.webp",
        "lzw.tif",
        "palette.png",
        "grey_alpha.png",
    ] {
        let picture = decode(&file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((picture.width(), picture.height()), (32, 24), "{name}");
        let (dark, light) = (pixel(&picture, 0, 0), pixel(&picture, 31, 23));
        assert!(
            dark[1] < 60 && light[1] > dark[1] + 60,
            "{name}: {dark:?} {light:?}"
        );
    }

    // Turned by a quarter to the right, as its orientation says: what was at the left is at the top.
    let turned = decode(&file("thumbnail.jpg")).expect("readable");
    assert_eq!((turned.width(), turned.height()), (24, 32));
    let (top, bottom) = (pixel(&turned, 23, 0), pixel(&turned, 23, 31));
    assert!(top[0] < 40 && bottom[0] > 200, "{top:?} {bottom:?}");
}

/// The first `FF marker` of a JPEG.
fn marker_of(jpeg: &[u8], marker: u8) -> usize {
    let found = jpeg.windows(2).position(|pair| pair == [0xFF, marker]);
    found.expect("in it")
}

#[test]
fn a_jpeg_that_is_damaged_inside_is_refused_with_the_place() {
    let whole = noise_of(320, 240, ImageFormat::Jpeg);
    let scan = marker_of(&whole, 0xDA) + 14;
    let middle = scan + (whole.len() - scan) / 2;
    let half = [&whole[..middle], &[0xFF, 0xD9]].concat();
    let lost = [&whole[..middle], &whole[middle + 900..]].concat();
    let mut hole = whole.clone();
    hole[middle..middle + 900].fill(0);
    let surplus = [&whole[..whole.len() - 2], &[9; 60], &[0xFF, 0xD9]].concat();
    let mut restart = file("restarts.jpg");
    let first = marker_of(&restart, 0xD0);
    restart[first + 1] = 0xD5;
    for (name, bytes, words) in [
        ("half of it", half, "data is missing in it"),
        ("900 bytes lost", lost, "a damaged JPEG"),
        ("900 bytes zero", hole, "a damaged JPEG"),
        ("60 bytes too many", surplus, "bytes of data too many"),
        ("another restart marker", restart, "a part of it was lost"),
    ] {
        let error = decode(&bytes).expect_err(name).to_string();
        assert!(error.contains(words), "{name}: {error}");
        assert!(error.contains(" (at byte "), "{name}: {error}");
    }
}

#[test]
fn a_jpeg_with_a_few_bytes_before_its_end_as_usb_cameras_send_is_whole() {
    let whole = noise(ImageFormat::Jpeg);
    for count in 1..=5 {
        let padded = [&whole[..whole.len() - 2], &vec![0; count], &[0xFF, 0xD9]].concat();
        decode(&padded).unwrap_or_else(|error| panic!("{count} bytes: {error}"));
    }
}

#[test]
fn every_changed_byte_of_a_png_s_pixels_is_noticed() {
    let whole = noise(ImageFormat::Png);
    let data = whole.windows(4).position(|name| name == b"IDAT");
    let data = data.expect("pixels") + 4;
    for at in (data..whole.len() - 16).step_by(97) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        assert!(decode(&damaged).is_err(), "byte {at} of {}", whole.len());
    }
}

/// All checksums are right, and yet rows are missing.
#[test]
fn a_png_with_too_few_rows_is_refused() {
    let short = encoded(&[7; 3 * 8 * 4], 8, 4, ColorType::Rgb8);
    let data = short.windows(4).position(|name| name == b"IDAT");
    let data = data.expect("pixels");
    let length = u32::from_be_bytes(short[data - 4..data].try_into().expect("four"));
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, 8, 8);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().expect("memory takes all");
    let pixels = &short[data + 4..][..length as usize];
    writer
        .write_chunk(png::chunk::IDAT, pixels)
        .expect("memory takes all");

    drop(writer);
    assert!(decode(&bytes).is_err());
}

#[test]
fn the_white_of_pgm_and_ppm_is_their_own() {
    let deep = |value: u16| value.to_be_bytes();
    for (name, header, values, grey) in [
        ("8 bits", "P5 2 1 255\n", vec![0, 255], [0, 255]),
        (
            "7 bits",
            "P5\n# a remark\n2 1\n127\n",
            vec![0, 127],
            [0, 255],
        ),
        (
            "10 bits",
            "P5 2 1 1023\n",
            [deep(512), deep(1023)].concat(),
            [128, 255],
        ),
        (
            "12 bits",
            "P5 2 1 4095\n",
            [deep(0), deep(2048)].concat(),
            [0, 128],
        ),
        (
            "14 bits",
            "P5 2 1 16383\n",
            [deep(4096), deep(16383)].concat(),
            [64, 255],
        ),
    ] {
        let bytes = [header.as_bytes(), &values].concat();
        let picture = decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = [picture.rgb()[0], picture.rgb()[3]];
        assert_eq!(found, grey, "{name}");
        assert!(decode(&bytes[..bytes.len() - 1]).is_err(), "{name}, cut");
    }

    let colours = [
        b"P6 1 1 4095\n".as_slice(),
        &deep(4095),
        &deep(2048),
        &deep(0),
    ]
    .concat();
    assert_eq!(decode(&colours).expect("a PPM").rgb(), [255, 128, 0]);
}

/// A PNG of 16-bit grey that says how many bits count.
fn with_bits(bits: u8, values: &[u16]) -> Vec<u8> {
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, values.len() as u32, 1);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Sixteen);
    let mut writer = encoder.write_header().expect("memory takes all");
    writer
        .write_chunk(png::chunk::sBIT, &[bits])
        .expect("memory takes all");

    let values: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
    writer.write_image_data(&values).expect("memory takes all");
    drop(writer);
    bytes
}

#[test]
fn the_bits_that_count_are_those_that_the_file_tells() {
    let greys = |bytes: &[u8]| -> Vec<u8> {
        let picture = decode(bytes).expect("a picture");
        picture.rgb().iter().copied().step_by(3).collect()
    };

    // As the sensor gave them, in the lower bits.
    assert_eq!(greys(&with_bits(12, &[0, 1, 2048, 4095])), [0, 0, 128, 255]);
    assert_eq!(greys(&with_bits(14, &[1, 4096, 16383])), [0, 64, 255]);
    // Scaled to 16 bits, as PNG demands; a dark picture stays dark.
    assert_eq!(greys(&with_bits(12, &[0x10, 0x800, 0xFFF0])), [0, 8, 255]);
    assert_eq!(greys(&with_bits(12, &[0x10, 0x20, 0x800])), [0, 0, 8]);
    assert_eq!(greys(&with_bits(16, &[1, 2048, 4095])), [0, 8, 16]);
    // 200 of 12 bits is 3201 of 16 by PNG's formula, which ends in no zeros.
    assert_eq!(greys(&with_bits(12, &[0x10, 0x20, 3201])), [0, 0, 12]);

    let mut tiff = Cursor::new(vec![]);
    let mut encoder = tiff::encoder::TiffEncoder::new(&mut tiff).expect("memory takes all");
    let mut image = encoder
        .new_image::<tiff::encoder::colortype::Gray16>(3, 1)
        .expect("memory takes all");

    let largest = tiff::tags::Tag::Unknown(281);
    image.encoder().write_tag(largest, 4095u16).expect("a tag");
    image
        .write_data(&[1, 2048, 4095])
        .expect("memory takes all");
    assert_eq!(greys(&tiff.into_inner()), [0, 128, 255]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_damage_makes_it_panic(
        which in 0..FORMATS.len() + 4,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let names = ["progressive.jpg", "thumbnail.jpg", "lzw.tif", "palette.png"];
        let mut bytes = match which.checked_sub(FORMATS.len()) {
            Some(foreign) => file(names[foreign]),
            None => noise(FORMATS[which]),
        };
        for (place, value) in &damage {
            let at = place.index(bytes.len());
            bytes[at] = *value;
        }
        if damage.len() % 2 == 0 {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = decode(&bytes);
    }
}
