//! PNG files of overlays and snapshots, with their texts.

use crate::data::picture::Picture;

/// Encodes a picture as PNG bytes, with a tEXt chunk for each (keyword, text).
pub fn encode<T: AsRef<str>>(picture: &Picture, texts: &[(&str, T)]) -> Vec<u8> {
    let width = picture.width() as u32;
    let height = picture.height() as u32;
    let mut bytes = Vec::new();

    // The compression is the fast one: an overlay must not wait for the processor, and its size
    // matters less.
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);

    // A keyword that PNG does not allow is left out rather than the whole picture.
    for (key, text) in texts {
        let _ = encoder.add_text_chunk((*key).to_owned(), latin(text.as_ref()));
    }

    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(picture.rgb()))
        .expect("memory takes all, and a picture has all its bytes");

    bytes
}

/// The text in Latin-1, which is all that tEXt holds; other characters become `?`.
fn latin(text: &str) -> String {
    text.chars()
        .map(|c| if u32::from(c) < 256 { c } else { '?' })
        .collect()
}
