//! A recipe's values become what judges: references, inspector, quality gate and self-test.

use crate::base::exit::{Exit, Failure, chain};
use crate::base::memory;
use crate::data::grid::Grid;
use crate::engine::EncodePlan;
use crate::engine::select::{Backend, Engines};
use crate::image::file as image_file;
use crate::model::ModelFolder;
use crate::recipe::active::ActiveRecipe;
use crate::recipe::build_command::build_command;
use crate::recipe::default_block;
use crate::recipe::drift::{DriftLimits, MAPS_FROM};
use crate::recipe::judged::{JudgedPictures, Judging};
use crate::recipe::known_bad::BadParts;
use crate::recipe::library::manifest::PictureUse;
use crate::recipe::library::revision::Revision;
use crate::recipe::locate::{located, refuse_not_found};
use crate::recipe::preparation::Preparation;
use crate::recipe::progress::PrepareProgress;
use crate::recipe::quality::Gate;
use crate::recipe::references::{DECODED_BYTES, References};
use crate::recipe::self_test::{SelfTest, TestPictures};
use crate::recipe::spec::{RecipeSpec, SelfTestSpec};
use crate::recipe::unlike;
use crate::winclip::room::FeatureRoom;
use crate::winclip::{Fit, Inspector, Recipe};
use std::path::PathBuf;

/// The moment at which a recipe is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrepareMode {
    /// The line is not ready yet: preparing may take minutes, and the whole machine.
    Startup,
    /// A line judges meanwhile: a TensorRT plan that is missing is not built but asked for.
    Live,
    /// The recipe judges beside another one, and must not slow it: on the processor, with its caller's thread
    /// alone, whatever engine judges the line.
    Beside,
}

/// Model and engines that a line's recipes are prepared with.
#[derive(Clone)]
pub struct RecipePreparer {
    /// The imported model.
    pub model: ModelFolder,
    /// The engines that may be opened.
    pub engines: Engines,
    /// Number of pictures that may be judged at once.
    pub batch: usize,
}

/// References, and a recipe as it is for pictures like them.
struct ReadRecipe {
    references: References,
    recipe: Recipe,
    plan: EncodePlan,
}

/// What compares pictures with a recipe's references, and decides nothing.
pub struct ComparedReferences {
    /// Holds the references' features, and the looks of known bad parts.
    pub inspector: Inspector,
    /// Files of the references, in the inspector's order.
    pub references: Vec<PathBuf>,
    /// Hash of the references' pixels.
    pub gallery: Option<String>,
}

/// Refusal where the system does not tell its memory.
const NO_MEMORY_TOLD: &str = "/proc/meminfo does not tell MemAvailable, so that it is not known whether its references fit into this machine's memory";

/// Refuses references that need more than `most` bytes.
fn refuse_beyond(needed: usize, most: usize) -> Result<(), String> {
    if needed <= most {
        return Ok(());
    }

    let (needed, most) = (needed >> 20, most >> 20);
    Err(format!(
        "its references need {needed} MB beside the line, and half of the memory that is available is {most} MB; the line needs the rest. Give the machine more memory, or the recipe fewer references, a larger tile_px, turned = \"none\", or a smaller input"
    ))
}

impl RecipePreparer {
    /// Makes what judges by `spec`.
    ///
    /// # Errors
    /// When the recipe cannot work with the model, a file of it cannot be used, or an engine is
    /// missing or fails.
    pub fn prepare(&self, spec: &RecipeSpec, mode: PrepareMode) -> Result<ActiveRecipe, Failure> {
        let ReadRecipe {
            references,
            recipe,
            plan,
        } = self.read(spec, DECODED_BYTES)?;

        let grid = plan.grid(&self.model.spec);
        self.tell(&recipe, &plan, &references);
        let preparation = Preparation {
            model: &self.model,
            recipe: &recipe,
            plan: &plan,
            engines: &self.engines_for(spec, &plan, mode),
            wrong_recipe: Exit::Config,
        };

        // The engine is opened and the references are encoded, which takes the longest.
        // Nothing is compared with nothing: a recipe that is not taught yet has an inspector all the same, so
        // that the line runs and can be taught.
        let is_taught = self.is_taught(spec);
        let mut inspector = match is_taught {
            true => preparation.inspector(&references, &mut tell_when_done)?,
            false => preparation.inspector_without_references()?,
        };

        // The gate learns from the same references what a good picture may look like. Calibration
        // pictures go through it as parts do.
        let gate = Gate::new(spec.bad_image, &references.pictures);
        let mut known = KnownPictures {
            references: &references,
            gate: &gate,
            inspector: &mut inspector,
        };

        // The looks of known bad parts change what all other pictures score, so that they come first.
        let bad = known.bad(spec)?;
        let calibration = known.calibration(&spec.calibration)?;

        // The first reference stands for the camera's pictures: an engine that captures its work
        // does so now, not at the first part. Looks are among what it captures.
        if let Some(reference) = references.pictures.first() {
            inspector
                .warm(reference, self.batch)
                .map_err(|error| Failure::new(Exit::Software, error))?;
        }

        // The self-test judges by the prepared inspector itself, so that it is the very path of the
        // parts.
        let self_test = match &spec.self_test {
            Some(test) if is_taught => {
                Some(self.self_test(test, spec, &references, &mut inspector)?)
            }

            _ => None,
        };

        Ok(ActiveRecipe {
            unlike: unlike_scores(&references, &mut inspector)?,
            drift: drift_limits(&references, &mut inspector, recipe.locator.is_some())?,
            grid,
            gate,
            calibration,
            bad,
            is_taught,
            frozen_frames: spec.bad_image.frozen_frames,
            gallery: references.hash(),
            references: references.files,
            self_test,
            challenge_every: spec.challenge_every,
            inspector,
        })
    }

    /// Makes what compares pictures with the references of `spec`, beside a line that judges. What verdicts need is left out:
    /// calibration pictures, self-test, thresholds and the limits of drift.
    ///
    /// # Errors
    /// As [`RecipePreparer::prepare`]; for a recipe without references, and for one that does not fit into half of the memory
    /// that is available now: the line needs the rest.
    pub fn prepare_to_compare(&self, spec: &RecipeSpec) -> Result<ComparedReferences, Failure> {
        let refused = |words| Failure::words(Exit::Data, format!("{}: {words}", spec.label()));
        let free = memory::available().ok_or_else(|| refused(NO_MEMORY_TOLD.to_owned()))?;
        let most = free / 2;
        let ReadRecipe {
            references,
            recipe,
            plan,
        } = self.read(spec, most.min(DECODED_BYTES))?;

        let count = references.pictures.len();
        if count == 0 {
            return Err(refused("it has no references to compare with".to_owned()));
        }

        // Features are held twice: as they were encoded, and as they are compared with.
        let room = FeatureRoom::new(&recipe, &self.model.spec, &plan);
        let features = room.bytes(count, 1).saturating_mul(2);
        refuse_beyond(features.saturating_add(references.bytes()), most).map_err(refused)?;
        let preparation = Preparation {
            model: &self.model,
            recipe: &recipe,
            plan: &plan,
            engines: &self.engines_for(spec, &plan, PrepareMode::Beside),
            wrong_recipe: Exit::Config,
        };

        let mut inspector = preparation.inspector(&references, &mut tell_when_done)?;
        let gate = Gate::new(spec.bad_image, &references.pictures);
        let mut known = KnownPictures {
            references: &references,
            gate: &gate,
            inspector: &mut inspector,
        };

        // Their looks raise what a patch scores, which is told beside it.
        known.bad(spec)?;
        Ok(ComparedReferences {
            inspector,
            gallery: references.hash(),
            references: references.files,
        })
    }

    /// Reads the references, of at most so many bytes, and what follows from them.
    fn read(&self, spec: &RecipeSpec, most: usize) -> Result<ReadRecipe, Failure> {
        // The recipe is checked against the model before any file is read, because that costs
        // nothing.
        self.encode_plan(spec, &spec.winclip)?;

        if let Some(revision) = &spec.library {
            self.check_revision(revision)?;
        }

        let warn = &mut |words| tracing::warn!("{words}");
        let references = References::read_within(most, &spec.references, warn)?;

        // An empty picture among the references would let exactly such pictures pass.
        references.refuse_empty()?;

        // The size of the pictures is known now; a recipe that keeps their aspect depends on it.
        let recipe = spec.winclip.for_pictures_like(references.pictures.first());
        let recipe = located(recipe, spec.locate.as_ref())?;
        refuse_not_found(&recipe, &references)?;
        let plan = self.encode_plan(spec, &recipe)?;
        Ok(ReadRecipe {
            references,
            recipe,
            plan,
        })
    }

    /// Logs what a person should know of a recipe with these references.
    fn tell(&self, recipe: &Recipe, plan: &EncodePlan, references: &References) {
        let spec = &self.model.spec;
        warn_of_other_aspects(recipe, plan.grid(spec), references);
        default_block::tell(recipe, spec, !plan.patches.is_empty());
    }

    /// Checks that a revision's pictures are those that it was made of.
    fn check_revision(&self, revision: &Revision) -> Result<(), Failure> {
        revision.verify()?;
        let manifest = revision.manifest();

        // Scores of another model mean something else, and so does a threshold that is a number.
        if let Some(model) = &manifest.model
            && model.sha256 != self.model.hash
        {
            tracing::warn!(
                "recipe {} was taught with the model {}, and {} judges: look at its threshold",
                manifest.label(),
                model.name,
                self.model.label()
            );
        }

        Ok(())
    }

    /// False for a recipe that needs references and has none yet.
    pub fn is_taught(&self, spec: &RecipeSpec) -> bool {
        !spec.references.is_empty() || self.model.spec.text.is_some()
    }

    fn encode_plan(&self, spec: &RecipeSpec, recipe: &Recipe) -> Result<EncodePlan, Failure> {
        // Without references the plan has no outputs for visual maps. A model that needs references, and has
        // none yet, is opened as it will be.
        let has_visual_maps = !spec.references.is_empty() || !self.is_taught(spec);
        recipe
            .encode_plan(&self.model.spec, has_visual_maps)
            .map_err(|problems| {
                // All problems of the recipe are told at once, one a line.
                let problems = problems.to_string().replace('\n', "\n  ");
                let words = format!("recipe {}:\n  {problems}", spec.name);
                Failure::words(Exit::Config, words)
            })
    }

    fn engines_for(&self, spec: &RecipeSpec, plan: &EncodePlan, mode: PrepareMode) -> Engines {
        // A line that judges must not be silent for minutes: beside it no plan is built, and the
        // error names the command that builds it.
        // The input of a recipe that keeps the aspect follows from its cells.
        let input_px = match spec.winclip.fit {
            Fit::Keep => Some(plan.width),
            Fit::Squash | Fit::Crop => spec.winclip.input_px,
        };

        let recipe = Recipe {
            input_px,
            ..spec.winclip.clone()
        };

        if mode == PrepareMode::Beside {
            return Engines {
                backend: Backend::Onnx,
                is_single_threaded: true,
                ..self.engines.clone()
            };
        }

        let build_command = match mode {
            PrepareMode::Startup | PrepareMode::Beside => None,
            PrepareMode::Live => Some(build_command(&self.engines, &recipe, &self.model.path)),
        };

        Engines {
            build_command,
            ..self.engines.clone()
        }
    }

    fn self_test(
        &self,
        test: &SelfTestSpec,
        spec: &RecipeSpec,
        references: &References,
        inspector: &mut Inspector,
    ) -> Result<SelfTest, Failure> {
        // Both pictures are read before any is judged. A file that cannot be read is the data's
        // fault.
        let read = |path| image_file::read(path).map_err(|error| Failure::new(Exit::Data, error));
        let pictures = References {
            pictures: vec![read(&test.good)?, read(&test.bad)?],
            files: vec![],
        };

        // Anything here that changes may change the scores, and then the learned ones are no longer
        // a measure of the machine.
        let conditions = [
            condition_of(spec),
            format!("{:?}", spec.winclip),
            format!("{:?}", spec.winclip.patch_layer(&self.model.spec)),
            format!("{:?}", inspector.locator()),
            references.hash().unwrap_or_default(),
            bad_parts_of(spec),
            pictures.hash().unwrap_or_default(),
            self.model.label(),
            inspector.backend().to_owned(),
            inspector.device().to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ];

        // The good picture was read first.
        let [good, bad] = <[_; 2]>::try_from(pictures.pictures).expect("two were read");
        let pictures = TestPictures { good, bad };
        SelfTest::learn(pictures, conditions.join("; "), test.every, inspector).map_err(|error| {
            let words = format!("recipe.self_test: {}", chain(&error));
            Failure::words(Exit::Data, words)
        })
    }
}

/// Scores of pictures that show no part: a threshold above them passes everything, which the line's health
/// then says.
fn unlike_scores(references: &References, inspector: &mut Inspector) -> Result<Vec<f32>, Failure> {
    match references.pictures.first() {
        Some(reference) => unlike::scores(reference, inspector)
            .map_err(|error| Failure::new(Exit::Software, error)),
        None => Ok(vec![]),
    }
}

/// What passed parts are held against, beside their scores.
fn drift_limits(
    references: &References,
    inspector: &mut Inspector,
    locates: bool,
) -> Result<DriftLimits, Failure> {
    // Maps of fewer references say nothing of drift, and the comparison costs time.
    let mut left_out = vec![];

    if references.pictures.len() >= MAPS_FROM && !locates {
        let progress = PrepareProgress::new();
        progress.judges("reference");
        left_out = inspector
            .leave_one_out()
            .map_err(|error| Failure::new(Exit::Software, error))?;
    }

    let limits = DriftLimits::new(&references.pictures, &left_out);
    Ok(match locates {
        true => limits.without_places(),
        false => limits,
    })
}

/// The pictures of known parts beside the references, which are judged once.
struct KnownPictures<'a> {
    references: &'a References,
    gate: &'a Gate,
    inspector: &'a mut Inspector,
}

impl KnownPictures<'_> {
    /// Learns the known bad parts of a recipe; `None` where there are none, or nothing to compare them with.
    fn bad(&mut self, spec: &RecipeSpec) -> Result<Option<BadParts>, Failure> {
        let revision = spec.library.as_ref();
        let paths = revision.map(|revision| revision.pictures(PictureUse::Bad));
        let paths = paths.unwrap_or_default();

        if paths.is_empty() || self.inspector.compares_with_nothing() {
            return Ok(None);
        }

        // Each is judged twice: as an unknown part, and by its looks.
        let progress = PrepareProgress::new();
        progress.judges("bad");

        BadParts::learn(&paths, self.references, self.gate, self.inspector).map(Some)
    }

    /// Judges the calibration pictures; `None` where there are none, or nothing to compare them with.
    fn calibration(&mut self, paths: &[PathBuf]) -> Result<Option<JudgedPictures>, Failure> {
        if paths.is_empty() || self.inspector.compares_with_nothing() {
            return Ok(None);
        }

        // Hundreds of pictures take longer than systemd waits for a start.
        let progress = PrepareProgress::new();
        progress.judges("calibration");
        let judging = Judging {
            kind: "calibration",
            is_lenient: false,
            references: self.references,
            gate: self.gate,
            inspector: self.inspector,
            looks: None,
        };

        JudgedPictures::read(paths, judging).map(Some)
    }
}

/// The recipe among the conditions of a self-test's scores.
fn condition_of(spec: &RecipeSpec) -> String {
    // A revision of the library that changes a threshold alone changes no score, and all that does
    // is among the other conditions.
    match spec.library {
        Some(_) => spec.name.clone(),
        None => spec.label(),
    }
}

/// The known bad parts among those conditions: their looks change scores.
fn bad_parts_of(spec: &RecipeSpec) -> String {
    // Files of the library are known by their hash.
    let revision = spec.library.as_ref();
    let entries = revision.map(|revision| revision.manifest().pictures.as_slice());
    let bad = entries.unwrap_or_default().iter();
    let bad = bad.filter(|entry| entry.used_as == PictureUse::Bad);
    let hashes: Vec<&str> = bad.map(|entry| entry.sha256.as_str()).collect();

    hashes.join(" ")
}

fn tell_when_done(done: usize, of: usize) {
    if done == of {
        tracing::info!("{of} references taught");
    }
}

/// Logs the references that a recipe which keeps the aspect squashes: they are not like the first one,
/// by which its grid goes.
fn warn_of_other_aspects(recipe: &Recipe, grid: Grid, references: &References) {
    for (file, picture) in references.files.iter().zip(&references.pictures) {
        let (width, height) = (picture.width(), picture.height());

        if !recipe.keeps_aspect(width, height, grid) {
            tracing::warn!(
                "reference {}: {width} x {height} pixels do not keep their aspect on {grid} cells, those of the first reference; give pictures of one size, or a crop",
                file.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_beyond_the_memory_are_refused_with_need_limit_and_way_out() {
        let most = 100 << 20;
        assert!(refuse_beyond(most, most).is_ok());
        let words = refuse_beyond(most + (1 << 20), most).expect_err("too many");
        for said in ["need 101 MB", "is 100 MB", "fewer references"] {
            assert!(words.contains(said), "{said:?} is not in {words}");
        }
    }
}
