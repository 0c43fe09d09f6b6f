//! The command that builds a recipe's TensorRT plan, told where a running line may not build it.

use crate::engine::select::Engines;
use crate::winclip::{MapKind, Recipe};
use std::path::{Path, PathBuf};

/// Returns the `winspect engine build` that makes what `recipe` needs, as a shell takes it.
pub fn build_command(engines: &Engines, recipe: &Recipe, model: &Path) -> String {
    // The flags are every setting that the plan's key is made of: a command that leaves one out
    // would build another plan. Those that the recipe does not set are left out, and have the same
    // default there.
    let flags = [
        ("precision", Some(engines.precision.name().to_owned())),
        ("preset", Some(recipe.preset.name().to_owned())),
        ("input-px", recipe.input_px.map(|side| side.to_string())),
        ("block", recipe.block.map(|block| block.to_string())),
        ("maps", recipe.maps.as_deref().map(map_list)),
        ("scales", scale_list(&recipe.scales)),
        ("tensorrt", quoted_path(engines.tensorrt.as_ref())),
        ("onnxruntime", quoted_path(engines.onnxruntime.as_ref())),
    ];

    // The model's folder is the only argument; the rest are flags.
    let mut command = format!("winspect engine build {}", quoted(model));
    for (flag, value) in flags {
        if let Some(value) = value {
            command += &format!(" --{flag} {value}");
        }
    }

    command
}

fn map_list(maps: &[MapKind]) -> String {
    let names: Vec<String> = maps.iter().map(MapKind::to_string).collect();
    names.join(",")
}

fn scale_list(scales: &[usize]) -> Option<String> {
    let numbers: Vec<String> = scales.iter().map(usize::to_string).collect();
    (!numbers.is_empty()).then(|| numbers.join(","))
}

fn quoted_path(path: Option<&PathBuf>) -> Option<String> {
    Some(quoted(path?))
}

/// Returns a path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    // Characters that no shell gives a meaning to need no quotes.
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,".contains(c);
    if text.chars().all(is_plain) {
        return text;
    }

    // Single quotes keep all others as they are; a single quote itself ends the string, stands
    // escaped, and begins it again.
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_spaces_and_quotes_is_one_word_for_a_shell() {
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
