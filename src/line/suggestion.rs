//! Suggestions, on the changeover's side: doubtful parts are grouped by what is odd on them, and a group is taken as good or bad by
//! the command `teach`.
//!
//! ```text
//! doubtful parts --oddities, by an engine beside the line--> groups --numbers, sheet--> answer
//!                                                           \--teach, by its number--> pictures in files --> edit
//! ```
//! Bounds: the doubtful parts are bounded by their own file, and those of the groups by theirs. The pictures of
//! a suggestion are held until the next one.

use crate::base::exit::chain;
use crate::config;
use crate::data::verdict::{Defect, find_defects};
use crate::image::overlay::png;
use crate::image::sheet;
use crate::line::changeover::{Changeover, name_in};
use crate::line::doubtful::DoubtfulPart;
use crate::line::lesson::PartFiles;
use crate::line::lessons::TaughtPicture;
use crate::line::selection::Selection;
use crate::line::suggested_groups::{Group, Looked};
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::suggestion::SuggestedGroup;
use crate::recipe::prepare::PrepareMode;
use crate::recipe::spec::RecipeSpec;
use crate::winclip::inspector::{Inspector, RegionOddity};
use std::fs;
use std::path::PathBuf;

/// Name of the contact sheet in the library's folder; no recipe's name begins with a dot.
pub const SHEET: &str = ".suggestion.png";

impl Changeover {
    /// Groups the doubtful parts, and answers.
    pub(super) fn suggest(&mut self, mut selection: Selection, recipe: &RecipeSpec) {
        let id = selection.id.clone();
        let answer = match self.suggested(&mut selection, recipe) {
            Ok((words, groups)) => {
                tracing::info!("suggest: {words}");
                self.store.audit(format!("suggest: {words}"));
                Answer {
                    groups,
                    ..Answer::new(id.as_deref(), AnswerStatus::Done, Some(words))
                }
            }
            Err(why) => {
                tracing::error!("suggest was refused: {why}");
                Answer::rejected(id.as_deref(), why)
            }
        };

        self.tell(selection, answer);
    }

    fn suggested(
        &mut self,
        selection: &mut Selection,
        recipe: &RecipeSpec,
    ) -> Result<(String, Vec<SuggestedGroup>), String> {
        self.judges_by(&recipe.name)?;
        let doubtful = self.lessons.doubtful(&recipe.name);
        // What was suggested before is gone, whatever comes of this.
        self.suggestion.recipe.clone_from(&recipe.name);
        self.suggestion.groups.clear();
        if doubtful.is_empty() {
            let words = "no part of this run is doubtful: none passed near its threshold, and no reject was overruled";
            return Ok((words.to_owned(), vec![]));
        }

        let spec = config::as_of_now(recipe, &self.library).map_err(|error| error.to_string())?;
        selection.recipe = spec.label();
        let prepared = self.preparer.prepare(&spec, PrepareMode::Beside);
        let mut active = prepared.map_err(|failure| failure.message)?;
        let looked = look_at(&mut active.inspector, doubtful)?;
        drop(active);
        let failed = looked.failed;
        let all = looked.parts.len();
        self.suggestion.take(looked);
        let told: usize = self
            .suggestion
            .groups
            .iter()
            .map(|group| group.parts.len())
            .sum();
        let mut words = format!(
            "{told} doubtful parts in {} groups",
            self.suggestion.groups.len()
        );
        if told < all {
            words = format!("{words}; {} more are like none of them", all - told);
        }

        if failed > 0 {
            words = format!("{words}; {failed} could not be looked at");
        }

        if let Err(error) = self.write_sheet() {
            words = format!("{words}; their pictures could not be written: {error}");
        }

        let groups = self.suggestion.groups.iter().map(Group::told);
        Ok((words, groups.collect()))
    }

    /// The pictures of a group in files, and the names of its parts.
    pub(super) fn group(
        &self,
        recipe: &RecipeSpec,
        number: u64,
        run_id: Option<&str>,
    ) -> Result<(PartFiles, Vec<String>), String> {
        let own_run = self.identity().run_id;
        if run_id != Some(&*own_run) {
            return Err(format!(
                "group {number} is of another run than {own_run}; ask for a suggestion"
            ));
        }

        let suggestion = &self.suggestion;
        let group = suggestion.find(number)?;
        if recipe.name != suggestion.recipe {
            return Err(format!(
                "the groups are of recipe {}, not of {}",
                suggestion.recipe, recipe.name
            ));
        }

        self.judges_by(&recipe.name)?;
        let mut files = PartFiles::new(&self.library).map_err(|error| error.to_string())?;
        let mut names = vec![];
        for (part, _) in &group.parts {
            let taught = TaughtPicture {
                picture: part.picture.clone(),
                part: part.part.clone(),
                lesson: 0,
            };

            files.add(&taught).map_err(|error| error.to_string())?;
            names.push(part.part.clone());
        }

        Ok((files, names))
    }

    /// Forgets a group that was taken, and its parts.
    pub(super) fn forget_group(&mut self, number: u64, parts: &[String]) {
        self.suggestion
            .groups
            .retain(|group| group.number != number);

        self.lessons.forget_doubtful(parts);
    }

    /// Refuses what is about another recipe than judges: its parts may be other products.
    fn judges_by(&self, name: &str) -> Result<(), String> {
        let judging = self.judging();
        match name_in(&judging) == name {
            true => Ok(()),
            false => Err(format!(
                "{judging} judges: suggestions are of the recipe that judges, not of {name}"
            )),
        }
    }

    /// Writes the contact sheet; one of an earlier suggestion goes.
    fn write_sheet(&self) -> std::io::Result<PathBuf> {
        let path = self.library.folder().join(SHEET);
        let rows: Vec<Vec<_>> = self
            .suggestion
            .groups
            .iter()
            .map(|group| {
                let parts = group.parts.iter();
                parts
                    .map(|(part, place)| (&*part.picture, *place))
                    .collect()
            })
            .collect();

        fs::create_dir_all(self.library.folder())?;
        if let Some(picture) = sheet::draw(&rows) {
            fs::write(&path, png::encode::<&str>(&picture, &[]))?;
        }

        Ok(path)
    }
}

/// Looks at each part; one that the recipe cannot look at any more is left out.
fn look_at(inspector: &mut Inspector, doubtful: Vec<DoubtfulPart>) -> Result<Looked, String> {
    let mut looked = Looked::default();

    let mut why = String::new();
    for part in doubtful {
        let oddities = inspector.oddities(&part.picture);
        let oddity = oddities.map(|oddities| {
            let mut oddities = oddities.into_iter();
            oddities.find(|oddity| oddity.region == part.margin.region)
        });

        match oddity {
            Ok(Some(oddity)) => {
                let place = place_of(&oddity);
                looked.parts.push((part, place));
                looked.directions.push(oddity.direction);
            }
            Ok(None) => looked.failed += 1,
            Err(error) => {
                why = chain(&error);
                looked.failed += 1;
            }
        }
    }

    match looked.parts.is_empty() && !why.is_empty() {
        true => Err(format!(
            "none of the doubtful parts could be looked at: {why}"
        )),
        false => Ok(looked),
    }
}

/// The place that makes the score: the cells around the map's highest value, above half of it.
fn place_of(oddity: &RegionOddity) -> Defect {
    let level = oddity.map.max() / 2.0;
    let places = find_defects(&oddity.map, level, oddity.area, 1);
    let place = places.into_iter().next().unwrap_or(Defect {
        x: oddity.area.x,
        y: oddity.area.y,
        w: oddity.area.w,
        h: oddity.area.h,
        peak: oddity.map.max(),
    });

    // Places are told, and framed, in the camera's picture.
    match &oddity.pose {
        Some(pose) => place.moved(pose),
        None => place,
    }
}
