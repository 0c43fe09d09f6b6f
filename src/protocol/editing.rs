//! The command that says what a recipe looks at and how its threshold is found, and that begins a new recipe. Pure, like
//! all commands here.

use super::values::{fits, text_or_number};
use serde::{Deserialize, Serialize};

/// Characters of a recipe's name at most.
const NAME_MAX: usize = 64;
/// Places that one command masks at most.
const MASKED_MAX: usize = 16;
/// The largest number that a threshold can be: scores are distances of unit features.
const THRESHOLD_MAX: f32 = 2.0;

/// `x`, `y`, `w`, `h` in pixels of the camera's picture.
pub type Rectangle = [u64; 4];
/// Corners `[x, y]` in pixels of the camera's picture; the last is joined with the first.
pub type Outline = Vec<[f64; 2]>;

/// A change of a recipe's view or threshold, or a new recipe.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditCommand {
    #[serde(default, deserialize_with = "text_or_number")]
    pub(super) id: Option<String>,
    /// The recipe; the one that judges unless given.
    pub recipe: Option<String>,
    /// A recipe of the line as which a new one of the name `recipe` begins, without its pictures and its view.
    pub like: Option<String>,
    /// The whole view: what it leaves out, the recipe loses.
    pub view: Option<ViewSpec>,
    /// Places that count no more, beside what the view leaves out.
    #[serde(default)]
    pub mask_out: Vec<MaskedPlace>,
    /// True where the revision is to be a candidate, which does not judge the line.
    #[serde(default)]
    pub candidate: bool,
    /// How the threshold is found from now on.
    pub threshold: Option<ThresholdWish>,
    /// Share of the good parts that may fail, in the place of a threshold.
    pub false_reject_rate: Option<f64>,
}

/// What a recipe looks at in a camera's picture.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSpec {
    /// The part of the picture; the whole unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<Rectangle>,
    /// Outlines inside of which defects count; everywhere without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mask: Vec<Outline>,
    /// Several parts in one picture, in the place of crop and mask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<RegionView>,
}

/// One of several parts in a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionView {
    /// Its name.
    pub name: String,
    /// The part of the picture.
    pub crop: Rectangle,
    /// Outlines inside of which defects count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mask: Vec<Outline>,
}

/// A place that is to count no more.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskedPlace {
    /// Region of the place, where the recipe names regions.
    pub region: Option<String>,
    /// The place.
    pub area: Rectangle,
}

impl MaskedPlace {
    /// The place in words.
    pub fn words(&self) -> String {
        let of = self.region.as_ref();
        let of = of.map_or_else(String::new, |region| format!(" of {region}"));

        format!("masked {}{of}", shown(self.area))
    }
}

/// A threshold that a person asks for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum ThresholdWish {
    /// A score.
    Number(f32),
    /// `auto`: by the references, each against the others.
    Word(String),
}

impl EditCommand {
    /// Checks what can be checked without the recipe.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(like) = &self.like {
            fits("like", like, NAME_MAX)?;

            if self.recipe.is_none() {
                return Err("recipe is missing: the name of the new recipe".to_owned());
            }
        }

        if self.like.is_some() && (self.candidate || !self.mask_out.is_empty()) {
            return Err("a new recipe is no candidate, and has no place to mask; leave like out, or candidate and mask_out".to_owned());
        }

        if self.mask_out.len() > MASKED_MAX {
            let count = self.mask_out.len();
            return Err(format!(
                "mask_out has at most {MASKED_MAX} places, got {count}"
            ));
        }

        if self.threshold.is_some() && self.false_reject_rate.is_some() {
            return Err("give either threshold or false_reject_rate, not both".to_owned());
        }

        if let Some(rate) = self.false_reject_rate
            && !(rate > 0.0 && rate < 1.0)
        {
            return Err(format!(
                "false_reject_rate must be between 0 and 1 (exclusive), got {rate}"
            ));
        }

        match &self.threshold {
            Some(ThresholdWish::Number(value)) if !(0.0..=THRESHOLD_MAX).contains(value) => Err(
                format!("threshold must be from 0 to {THRESHOLD_MAX}, or \"auto\", got {value}"),
            ),
            Some(ThresholdWish::Word(word)) if word != "auto" => Err(format!(
                "threshold must be a number or \"auto\", got {word:?}"
            )),
            _ => self.check_view(),
        }
    }

    fn check_view(&self) -> Result<(), String> {
        let Some(view) = &self.view else {
            let changes_threshold = self.threshold.is_some() || self.false_reject_rate.is_some();

            if self.like.is_some() || changes_threshold || !self.mask_out.is_empty() {
                return Ok(());
            }

            return Err(
                "nothing is to be changed; give view, mask_out, threshold, false_reject_rate or like"
                    .to_owned(),
            );
        };

        if view.regions.is_empty() || (view.crop.is_none() && view.mask.is_empty()) {
            return Ok(());
        }

        Err(
            "view has either regions or crop and mask, not both: each region has its own"
                .to_owned(),
        )
    }
}

impl ViewSpec {
    /// The view in words.
    pub fn words(&self) -> String {
        if !self.regions.is_empty() {
            let regions = self.regions.iter();
            let regions = regions.map(|region| format!("{} {}", region.name, shown(region.crop)));
            let regions: Vec<String> = regions.collect();
            return format!("regions {}", regions.join(", "));
        }

        let crop = match self.crop {
            Some(crop) => format!("crop {}", shown(crop)),
            None => "the whole picture".to_owned(),
        };

        match self.mask.len() {
            0 => crop,
            outlines => format!("{crop}, mask of {outlines} outlines"),
        }
    }

    /// All rectangles, each with the name of its region.
    pub fn rectangles(&self) -> Vec<(Option<&str>, Rectangle)> {
        let mut rectangles = vec![];

        if let Some(crop) = self.crop {
            rectangles.push((None, crop));
        }

        for region in &self.regions {
            let name = region.name.as_str();
            rectangles.push((Some(name), region.crop));
        }

        rectangles
    }
}

fn shown([x, y, w, h]: Rectangle) -> String {
    format!("{x},{y},{w},{h}")
}

#[cfg(test)]
mod tests {
    use super::super::command::{Action, parse};
    use super::super::teaching::RecipeChange;
    use super::*;

    fn edit(payload: &str) -> Result<EditCommand, String> {
        let command = parse("edit", payload.as_bytes()).map_err(|refusal| refusal.reason)?;
        match command.action {
            Action::Change(RecipeChange::Edit(edit)) => Ok(*edit),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_view_is_told_in_words() {
        let words = |view: &str| {
            let edit = edit(&format!(r#"{{"id":"a","view":{view}}}"#)).expect(view);
            edit.view.expect("a view").words()
        };

        assert_eq!(words("{}"), "the whole picture");
        let masked = r#"{"crop":[1,2,30,40],"mask":[[[1,2],[9,2],[9,9.5]]]}"#;
        assert_eq!(words(masked), "crop 1,2,30,40, mask of 1 outlines");
        let regions = r#"{"regions":[{"name":"rim","crop":[1,2,3,4]}]}"#;
        assert_eq!(words(regions), "regions rim 1,2,3,4");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (payload, words) in [
            (r#"{"id":"a"}"#, "nothing is to be changed"),
            (r#"{"id":"a","like":"nut"}"#, "the name of the new recipe"),
            (r#"{"id":"a","threshold":"high"}"#, "a number or \"auto\""),
            (r#"{"id":"a","threshold":2.5}"#, "from 0 to 2"),
            (r#"{"id":"a","false_reject_rate":1}"#, "between 0 and 1"),
            (
                r#"{"id":"a","threshold":0.2,"false_reject_rate":0.1}"#,
                "not both",
            ),
            (
                r#"{"id":"a","view":{"crop":[0,0,1,1],"regions":[{"name":"a","crop":[0,0,1,1]}]}}"#,
                "either regions or crop",
            ),
            (
                r#"{"id":"a","view":{"crop":[0,0,-1,1]}}"#,
                "view.crop[2] must be a whole number from 0, got -1",
            ),
            (r#"{"id":"a","view":{"zoom":2}}"#, "unknown field"),
            (
                r#"{"id":"a","recipe":"b","like":"nut","candidate":true}"#,
                "a new recipe is no candidate",
            ),
            (
                r#"{"id":"a","mask_out":[{"area":[0,0,-1,4]}]}"#,
                "mask_out[0].area[2] must be a whole number from 0, got -1",
            ),
        ] {
            let refused = edit(payload).expect_err(payload);
            assert!(refused.contains(words), "{refused}");
        }
    }
}
