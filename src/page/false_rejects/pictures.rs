//! Small pictures of the parts of a group: the odd place, out of the evidence.

use crate::data::picture::Picture;
use crate::evidence::kept;
use crate::page::state::Page;
use crate::protocol::suggestion::SuggestedPart;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, crop_imm, resize};
use image::{ExtendedColorType, RgbImage};
use std::path::Path;

/// Side of a small picture, in pixels.
const SIDE: u32 = 160;
/// What is shown around the odd place: so many times its own size.
const AROUND: usize = 3;
/// Quality of a small picture, of 100.
const QUALITY: u8 = 85;

/// Picture in the place of one that is not kept, or not yet: a part is written after its result.
const NOT_KEPT: &str = include_str!("not_kept.svg");

/// The picture of a part of a group; 404 for what is none.
pub async fn of_group(
    State(page): State<Page>,
    UrlPath((group, part)): UrlPath<(u64, usize)>,
) -> Response {
    let found = page.false_rejects.part(group, part);
    picture(&page, found).await
}

/// The picture of a part of a proposal; 404 for what is none.
pub async fn of_proposal(
    State(page): State<Page>,
    UrlPath((proposal, part)): UrlPath<(u64, usize)>,
) -> Response {
    let found = page.false_rejects.part_of_proposal(proposal, part);
    picture(&page, found).await
}

async fn picture(page: &Page, found: Option<SuggestedPart>) -> Response {
    let Some(part) = found else {
        return StatusCode::NOT_FOUND.into_response();
    };

    let read = page.evidence.look(move |folder| small(folder, &part)).await;
    let of_kind = |kind| [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")];
    match read {
        Ok(Some(jpeg)) => (of_kind("image/jpeg"), jpeg).into_response(),
        _ => (of_kind("image/svg+xml"), NOT_KEPT).into_response(),
    }
}

fn small(folder: &Path, part: &SuggestedPart) -> Option<Vec<u8>> {
    // `run/camera/seq`, and the camera that saw it where several see a part.
    let names: Vec<&str> = part.part.split('/').collect();
    let (run_id, camera, seq) = match names.as_slice() {
        [run_id, camera, seq] => (run_id, camera, seq),
        [run_id, _, seq, seen_by] => (run_id, seen_by, seq),
        _ => return None,
    };

    let found = kept::find(folder, run_id, camera, seq.parse().ok()?).ok()?;
    let picture = found.picture_as_kept().ok()?;

    cut(&picture, part)
}

/// The odd place with what is around it, square, as JPEG.
fn cut(picture: &Picture, part: &SuggestedPart) -> Option<Vec<u8>> {
    let (width, height) = (picture.width(), picture.height());
    let side = (part.w.max(part.h) * AROUND).max(1).min(width.min(height));
    let begin = |middle: usize, length: usize| middle.saturating_sub(side / 2).min(length - side);
    let left = begin(part.x + part.w / 2, width);
    let top = begin(part.y + part.h / 2, height);

    let whole = RgbImage::from_raw(width as u32, height as u32, picture.rgb().to_vec())?;
    let place = crop_imm(&whole, left as u32, top as u32, side as u32, side as u32);
    let small = resize(&*place, SIDE, SIDE, FilterType::Triangle);

    let mut bytes = vec![];
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
    encoder
        .encode(&small, SIDE, SIDE, ExtendedColorType::Rgb8)
        .ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::suggestion::Doubt;

    #[test]
    fn a_place_at_the_edge_is_cut_within_the_picture() {
        let picture = Picture::new(40, 30, vec![7; 40 * 30 * 3]).expect("its bytes");
        for (x, y, w, h) in [
            (0, 0, 4, 4),
            (36, 26, 4, 4),
            (0, 0, 40, 30),
            (500, 500, 9, 9),
            (3, 3, 0, 0),
        ] {
            let part = SuggestedPart {
                part: "run/top/1".to_owned(),
                region: None,
                why: Doubt::Overruled,
                score: 0.4,
                threshold: 0.3,
                x,
                y,
                w,
                h,
            };

            let jpeg = cut(&picture, &part).expect("a picture");
            let read = image::load_from_memory(&jpeg).expect("a JPEG");
            assert_eq!((read.width(), read.height()), (SIDE, SIDE));
        }
    }
}
