//! What is said of the block that judges where a recipe names none, and its record in the recipe library.

use crate::engine::PatchLayer;
use crate::model::ModelSpec;
use crate::recipe::library::choice_note::ChoiceNote;
use crate::recipe::library::table::Table;
use crate::winclip::{MapKind, Recipe};

/// Warns of a default block that nobody has measured.
pub fn warn(recipe: &Recipe, spec: &ModelSpec, with_references: bool) {
    if let Some(words) = warning(recipe, spec, with_references) {
        tracing::warn!("{words}");
    }
}

/// Logs which block a line judges by, where that is the model's default. One that nobody has measured is
/// warned of by [`warn`].
pub fn tell(recipe: &Recipe, spec: &ModelSpec, with_references: bool) {
    let default = recipe.default_block(spec, with_references);
    if let Some(default) = default.filter(|default| default.basis.is_measured()) {
        tracing::info!(
            "block {} of {} is compared, the model's default ({}); winspect model info says more",
            default.number,
            spec.blocks,
            default.basis.words()
        );
    }
}

/// Words on a default block that nobody has measured, with the way out. `None` where the recipe names
/// a block, or the model's is measured or published.
pub fn warning(recipe: &Recipe, spec: &ModelSpec, with_references: bool) -> Option<String> {
    let default = recipe.default_block(spec, with_references)?;
    if default.basis.is_measured() {
        return None;
    }

    let number = default.number;
    let half = (spec.blocks / 2).max(1);
    Some(format!(
        "block {number} of {} is compared by default ({}: {}): say block = N in the recipe, or --block N; winspect eval \
         --block {half},{number},{} measures several on pictures of your own",
        spec.blocks,
        default.basis.words(),
        default.source,
        spec.blocks
    ))
}

/// Says in one line which block judges by a recipe of the library, and where that comes from. `None` for a model with
/// text, and where no patches are compared.
pub fn origin(recipe: &Recipe, spec: &ModelSpec, choice: Option<&ChoiceNote>) -> Option<String> {
    let compares_patches = recipe.parameters(spec).maps.contains(&MapKind::Patch);
    let PatchLayer::Block(block) = recipe.patch_layer(spec) else {
        return None;
    };

    if spec.text.is_some() || !compares_patches {
        return None;
    }

    if let Some(choice) = choice.filter(|choice| choice.taken.block == block) {
        return Some(format!(
            "block {block} of {} judges, chosen before: {}",
            spec.blocks, choice.how
        ));
    }

    let default = spec.block_by_default();
    let from = match default.number == block {
        true => format!(
            "the model's default ({}: {})",
            default.basis.words(),
            default.source
        ),
        false => "as the recipe says".to_owned(),
    };

    Some(format!(
        "block {block} of {} judges, {from}; --choose measures others by bad pictures of this product",
        spec.blocks
    ))
}

/// Puts the model's default block into the table of a recipe that names none: a revision judges by the
/// same block for ever, whatever a later version takes by default. Models with text keep WinCLIP's layer,
/// which does not change.
pub fn record(table: &mut Table, recipe: &Recipe, spec: &ModelSpec) {
    if spec.text.is_some() {
        return;
    }

    if let Some(default) = recipe.default_block(spec, true) {
        table.insert("block".to_owned(), default.number.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec::tests::spec;
    use crate::model::{BlockBasis, DefaultBlock, TextSpec};
    use crate::recipe::library::choice_note::Combination;
    use crate::winclip::Preset;

    fn measured() -> ModelSpec {
        ModelSpec {
            default_block: Some(DefaultBlock {
                number: 7,
                basis: BlockBasis::Measured,
                source: "our nuts".to_owned(),
            }),
            ..spec(12)
        }
    }

    fn clip() -> ModelSpec {
        ModelSpec {
            text: Some(TextSpec {
                context: 77,
                vocabulary: 49408,
                width: 512,
            }),
            ..spec(12)
        }
    }

    #[test]
    fn only_a_default_that_nobody_measured_is_warned_of() {
        let plain = Recipe::new(None);
        let words = warning(&plain, &spec(12), true).expect("by the rule");
        assert!(words.starts_with("block 9 of 12 is compared"), "{words}");
        assert!(words.contains("block = N"), "{words}");
        let named = Recipe {
            block: Some(9),
            ..plain.clone()
        };

        let windows = Recipe {
            maps: Some(vec![MapKind::Windows(2)]),
            ..plain.clone()
        };

        // No patches are compared without references, nor by windows alone.
        assert_eq!(warning(&named, &spec(12), true), None);
        assert_eq!(warning(&windows, &spec(12), true), None);
        assert_eq!(warning(&plain, &spec(12), false), None);
        assert_eq!(warning(&plain, &measured(), true), None);
        assert_eq!(warning(&plain, &clip(), true), None);
    }

    #[test]
    fn the_block_that_judges_is_told_with_where_it_comes_from() {
        let recipe = |block| Recipe {
            block,
            ..Recipe::new(None)
        };

        let told = |recipe: &Recipe, choice| origin(recipe, &measured(), choice);
        let words = told(&recipe(None), None).expect("patches are compared");
        assert!(
            words.starts_with(
                "block 7 of 12 judges, the model's default (measured: our nuts); --choose"
            ),
            "{words}"
        );
        let words = told(&recipe(Some(5)), None).expect("patches are compared");
        assert!(
            words.starts_with("block 5 of 12 judges, as the recipe says"),
            "{words}"
        );
        let values = |block| Combination {
            block,
            cells: None,
            top_share: 0.01,
        };

        let choice = ChoiceNote {
            taken: values(5),
            baseline: values(7),
            how: "by 4 bad ones".to_owned(),
            unknown: String::new(),
        };

        let words = told(&recipe(Some(5)), Some(&choice)).expect("patches are compared");
        assert_eq!(words, "block 5 of 12 judges, chosen before: by 4 bad ones");
        // A block that was named since is not the choice's.
        let words = told(&recipe(Some(6)), Some(&choice)).expect("patches are compared");
        assert!(words.contains("as the recipe says"), "{words}");
        assert_eq!(origin(&recipe(None), &clip(), None), None);
    }

    #[test]
    fn the_default_block_is_recorded_once_and_never_for_words() {
        let recorded = |recipe: &Recipe, spec: &ModelSpec| {
            let mut table = Table::new();
            record(&mut table, recipe, spec);
            table.get("block").cloned()
        };

        let plain = Recipe::new(None);
        assert_eq!(recorded(&plain, &spec(12)), Some(9.into()));
        assert_eq!(recorded(&plain, &measured()), Some(7.into()));
        let named = Recipe {
            block: Some(3),
            ..plain.clone()
        };

        assert_eq!(recorded(&named, &spec(12)), None);
        assert_eq!(recorded(&plain, &clip()), None);
        let anomalib = Recipe {
            preset: Preset::Anomalib,
            ..plain
        };

        assert_eq!(recorded(&anomalib, &clip()), None);
    }
}
