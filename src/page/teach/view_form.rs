//! The form of what a recipe looks at: text of a person, or of the script that draws, to a view and back.
//!
//! An outline is its corners with spaces between them, `200,100 900,100 900,600`, one outline a line. A region is its name
//! and rectangle, with its outlines behind bars: `rim 10,20,300,200 | 20,30 60,30 60,90`.

use super::address::ADDRESS;
use crate::protocol::editing::{Outline, Rectangle, RegionView, ViewSpec};
use serde::Deserialize;

/// The fields of the form.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ViewForm {
    /// Name of the recipe.
    #[serde(default)]
    pub recipe: String,
    /// Camera whose picture was drawn on.
    #[serde(default)]
    pub camera: String,
    /// Pixels of a millimetre, as they were typed in.
    #[serde(default)]
    pub px_per_mm: String,
    /// Left column of the crop; all four are empty for the whole picture.
    #[serde(default)]
    pub x: String,
    /// Top row.
    #[serde(default)]
    pub y: String,
    /// Width.
    #[serde(default)]
    pub w: String,
    /// Height.
    #[serde(default)]
    pub h: String,
    /// Outlines.
    #[serde(default)]
    pub mask: String,
    /// Regions.
    #[serde(default)]
    pub regions: String,
}

impl ViewForm {
    /// The fields of a view.
    pub fn of(view: &ViewSpec) -> Self {
        let [x, y, w, h] = match view.crop {
            Some(crop) => crop.map(|side| side.to_string()),
            None => Default::default(),
        };

        let regions = view.regions.iter().map(|region| {
            let [x, y, w, h] = region.crop;
            let mut line = format!("{} {x},{y},{w},{h}", region.name);
            for outline in &region.mask {
                line += " | ";
                line += &outline_text(outline);
            }

            line
        });

        ViewForm {
            x,
            y,
            w,
            h,
            mask: view
                .mask
                .iter()
                .map(outline_text)
                .collect::<Vec<_>>()
                .join("\n"),
            regions: regions.collect::<Vec<_>>().join("\n"),
            ..ViewForm::default()
        }
    }

    /// The address of the screen as it was.
    pub fn address(&self) -> String {
        let values = [
            ("recipe", &self.recipe),
            ("camera", &self.camera),
            ("px_per_mm", &self.px_per_mm),
        ];

        let given = values.into_iter().filter(|(_, value)| !value.is_empty());
        let given: Vec<(&str, &String)> = given.collect();
        let query = serde_html_form::to_string(given);
        format!("{ADDRESS}?{}", query.unwrap_or_default())
    }

    /// The view that the fields say.
    ///
    /// # Errors
    /// All fields that cannot be read, in words.
    pub fn view(&self) -> Result<ViewSpec, String> {
        let mut problems = vec![];
        let mut take = |read: Result<Vec<Outline>, String>| {
            read.unwrap_or_else(|words| {
                problems.push(words);
                vec![]
            })
        };

        let mask = take(outlines(self.mask.lines()));
        let crop = self.crop();
        let lines = self.regions.lines().filter(|line| !line.trim().is_empty());
        let regions: Vec<Result<RegionView, String>> = lines.map(region).collect();
        let mut view = ViewSpec {
            mask,
            ..ViewSpec::default()
        };

        match crop {
            Ok(crop) => view.crop = crop,
            Err(words) => problems.push(words),
        }

        for region in regions {
            match region {
                Ok(region) => view.regions.push(region),
                Err(words) => problems.push(words),
            }
        }

        match problems.is_empty() {
            true => Ok(view),
            false => Err(problems.join("; ")),
        }
    }

    fn crop(&self) -> Result<Option<Rectangle>, String> {
        let fields = [&self.x, &self.y, &self.w, &self.h].map(|field| field.trim());
        if fields.iter().all(|field| field.is_empty()) {
            return Ok(None);
        }

        rectangle(&fields.join(","))
            .map(Some)
            .map_err(|words| format!("crop: {words}"))
    }
}

fn rectangle(text: &str) -> Result<Rectangle, String> {
    let sides = text.split(',').map(|side| side.trim().parse::<u64>());
    let sides: Result<Vec<u64>, _> = sides.collect();
    let found = sides.ok().and_then(|sides| Rectangle::try_from(sides).ok());
    found.ok_or_else(|| format!("left, top, width and height must be whole numbers, got {text:?}"))
}

fn outlines<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<Outline>, String> {
    let lines = lines.filter(|line| !line.trim().is_empty());
    lines.map(outline).collect()
}

fn outline(line: &str) -> Result<Outline, String> {
    let corners = line.split_whitespace().map(|corner| {
        let (x, y) = corner.split_once(',')?;
        let x: f64 = x.parse().ok()?;
        let y: f64 = y.parse().ok()?;
        (x.is_finite() && y.is_finite()).then_some([x, y])
    });

    let corners: Option<Outline> = corners.collect();
    let corners = corners.filter(|corners| corners.len() >= 3);
    corners.ok_or_else(|| {
        format!("mask: an outline is three corners or more, such as 200,100 900,100 900,600; got {line:?}")
    })
}

fn region(line: &str) -> Result<RegionView, String> {
    let mut pieces = line.split('|');
    let head = pieces.next().unwrap_or_default().trim();
    let (name, crop) = head
        .rsplit_once(' ')
        .ok_or_else(|| format!("regions: a line is a name and x,y,width,height, got {line:?}"))?;

    let crop = rectangle(crop).map_err(|words| format!("region {name}: {words}"))?;
    Ok(RegionView {
        name: name.trim().to_owned(),
        crop,
        mask: outlines(pieces).map_err(|words| format!("region {name}: {words}"))?,
    })
}

fn outline_text(outline: &Outline) -> String {
    let corners = outline.iter().map(|[x, y]| format!("{x},{y}"));
    corners.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_again() {
        for json in [
            "{}",
            r#"{"crop":[1,2,30,40],"mask":[[[1,2],[9,2],[9,9.5]],[[0,0],[5,0],[5,5]]]}"#,
            r#"{"regions":[{"name":"left rim","crop":[1,2,3,4]},{"name":"bore","crop":[9,9,9,9],"mask":[[[1,2],[9,2],[9,9]]]}]}"#,
        ] {
            let view: ViewSpec = serde_json::from_str(json).expect(json);
            assert_eq!(ViewForm::of(&view).view(), Ok(view), "{json}");
        }
    }

    #[test]
    fn all_that_cannot_be_read_is_told() {
        let form = ViewForm {
            x: "1".to_owned(),
            w: "-5".to_owned(),
            mask: "1,2 3,4".to_owned(),
            regions: "rim\nbore 1,2,3".to_owned(),
            ..ViewForm::default()
        };

        let words = form.view().expect_err("four problems");
        for told in ["crop: ", "mask: ", "regions: ", "region bore: "] {
            assert!(words.contains(told), "{told} is not in {words}");
        }
    }
}
