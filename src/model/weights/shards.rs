//! The index of weights in several files, shards, as transformers writes it:
//! `model.safetensors.index.json` says for each tensor in which file it is (`weight_map`).

use super::file::WeightsFile;
use crate::base::problems::Problems;
use crate::model::error::ModelError;
use safetensors::SafeTensors;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Component, Path};

/// Content of the index. Its `metadata` (sizes) is not needed.
#[derive(Deserialize)]
struct Index {
    weight_map: Entries,
}

/// Tensors with their files, in the file's order, so that a tensor that is named twice is seen.
struct Entries(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors and file names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();

                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }

                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// Maps the shards that the index `path` names, in the order of their names. Each tensor of the index
/// is in its shard, and no shard has another.
///
/// # Errors
/// All that is wrong with the index and its shards.
pub fn open(path: &Path) -> Result<Vec<WeightsFile>, ModelError> {
    let text = std::fs::read_to_string(path).map_err(|error| ModelError::read(path, error))?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|error| ModelError::Content(format!("{}: {error}", path.display())))?;

    // The index is compared with itself, then with the files that are there, then with their tensors:
    // whoever fetches a folder again wants one list.
    let mut problems = Problems::new();
    let wanted = wanted(index.weight_map.0, &mut problems);
    let folder = path.parent().unwrap_or(Path::new(""));
    let files: Vec<WeightsFile> = wanted
        .iter()
        .filter_map(|(name, tensors)| shard(folder, name, tensors.len(), &mut problems))
        .collect();

    // A shard that is missing is told once, not for each of its tensors.
    compare(&wanted, &files, &mut problems);

    if problems.is_empty() {
        return Ok(files);
    }

    let words = problems.first_lines();
    Err(ModelError::Content(format!(
        "{}: the shards are not what it says; fetch the folder again:\n  {words}",
        path.display()
    )))
}

/// The shards by their names, each with the tensors that should be in it.
fn wanted(
    entries: Vec<(String, String)>,
    problems: &mut Problems,
) -> BTreeMap<String, BTreeSet<String>> {
    if entries.is_empty() {
        problems.note("weight_map", "names no tensor");
    }

    // `places` finds what is named twice, and `outside` tells a wrong file once.
    let mut shards: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    let mut outside = BTreeSet::new();

    for (tensor, file) in entries {
        if let Some(first) = places.get(&tensor) {
            problems.note(&tensor, format!("is named twice, in {first} and {file}"));
            continue;
        }

        places.insert(tensor.clone(), file.clone());
        if is_beside(&file) {
            shards.entry(file).or_default().insert(tensor);
        } else if outside.insert(file.clone()) {
            let words = "is not the name of a file beside the index, where shards belong";
            problems.note(format!("{file:?}"), words);
        }
    }

    shards
}

/// True for a plain file name. A link under such a name may lead anywhere: hubs' own caches are made of
/// links.
fn is_beside(file: &str) -> bool {
    let mut parts = Path::new(file).components();

    matches!(parts.next(), Some(Component::Normal(name)) if name == file) && parts.next().is_none()
}

fn shard(
    folder: &Path,
    name: &str,
    tensors: usize,
    problems: &mut Problems,
) -> Option<WeightsFile> {
    let path = folder.join(name);

    if !path.exists() {
        let words = format!("is missing; {tensors} tensors should be in it");
        problems.note(name, words);
        return None;
    }

    match WeightsFile::open(&path) {
        Ok(file) => Some(file),
        Err(error) => {
            problems.add(error);

            None
        }
    }
}

/// Notes each difference between the index and the shards that are there.
fn compare(
    wanted: &BTreeMap<String, BTreeSet<String>>,
    files: &[WeightsFile],
    problems: &mut Problems,
) {
    // The first shard of each tensor, by which a second one is seen.
    let mut found: BTreeMap<String, String> = BTreeMap::new();

    for file in files {
        let Some(tensors) = problems.check("shard", file.tensors()) else {
            continue;
        };

        // Both sides of the difference are wrong: a tensor that is not there, and one that nobody named.
        let shard = file.file_name();
        let wanted = wanted.get(&shard).expect("only wanted files are opened");
        let has: BTreeSet<String> = names(&tensors);

        for tensor in wanted.difference(&has) {
            problems.note(tensor, format!("should be in {shard}, and is not"));
        }

        for tensor in &has {
            if let Some(first) = found.get(tensor) {
                problems.note(tensor, format!("is in two shards, {first} and {shard}"));
            } else if !wanted.contains(tensor) {
                let words = format!("is in {shard}, where the index has no such tensor");
                problems.note(tensor, words);
            }

            found.insert(tensor.clone(), shard.clone());
        }
    }
}

fn names(tensors: &SafeTensors) -> BTreeSet<String> {
    tensors.names().into_iter().map(str::to_owned).collect()
}
