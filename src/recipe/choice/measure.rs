//! The scores of a recipe's good and bad pictures under each combination.
//!
//! Each picture is encoded once for each number of cells, for all blocks together; only the comparison is done
//! again for each block. A good picture is compared with all other good ones, a bad one with all of them. The
//! CPU encodes whatever engine the line has: a TensorRT plan is built for one block, and minutes for each of them
//! would be too long.

use super::combinations::with;
use super::pasted::{self, pasted};
use super::rule::CombinationScores;
use crate::base::exit::{Exit, Failure, chain};
use crate::data::map::Map;
use crate::data::picture::Picture;
use crate::engine::select::{Backend, Engines};
use crate::engine::{EncodePlan, EngineError, PatchLayer};
use crate::image::file as image_file;
use crate::model::ModelFolder;
use crate::recipe::library::choice_note::Combination;
use crate::recipe::locate::{located, refuse_not_found};
use crate::recipe::preparation::Preparation;
use crate::recipe::quality::Gate;
use crate::recipe::references::{DECODED_BYTES, References};
use crate::recipe::spec::RecipeSpec;
use crate::winclip::inspector::{InspectError, RegionFeatures};
use crate::winclip::room::{FEATURES_MAX, FeatureRoom};
use crate::winclip::{Inspector, Recipe, TopShare};
use std::path::{Path, PathBuf};

/// Pictures of each kind that are compared, at most: the features of all blocks lie in memory.
pub const PICTURES_MAX: usize = 64;

/// The pictures of known parts that combinations are judged by, with the parts at their place where the recipe
/// locates them.
pub struct KnownParts {
    good: Vec<Picture>,
    bad: Vec<Picture>,
    /// Words on pictures that are not counted.
    pub passed_over: Vec<String>,
}

impl KnownParts {
    /// Reads the references and bad pictures of a recipe. Bad ones that no part of the line could be like are
    /// passed over, and more than [`PICTURES_MAX`] of a kind are thinned evenly.
    ///
    /// # Errors
    /// When a reference cannot be read.
    pub fn read(spec: &RecipeSpec, bad: &[PathBuf]) -> Result<Self, Failure> {
        let mut passed_over = vec![];
        let references = References::read(&spec.references, &mut |words| passed_over.push(words))?;
        let gate = Gate::new(spec.bad_image, &references.pictures);

        // Parts are brought to their place once, for all combinations.
        let recipe = located(spec.winclip.clone(), spec.locate.as_ref())?;
        refuse_not_found(&recipe, &references)?;

        let mut good = vec![];
        for picture in references.pictures {
            let in_place = recipe.in_place(picture);
            good.push(in_place.map_err(|error| Failure::new(Exit::Data, error))?);
        }

        if good.len() > PICTURES_MAX {
            passed_over.push(thinned_words("good", good.len()));
            thin(&mut good);
        }

        let mut parts = KnownParts {
            good,
            bad: vec![],
            passed_over,
        };

        parts.read_bad(bad, &recipe, &gate)?;
        Ok(parts)
    }

    /// Reads bad pictures until there are [`PICTURES_MAX`], those first that lie evenly apart. No more of them are in
    /// memory than are compared.
    fn read_bad(&mut self, files: &[PathBuf], recipe: &Recipe, gate: &Gate) -> Result<(), Failure> {
        let mut bytes = 0;
        for file in evenly_first(files) {
            if self.bad.len() == PICTURES_MAX {
                self.passed_over.push(thinned_words("bad", files.len()));
                break;
            }

            match read_one(file, recipe, gate) {
                Err(words) => self.passed_over.push(words),
                Ok(picture) => {
                    bytes += picture.rgb().len();
                    self.bad.push(picture);
                }
            }

            if bytes > DECODED_BYTES {
                let words = format!(
                    "--choose: the first {} bad pictures hold {bytes} bytes decoded, and at most {DECODED_BYTES} are held at once; give fewer, or smaller pictures",
                    self.bad.len()
                );

                return Err(Failure::words(Exit::Data, words));
            }
        }

        Ok(())
    }

    /// Number of good pictures.
    pub fn good_count(&self) -> usize {
        self.good.len()
    }

    /// Number of bad pictures.
    pub fn bad_count(&self) -> usize {
        self.bad.len()
    }
}

/// Keeps [`PICTURES_MAX`] of more pictures, evenly apart.
fn thin(pictures: &mut Vec<Picture>) {
    let all = pictures.len();
    let mut place = 0;
    pictures.retain(|_| {
        let is_kept = is_even(place, all);
        place += 1;
        is_kept
    });
}

/// True for [`PICTURES_MAX`] of `all` places, evenly apart; for each where there are no more.
fn is_even(place: usize, all: usize) -> bool {
    // The place is taken at which the even scale passes a whole number.
    (place + 1) * PICTURES_MAX / all > place * PICTURES_MAX / all
}

/// All files: those first that lie evenly apart, then the others, which fill the places of those that cannot be used.
fn evenly_first(files: &[PathBuf]) -> Vec<&PathBuf> {
    let mut even = vec![];
    let mut others = vec![];
    for (place, file) in files.iter().enumerate() {
        if is_even(place, files.len()) {
            even.push(file);
        } else {
            others.push(file);
        }
    }

    even.extend(others);
    even
}

fn thinned_words(kind: &str, all: usize) -> String {
    format!("{PICTURES_MAX} of the {all} {kind} pictures are compared, evenly apart")
}

/// A picture of a bad part at its place, or why it does not count.
fn read_one(file: &Path, recipe: &Recipe, gate: &Gate) -> Result<Picture, String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let picture = image_file::read(file).map_err(|error| chain(&error))?;
    if let Some(flaw) = gate.flaw(&picture) {
        return Err(format!(
            "bad {name}: a part's picture would not be judged: {flaw}; not counted"
        ));
    }

    let in_place = recipe.in_place(picture);
    in_place.map_err(|error| format!("bad {name}: {}; not counted", chain(&error)))
}

/// How a picture is encoded: as a reference, or as one that is judged.
type Encoding = fn(&mut Inspector, &Picture) -> Result<RegionFeatures, InspectError>;

/// Model and engines that combinations are measured with.
pub struct Measuring<'a> {
    /// The line's model.
    pub model: &'a ModelFolder,
    /// The line's engines; the CPU's is used.
    pub engines: &'a Engines,
    /// The recipe.
    pub spec: &'a RecipeSpec,
    /// The parts.
    pub parts: &'a KnownParts,
}

impl Measuring<'_> {
    /// Returns the scores of each combination, in their order. `progress` hears how many pictures of how many are
    /// encoded.
    ///
    /// # Errors
    /// When a picture does not fit the recipe, or the engine is missing or fails.
    pub fn scores(
        &self,
        combinations: &[Combination],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<CombinationScores>, Failure> {
        let inputs = inputs_of(combinations);

        // Each picture is encoded once for each input.
        let good = self.parts.good.len();
        let bad = self.parts.bad.len();
        let pictures = good + bad + pasted::count(good);
        let all = inputs.len() * pictures;
        self.check_room(combinations, &inputs)?;

        let mut scores = vec![CombinationScores::default(); combinations.len()];
        for (number, input) in inputs.iter().enumerate() {
            let of_input: Vec<usize> = (0..combinations.len())
                .filter(|place| combinations[*place].has_cells_of(input))
                .collect();

            // One run of the model gives the patches of all blocks.
            let blocks = blocks_of(combinations, input);
            let done = number * pictures;
            let mut encoded = self.encoded(input, &blocks, &mut |of_input| {
                progress(done + of_input, all);
            })?;

            for (layer, block) in blocks.iter().enumerate() {
                let here: Vec<usize> = of_input
                    .iter()
                    .copied()
                    .filter(|place| combinations[*place].block == *block)
                    .collect();

                // The shares differ only in what is made of the maps, which are the same for all.
                let of_combinations = here.iter().map(|at| combinations[*at].top_share);
                let shares: Vec<f64> = of_combinations.collect();
                let found = encoded
                    .scores(layer, &shares)
                    .map_err(|error| Failure::new(Exit::Software, error))?;

                for (place, found) in here.into_iter().zip(found) {
                    scores[place] = found;
                }

                // The comparison of a fine map takes seconds for each block.
                tracing::info!("block {block}: {pictures} pictures compared");
            }
        }

        Ok(scores)
    }
    /// Refuses what would not fit into memory, before anything is encoded.
    fn check_room(
        &self,
        combinations: &[Combination],
        inputs: &[Combination],
    ) -> Result<(), Failure> {
        let good = self.parts.good.len();
        let others = self.parts.bad.len() + pasted::count(good);
        for input in inputs {
            let blocks = blocks_of(combinations, input);
            let (recipe, plan) = self.planned(input, &blocks)?;
            let room = FeatureRoom::new(&recipe, &self.model.spec, &plan);
            let bytes = room.bytes(good, others);

            if bytes > FEATURES_MAX {
                let words = format!(
                    "--choose: the features of {} pictures for {} blocks take {} MB (at most {}), and nothing was measured; give fewer pictures, a larger tile_px, turned = \"none\" or a smaller input, or teach without --choose",
                    good + others,
                    blocks.len(),
                    bytes >> 20,
                    FEATURES_MAX >> 20
                );

                return Err(Failure::words(Exit::Data, words));
            }
        }

        Ok(())
    }

    /// The recipe with the cells of `input`, and the plan of all blocks that are compared.
    fn planned(
        &self,
        input: &Combination,
        blocks: &[usize],
    ) -> Result<(Recipe, EncodePlan), Failure> {
        let recipe = with(input, &self.spec.winclip);
        let recipe = recipe.for_pictures_like(self.parts.good.first());

        // The plan of the recipe has one patch layer; this one has all blocks that are compared.
        let mut plan = recipe
            .encode_plan(&self.model.spec, true)
            .map_err(|problems| Failure::words(Exit::Config, problems.to_string()))?;

        let layers = blocks.iter().map(|block| PatchLayer::Block(*block));
        plan.patches = layers.collect();

        Ok((recipe, plan))
    }

    /// Encodes all pictures once for these blocks.
    fn encoded(
        &self,
        input: &Combination,
        blocks: &[usize],
        progress: &mut dyn FnMut(usize),
    ) -> Result<EncodedParts, Failure> {
        let (recipe, plan) = self.planned(input, blocks)?;
        let preparation = Preparation {
            model: self.model,
            recipe: &recipe,
            plan: &plan,
            engines: &Engines {
                backend: Backend::Onnx,
                ..self.engines.clone()
            },
            wrong_recipe: Exit::Config,
        };

        let mut inspector = preparation.inspector_without_references()?;

        let mut done = 0;
        let mut encode = |picture: &Picture, way: Encoding| {
            let features = way(&mut inspector, picture).map_err(failure)?;
            done += 1;
            progress(done);
            Ok::<RegionFeatures, Failure>(features)
        };

        let mut good = vec![];
        for picture in &self.parts.good {
            // The good ones are the references, too.
            good.push(encode(picture, Inspector::encode_reference)?);
        }

        let mut bad = vec![];
        for picture in &self.parts.bad {
            bad.push(encode(picture, Inspector::encode)?);
        }

        // Defects beside the crop would not be seen.
        let region = recipe.regions.first();
        let crop = region.and_then(|region| region.crop);
        let mut drawn = vec![];
        for one in pasted(&self.parts.good, crop) {
            drawn.push((one.of, encode(&one.picture, Inspector::encode)?));
        }

        Ok(EncodedParts {
            inspector,
            good,
            bad,
            pasted: drawn,
        })
    }
}

/// The blocks that are compared with as many cells as `input` has.
fn blocks_of(combinations: &[Combination], input: &Combination) -> Vec<usize> {
    let of_input = combinations.iter().filter(|one| one.has_cells_of(input));
    let mut blocks: Vec<usize> = of_input.map(|one| one.block).collect();
    blocks.sort_unstable();
    blocks.dedup();

    blocks
}

/// One combination for each number of cells, in their order.
fn inputs_of(combinations: &[Combination]) -> Vec<Combination> {
    let mut inputs: Vec<Combination> = vec![];
    for combination in combinations {
        let is_known = inputs.iter().any(|input| input.has_cells_of(combination));
        if !is_known {
            inputs.push(*combination);
        }
    }

    inputs
}

fn failure(error: InspectError) -> Failure {
    match error {
        InspectError::Engine(_) => Failure::new(Exit::Software, error),
        _ => Failure::new(Exit::Data, error),
    }
}

/// The parts, encoded for several blocks.
struct EncodedParts {
    inspector: Inspector,
    good: Vec<RegionFeatures>,
    bad: Vec<RegionFeatures>,
    /// Each with the place of the good picture that it was made of.
    pasted: Vec<(usize, RegionFeatures)>,
}

impl EncodedParts {
    /// The scores by the patches of one of the layers, for each share.
    fn scores(
        &mut self,
        layer: usize,
        shares: &[f64],
    ) -> Result<Vec<CombinationScores>, EngineError> {
        let good = self.good.iter().map(|features| features.of_layer(layer));
        self.inspector.set_references(good.collect())?;

        // There is one region, which `combinations::check` has seen to.
        let left_out = self.inspector.leave_one_out()?.swap_remove(0);
        let good: Vec<Map> = left_out.into_iter().map(|(_, map)| map).collect();

        let mut bad = vec![];
        for features in &self.bad {
            let of_layer = features.of_layer(layer);
            let mut scores = self.inspector.score(&of_layer)?;
            bad.push(scores.swap_remove(0).1);
        }

        // A drawn defect is not compared with the picture that it was made of, as a good one is not with itself.
        let mut drawn = vec![];
        for (of, features) in &self.pasted {
            let of_layer = features.of_layer(layer);
            let mut scores = self.inspector.score_without(*of, &of_layer)?;
            drawn.push(scores.swap_remove(0).1);
        }

        let mut all = vec![];
        for share in shares {
            let share = TopShare::new(*share).unwrap_or(TopShare::USUAL);
            let scores_of = |maps: &[Map]| {
                let maps = maps.iter();
                maps.map(|map| self.inspector.top_score(0, map, share))
                    .collect()
            };

            all.push(CombinationScores {
                good: scores_of(&good),
                bad: scores_of(&bad),
                pasted: scores_of(&drawn),
            });
        }

        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_lie_evenly_apart_come_first_and_the_others_fill_up() {
        let files: Vec<PathBuf> = (0..200).map(|number| number.to_string().into()).collect();
        let order = evenly_first(&files);
        assert_eq!(order.len(), 200);
        let first: Vec<usize> = order[..PICTURES_MAX]
            .iter()
            .map(|file| file.to_string_lossy().parse().expect("a number"))
            .collect();

        let steps: Vec<usize> = first.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|step| (3..=4).contains(step)), "{steps:?}");
        assert_eq!(evenly_first(&files[..3]).len(), 3);
        assert!(evenly_first(&[]).is_empty());
    }
}
