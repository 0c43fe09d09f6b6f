//! Names of the topics about cameras and regions under which the broker keeps messages.

use std::collections::BTreeSet;

/// Key under which the store keeps the retained topics that belong to a camera or a region.
pub const RETAINED_TOPICS: &str = "retained_topics";

/// Retained topics of cameras and regions, below `<prefix>/<station>/`.
pub(super) type RetainedTopics = BTreeSet<String>;

/// Reads what an earlier run kept; nothing where that cannot be read.
pub(super) fn recovered(kept: &str) -> RetainedTopics {
    serde_json::from_str(kept).unwrap_or_default()
}

/// Topic of a camera's status.
pub(super) fn status_topic(camera: &str) -> String {
    format!("camera/{camera}/status")
}

/// Topic of the newest verdict of a place: a camera, or a camera and a region.
pub(super) fn last_topic(place: &str) -> String {
    format!("result/last/{place}")
}

/// True for the camera itself where the recipe names no regions, else for each of its regions.
pub(super) fn is_place_of<'a>(
    place: &str,
    camera: &str,
    regions: impl Iterator<Item = &'a String>,
) -> bool {
    let mut regions = regions.peekable();
    if regions.peek().is_none() {
        return place == camera;
    }

    let Some(rest) = place.strip_prefix(camera) else {
        return false;
    };

    regions.any(|region| rest.strip_prefix('/') == Some(region.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_of_the_line_where_its_camera_and_region_are() {
        let none: Vec<String> = vec![];
        let regions = vec!["left".to_owned(), "right".to_owned()];
        for (place, camera, regions, expected) in [
            ("top", "top", &none, true),
            ("top/left", "top", &none, false),
            ("top/left", "top", &regions, true),
            ("top", "top", &regions, false),
            ("top/middle", "top", &regions, false),
            ("topleft", "top", &regions, false),
            ("side/left", "top", &regions, false),
        ] {
            let is_place = is_place_of(place, camera, regions.iter());
            assert_eq!(is_place, expected, "{place} {camera} {regions:?}");
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_is_an_empty_one() {
        assert!(recovered("no list").is_empty());
        assert_eq!(recovered("[\"camera/top/status\"]").len(), 1);
    }
}
