//! The compositional prompt ensemble: every template with every state of the object (WinCLIP,
//! section 4.1 and table 4), and the two prototypes that its embeddings become.

use super::preset::{Parameters, Templates};
use super::recipe::Recipe;
use super::vectors::unit_rows;
use crate::engine::{EngineError, TextEncoder};
use crate::model::ModelSpec;
use ndarray::{Array1, Array2, Axis};

const NORMAL: [&str; 7] = [
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "{} without flaw",
    "{} without defect",
    "{} without damage",
];
const ANOMALOUS: [&str; 4] = [
    "damaged {}",
    "{} with flaw",
    "{} with defect",
    "{} with damage",
];

/// The paper's templates; `_` is the article.
const FRAMES: [&str; 11] = [
    "a cropped photo of _ {}.",
    "a close-up photo of _ {}.",
    "a bright photo of _ {}.",
    "a dark photo of _ {}.",
    "a jpeg corrupted photo of _ {}.",
    "a blurry photo of _ {}.",
    "a photo of _ {}.",
    "a photo of _ small {}.",
    "a photo of _ large {}.",
    "a photo of _ {} for visual inspection.",
    "a photo of _ {} for anomaly detection.",
];

/// The two lists of prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompts {
    /// Prompts of a good part.
    pub normal: Vec<String>,
    /// Prompts of a bad part.
    pub anomalous: Vec<String>,
}

/// The ensemble for a class name, which goes in exactly as it is.
pub fn ensemble(class_name: &str, recipe: &Recipe, parameters: &Parameters) -> Prompts {
    // A recipe's own templates replace the built-in ones, because a plant that writes its own knows
    // its pictures.
    let templates = match recipe.templates.is_empty() {
        true => built_in(parameters.templates),
        false => recipe.templates.clone(),
    };

    // A recipe's own states come in addition to the built-in ones, which every good and every bad
    // part has.
    let normal = phrases(class_name, &NORMAL, &recipe.normal_states);
    let anomalous = phrases(class_name, &ANOMALOUS, &recipe.anomalous_states);
    Prompts {
        normal: filled(&templates, &normal),
        anomalous: filled(&templates, &anomalous),
    }
}

/// The class name in each built-in state, then in each of the recipe's own.
fn phrases(class_name: &str, states: &[&str], own: &[String]) -> Vec<String> {
    // The name is put in once: a state has exactly one place, which the recipe's check has made
    // sure of.
    let own = own.iter().map(String::as_str);
    let states = states.iter().copied().chain(own);
    states
        .map(|state| state.replacen("{}", class_name, 1))
        .collect()
}

/// Each phrase in each template.
fn filled(templates: &[String], phrases: &[String]) -> Vec<String> {
    // The prompts are all phrases times all templates, phrase by phrase; the order does not matter
    // to their mean.
    let mut prompts = Vec::with_capacity(templates.len() * phrases.len());
    for phrase in phrases {
        for template in templates {
            prompts.push(template.replacen("{}", phrase, 1));
        }
    }

    prompts
}

fn built_in(templates: Templates) -> Vec<String> {
    // Each frame comes with both articles, hence 22 templates.
    let mut all = Vec::with_capacity(2 * FRAMES.len());
    for frame in FRAMES {
        all.push(with_article(frame, "a"));
        all.push(with_article(frame, "the"));
    }

    match templates {
        // The paper's list is taken as it is; the others are those of public code.
        Templates::All22 => all,
        Templates::NoPeriod22 => all
            .iter()
            .map(|template| template.trim_end_matches('.').to_owned())
            .collect(),
        Templates::Anomalib21 => {
            // Anomalib lacks two templates and has one of the others twice. The preset repeats
            // that, because its scores are compared with anomalib's.
            let missing = [with_article(FRAMES[0], "a"), with_article(FRAMES[4], "a")];
            let doubled = with_article(FRAMES[4], "the");
            all.retain(|template| !missing.contains(template));
            all.push(doubled);
            all
        }
    }
}

fn with_article(frame: &str, article: &str) -> String {
    frame.replacen('_', article, 1)
}

/// Raw prototypes `[2, E]` (normal, anomalous) of a recipe. `None` where it names no class. The
/// text encoder is not needed afterwards.
///
/// # Errors
/// When a prompt has more tokens than the model reads, or the engine fails.
pub fn prototypes(
    recipe: &Recipe,
    spec: &ModelSpec,
    text: &mut dyn TextEncoder,
) -> Result<Option<Array2<f32>>, EngineError> {
    // Without a class name there are no words to compare with, and the references judge alone.
    let Some(class_name) = &recipe.class_name else {
        return Ok(None);
    };

    // Two mean embeddings `[E]`, of the normal and of the anomalous prompts, stacked in the order
    // that `Language` reads.
    let parameters = recipe.parameters(spec);
    let prompts = ensemble(class_name, recipe, &parameters);
    let normal = prototype(&prompts.normal, &parameters, text)?;
    let anomalous = prototype(&prompts.anomalous, &parameters, text)?;
    // Both rows come out of the same text tower, hence both have its E numbers.
    let both =
        ndarray::stack(Axis(0), &[normal.view(), anomalous.view()]).expect("both are E long");

    Ok(Some(pooled(both, &parameters)))
}

/// Mean embedding `[E]` of the prompts, raw as the preset pools them.
fn prototype(
    prompts: &[String],
    parameters: &Parameters,
    text: &mut dyn TextEncoder,
) -> Result<Array1<f32>, EngineError> {
    // The preset says whether each embedding is brought to unit length before the mean is taken.
    let embeddings = pooled(text.encode(prompts)?, parameters);
    Ok(embeddings
        .mean_axis(Axis(0))
        .expect("the ensemble is never empty"))
}

/// Rows of unit length, where the preset wants that.
fn pooled(rows: Array2<f32>, parameters: &Parameters) -> Array2<f32> {
    match parameters.unit_prompts {
        true => unit_rows(rows.view()),
        false => rows,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Preset;
    use super::*;

    fn counts(preset: Preset) -> (usize, usize) {
        let prompts = ensemble(
            "metal nut",
            &Recipe::new(Some("metal nut".into())),
            &preset.parameters(&[2, 3]),
        );

        (prompts.normal.len(), prompts.anomalous.len())
    }

    #[test]
    fn each_preset_has_its_published_number_of_prompts() {
        assert_eq!(counts(Preset::Paper), (154, 88));
        assert_eq!(counts(Preset::Anomalib), (147, 84));
        assert_eq!(counts(Preset::Caoyunkang), (154, 88));
    }

    #[test]
    fn a_class_name_with_braces_or_underscores_goes_in_as_it_is() {
        let recipe = Recipe::new(Some("{}_{nut}".into()));
        let prompts = ensemble("{}_{nut}", &recipe, &Preset::Paper.parameters(&[2, 3]));
        assert_eq!(prompts.normal[0], "a cropped photo of a {}_{nut}.");
        assert!(
            prompts
                .anomalous
                .contains(&"a photo of the damaged {}_{nut}.".to_owned())
        );
    }
}
