//! Writes pictures as JPEG files, whole or scaled down.

use crate::data::picture::Picture;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageBuffer, Rgb, imageops};

/// Longest side that JPEG can tell, in pixels.
const SIDE_MAX: usize = 65_535;

/// The JPEG file of a picture; `quality` is 1 to 100. A picture that is longer than JPEG can tell gives an empty file.
pub fn encode(picture: &Picture, quality: u8) -> Vec<u8> {
    let mut bytes = vec![];
    if picture.width().max(picture.height()) > SIDE_MAX {
        return bytes;
    }

    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    encoder
        .encode(picture.rgb(), width, height, ExtendedColorType::Rgb8)
        .expect("memory takes all, and a picture has all its bytes");

    bytes
}

/// The JPEG file of a picture whose longer side has at most `longest` pixels, and at least one; never enlarged.
pub fn encode_small(picture: &Picture, longest: usize, quality: u8) -> Vec<u8> {
    let (width, height) = (picture.width(), picture.height());
    let longer = width.max(height);
    if longer <= longest {
        return encode(picture, quality);
    }

    let side = |side: usize| (side * longest / longer).max(1);
    let (width, height) = (side(width), side(height));

    // No side of a picture has more pixels than 32 bits count.
    let source = ImageBuffer::<Rgb<u8>, _>::from_raw(
        picture.width() as u32,
        picture.height() as u32,
        picture.rgb(),
    );

    let source = source.expect("a picture has all its bytes");
    let small = imageops::thumbnail(&source, width as u32, height as u32);
    let small = Picture::new(width, height, small.into_raw());
    encode(&small.expect("as many bytes as asked for"), quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_scaled_down_and_never_up() {
        for (width, height, small) in [
            (2000, 500, (960, 240)),
            (40, 30, (40, 30)),
            (1, 3000, (1, 960)),
        ] {
            let picture = Picture::new(width, height, vec![90; 3 * width * height]);
            let file = encode_small(&picture.expect("its bytes"), 960, 80);
            let read = image::load_from_memory(&file).expect("a JPEG file");
            assert_eq!((read.width(), read.height()), small);
        }

        let long = Picture::new(70_000, 1, vec![0; 210_000]).expect("its bytes");
        assert!(encode(&long, 80).is_empty());
    }
}
