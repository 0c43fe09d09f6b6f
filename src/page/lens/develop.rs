//! The files of a lens' pictures.

use crate::data::lens::{LensPicture, LensView};
use crate::page::painter::large_jpeg;
use std::sync::Arc;

/// Makes files of the pictures that are kept for long: their memory is free again.
pub fn develop(lenses: &[LensView]) {
    for good in lenses.iter().filter_map(|lens| lens.good.as_ref()) {
        file(good);
    }
}

/// The file of a picture. `None` for one that cannot be written.
pub fn file(picture: &LensPicture) -> Option<Arc<[u8]>> {
    picture.file(large_jpeg)
}
