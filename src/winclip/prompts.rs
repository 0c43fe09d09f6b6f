//! The compositional prompt ensemble: every template with every state of the object (WinCLIP, section 4.1 and
//! table 4), and the two prototypes that its embeddings become.

use super::Recipe;
use super::preset::{Parameters, Templates};
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

/// `_` is the article.
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
    pub normal: Vec<String>,
    pub anomalous: Vec<String>,
}

/// The ensemble for a class name, which goes in exactly as it is.
pub fn ensemble(class_name: &str, recipe: &Recipe, parameters: &Parameters) -> Prompts {
    let templates = if recipe.templates.is_empty() {
        built_in(parameters.templates)
    } else {
        recipe.templates.clone()
    };
    let with = |states: &[&str], own: &[String]| {
        let states = states.iter().copied().chain(own.iter().map(String::as_str));
        let phrases: Vec<String> = states
            .map(|state| state.replacen("{}", class_name, 1))
            .collect();
        phrases
            .iter()
            .flat_map(|p| templates.iter().map(move |t| t.replacen("{}", p, 1)))
            .collect()
    };
    Prompts {
        normal: with(&NORMAL, &recipe.normal_states),
        anomalous: with(&ANOMALOUS, &recipe.anomalous_states),
    }
}

fn built_in(templates: Templates) -> Vec<String> {
    let with = |frame: &str, article: &str| frame.replacen('_', article, 1);
    let all = FRAMES
        .iter()
        .flat_map(|frame| ["a", "the"].map(|article| with(frame, article)));
    match templates {
        Templates::All22 => all.collect(),
        Templates::NoPeriod22 => all.map(|t| t.trim_end_matches('.').to_owned()).collect(),
        Templates::Anomalib21 => {
            let doubled = with(FRAMES[4], "the");
            let missing = [with(FRAMES[0], "a"), with(FRAMES[4], "a")];
            let mut kept: Vec<String> = all.filter(|t| !missing.contains(t)).collect();
            kept.push(doubled);
            kept
        }
    }
}

/// The prototypes of a recipe, or nothing where it names no class. The text encoder is not needed afterwards.
///
/// # Errors
/// When a prompt has more tokens than the model reads, or the engine fails.
pub fn taught(
    recipe: &Recipe,
    spec: &ModelSpec,
    text: &mut dyn TextEncoder,
) -> Result<Option<Array2<f32>>, EngineError> {
    let parameters = recipe.parameters(spec);
    let prompts = recipe
        .class_name
        .as_ref()
        .map(|class| ensemble(class, recipe, &parameters));
    prompts
        .map(|prompts| prototypes(&prompts, &parameters, text))
        .transpose()
}

/// What normal and what anomalous looks like in the joint space, raw as the preset pools them: `[2, E]`.
fn prototypes(
    prompts: &Prompts,
    parameters: &Parameters,
    text: &mut dyn TextEncoder,
) -> Result<Array2<f32>, EngineError> {
    let unit = |rows: Array2<f32>| {
        if parameters.unit_prompts {
            unit_rows(rows.view())
        } else {
            rows
        }
    };
    let mut mean = |prompts: &[String]| -> Result<Array1<f32>, EngineError> {
        Ok(unit(text.encode(prompts)?)
            .mean_axis(Axis(0))
            .expect("the ensemble is never empty"))
    };
    let (normal, anomalous) = (mean(&prompts.normal)?, mean(&prompts.anomalous)?);
    Ok(unit(
        ndarray::stack(Axis(0), &[normal.view(), anomalous.view()]).expect("both are E long"),
    ))
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
