//! PNG files of overlays and snapshots, with their texts.

use crate::data::picture::Picture;

/// PNG bytes with tEXt chunks.
pub fn encode(picture: &Picture, texts: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder =
        png::Encoder::new(&mut bytes, picture.width() as u32, picture.height() as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    for (key, words) in texts {
        // tEXt holds Latin-1 only.
        let latin: String = words
            .chars()
            .map(|c| if u32::from(c) < 256 { c } else { '?' })
            .collect();
        let _ = encoder.add_text_chunk((*key).to_owned(), latin);
    }
    let written = encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(picture.rgb()));
    written.expect("memory takes all, and a picture has all its bytes");
    bytes
}
