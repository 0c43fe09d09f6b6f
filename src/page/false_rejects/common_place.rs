//! The place that the parts of a group have in common: where a mask would hide what is odd on all of them.

use crate::protocol::suggestion::SuggestedPart;

/// A place of a recipe's region, in pixels of the camera's picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommonPlace {
    /// Region of the parts; `None` where the recipe names none.
    pub region: Option<String>,
    /// Left edge, upper edge, width and height of the box around all parts' places.
    pub area: [usize; 4],
}

impl CommonPlace {
    /// The place for a person.
    pub fn words(&self) -> String {
        let [x, y, w, h] = self.area;
        let of = self.region.as_ref();
        let of = of.map_or_else(String::new, |region| format!(" of {region}"));

        format!("{w} × {h} pixels at {x}, {y}{of}")
    }
}

/// The common place of parts, on a line of so many cameras.
///
/// # Errors
/// Words, where they have none, or a mask there would lie over other cameras' pictures too.
pub fn of(parts: &[SuggestedPart], cameras: usize) -> Result<CommonPlace, String> {
    // The recipe is that of all cameras, and so is its mask.
    if cameras > 1 {
        return Err(format!(
            "the line has {cameras} cameras, and a mask would lie over the pictures of all"
        ));
    }

    let Some(first) = parts.first() else {
        return Err("the group has no parts any more".to_owned());
    };

    let mut common = Edges::of(first);
    let mut around = Edges::of(first);

    for part in parts {
        let is_same_camera = seen_by(&part.part) == seen_by(&first.part);
        let is_same_region = part.region == first.region;

        // Another camera shows another place under the same numbers.
        if !is_same_camera || !is_same_region {
            let words = "the parts of the group are of several cameras or regions, which one mask does not cover";
            return Err(words.to_owned());
        }

        let edges = Edges::of(part);
        common = common.inside(edges);
        around = around.outside(edges);
    }

    if common.left >= common.right || common.top >= common.bottom {
        let words =
            "the parts of the group are odd at different places, which one mask does not cover";
        return Err(words.to_owned());
    }

    let w = around.right - around.left;
    let h = around.bottom - around.top;
    Ok(CommonPlace {
        region: first.region.clone(),
        area: [around.left, around.top, w, h],
    })
}

/// Edges of a place, in pixels.
#[derive(Clone, Copy)]
struct Edges {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Edges {
    fn of(part: &SuggestedPart) -> Self {
        Edges {
            left: part.x,
            top: part.y,
            right: part.x + part.w,
            bottom: part.y + part.h,
        }
    }

    /// The edges of what both have in common; crossed where they have nothing.
    fn inside(self, other: Self) -> Self {
        Edges {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }

    /// The edges of the box around both.
    fn outside(self, other: Self) -> Self {
        Edges {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }
}

/// The camera in `run/camera/seq`, or the one that saw it in `run/camera/seq/seen_by`.
fn seen_by(part: &str) -> Option<&str> {
    let mut levels = part.split('/').skip(1);
    let camera = levels.next();

    levels.nth(1).or(camera)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::suggestion::Doubt;

    fn part(name: &str, [x, y, w, h]: [usize; 4]) -> SuggestedPart {
        SuggestedPart {
            part: name.to_owned(),
            region: None,
            why: Doubt::Overruled,
            score: 0.4,
            threshold: 0.3,
            x,
            y,
            w,
            h,
        }
    }

    #[test]
    fn a_mask_is_for_parts_that_are_odd_at_one_place() {
        let top = part("R/top/1", [10, 10, 20, 20]);
        let near = part("R/top/2", [25, 5, 20, 10]);
        let found = of(&[top.clone(), near.clone()], 1).expect("they overlap");
        assert_eq!(found.area, [10, 5, 35, 25]);

        let both = of(&[top.clone(), near.clone()], 2);
        assert!(both.is_err_and(|why| why.contains("the line has 2 cameras")));

        let apart = part("R/top/3", [30, 10, 5, 5]);
        assert!(of(&[top.clone(), apart], 1).is_err_and(|why| why.contains("different places")));
        let side = part("R/top/2/side", [10, 10, 20, 20]);
        assert!(of(&[top.clone(), side], 1).is_err_and(|why| why.contains("several cameras")));
        let mut rim = near;
        rim.region = Some("rim".to_owned());
        assert!(of(&[top, rim], 1).is_err());
        assert!(of(&[], 1).is_err());
    }
}
