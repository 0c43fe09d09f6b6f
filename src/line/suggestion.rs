//! Suggestions, on the changeover's side: doubtful parts are grouped by what is odd on them, and a group is taken as good or bad by
//! the command `teach`.
//!
//! ```text
//! doubtful parts --oddities, by an engine beside the line--> groups --numbers, sheet--> answer
//!                                                           \--teach, by its number--> pictures in files --> edit
//! ```
//! Bounds: the doubtful parts are bounded by their own file, and those of the groups by theirs. The pictures of
//! a suggestion are held until the next one.

mod earlier;

use crate::base::exit::chain;
use crate::base::stop::Stop;
use crate::config;
use crate::data::verdict::{Defect, find_defects};
use crate::image::overlay::png;
use crate::image::sheet;
use crate::line::changeover::{Changeover, STOPPING, name_in};
use crate::line::doubtful::DoubtfulPart;
use crate::line::lesson::PartFiles;
use crate::line::lessons::TaughtPicture;
use crate::line::selection::Selection;
use crate::line::suggested_groups::{Group, Looked};
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::suggestion::SuggestedGroup;
use crate::protocol::teaching::TaughtAs;
use crate::recipe::library::draft::Draft;
use crate::recipe::library::manifest::PictureUse;
use crate::recipe::prepare::PrepareMode;
use crate::recipe::spec::RecipeSpec;
use crate::recipe::teach::has_all;
use crate::winclip::inspector::{Inspector, RegionOddity};
use std::fs;

/// Name of a line's contact sheet in its library's folder, which other lines may share; no recipe's name begins with a
/// dot.
pub fn sheet_name(prefix: &str, station: &str) -> String {
    let prefix = prefix.replace('/', "_");

    format!(".suggestion-{prefix}-{station}.png")
}

impl Changeover {
    /// Groups the doubtful parts, and answers.
    pub(super) fn suggest(&mut self, mut selection: Selection, recipe: &RecipeSpec, stop: &Stop) {
        let id = selection.id.clone();
        let answer = match self.suggested(&mut selection, recipe, stop) {
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
        stop: &Stop,
    ) -> Result<(String, Vec<SuggestedGroup>), String> {
        self.judges_by(&recipe.name)?;
        let doubtful = self.lessons.doubtful(&recipe.name);

        // What was suggested before is gone, whatever comes of this.
        self.suggestion.recipe.clone_from(&recipe.name);
        self.suggestion.groups.clear();
        let spec = config::as_of_now(recipe, &self.library).map_err(|error| error.to_string())?;
        let earlier = self.earlier_false_rejects(&spec, &doubtful, stop)?;
        let passed_over = earlier.passed_over.words();
        let all: Vec<DoubtfulPart> = earlier.parts.into_iter().chain(doubtful).collect();

        if all.is_empty() {
            let words = "no part of this run is doubtful: none passed near its threshold, and no reject was overruled";
            return Ok((format!("{words}{passed_over}"), vec![]));
        }

        selection.recipe = spec.label();
        let prepared = self.preparer.prepare(&spec, PrepareMode::Beside);
        let mut active = prepared.map_err(|failure| failure.message)?;
        let looked = look_at(&mut active.inspector, all, stop)?;
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

        words += &passed_over;
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

    /// Writes the contact sheet in the place of an earlier one: whoever reads has one of the two.
    fn write_sheet(&self) -> std::io::Result<()> {
        let mut rows = vec![];

        for group in &self.suggestion.groups {
            let mut row = vec![];

            for (part, place) in &group.parts {
                row.push((&*part.picture, *place));
            }

            rows.push(row);
        }

        let Some(picture) = sheet::draw(&rows) else {
            return Ok(());
        };

        let identity = self.identity();
        let name = sheet_name(&identity.prefix, &identity.station);
        let folder = self.library.folder();
        let fresh = folder.join(format!("{name}.new"));

        fs::create_dir_all(folder)?;
        fs::write(&fresh, png::encode::<&str>(&picture, &[]))?;

        fs::rename(&fresh, folder.join(name))
    }
}

/// Words on a group of which the recipe has all pictures as what they are now said to be: rejects that were labelled good
/// are references already. `None` where something is to be taught.
///
/// # Errors
/// When a picture cannot be read.
pub(super) fn known_group(
    draft: &Draft,
    taught_as: TaughtAs,
    files: &PartFiles,
) -> Result<Option<String>, String> {
    let used_as = match taught_as {
        TaughtAs::Good => PictureUse::Good,
        TaughtAs::Bad => PictureUse::Bad,
    };

    let mut paths = vec![];
    for part in &files.files {
        paths.push(part.file.as_path());
    }

    let has_all = has_all(draft, used_as, &paths);
    if !has_all.map_err(|failure| failure.message)? {
        return Ok(None);
    }

    let name = &draft.name;
    let count = paths.len();
    let kind = used_as.folder();
    let words = format!("recipe {name} has all {count} of them as {kind} parts already");

    Ok(Some(format!("{words}; the group is taken")))
}

/// Looks at each part until the line stops; one that the recipe cannot look at any more is left out.
fn look_at(
    inspector: &mut Inspector,
    doubtful: Vec<DoubtfulPart>,
    stop: &Stop,
) -> Result<Looked, String> {
    let mut looked = Looked::default();

    let mut why = String::new();
    for part in doubtful {
        // Each part takes one thread as long as a verdict and more.
        if stop.is_stopped() {
            return Err(STOPPING.to_owned());
        }

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
