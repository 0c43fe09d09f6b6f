//! `engines/catalogue.toml`: models that can be fetched by name, their origins, and checks of their
//! files; and the default block of each model whose weights are known.

use super::default_block::DefaultBlock;
use crate::base::problems::unknown_key;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// The catalogue that is compiled in.
pub const OURS: &str = include_str!("../../engines/catalogue.toml");
/// Bytes of weights at most, where the catalogue does not say.
const WEIGHTS_MAX: u64 = 8 << 30;
/// Bytes of a configuration, vocabulary or merge list at most, where the catalogue does not say.
const TEXT_MAX: u64 = 16 << 20;
const HUB: &str = "https://huggingface.co";

/// Models that can be fetched, and others that are known by their weights.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    #[serde(rename = "model")]
    models: Vec<CatalogueModel>,
    /// Weights that come from elsewhere.
    #[serde(rename = "weights", default)]
    weights: Vec<KnownWeights>,
}

/// Weights that no fetch brings, and their default block.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownWeights {
    /// Checksum of the file of weights that is imported.
    #[serde(deserialize_with = "sha256")]
    sha256: Option<String>,
    block: DefaultBlock,
}

/// A model that can be fetched.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueModel {
    /// Name by which it is asked for.
    pub name: String,
    /// Description in a line.
    pub about: String,
    /// Repository on the hub: `owner/name`.
    pub repository: String,
    /// Commit in the repository.
    pub revision: String,
    /// Licence of the weights.
    pub licence: String,
    /// Block whose patches are compared where a recipe names none. `None`: the rule's.
    pub block: Option<DefaultBlock>,
    /// Files to fetch.
    #[serde(rename = "file")]
    pub files: Vec<CatalogueFile>,
}

/// A file of a model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueFile {
    /// Name without a folder: it is a file name here, too.
    #[serde(deserialize_with = "plain_name")]
    pub name: String,
    /// Checksum, 64 hex digits in small letters. `None` if it is not known.
    #[serde(default, deserialize_with = "sha256")]
    pub sha256: Option<String>,
    /// Size in bytes, where it is known. A larger answer of a server is not taken.
    pub bytes: Option<u64>,
    /// Text that the file must contain. `None`: any.
    pub contains: Option<String>,
}

impl Catalogue {
    /// Reads a catalogue.
    ///
    /// # Errors
    /// In words: what cannot be read, and where.
    pub fn parse(toml: &str) -> Result<Self, String> {
        // Every entry is checked while it is read: an unknown key, a path or half a checksum is an
        // error with its line.
        toml::from_str(toml).map_err(|error| error.to_string())
    }

    /// The model of this name.
    ///
    /// # Errors
    /// In words: the nearest name, and all that there are.
    pub fn find(&self, name: &str) -> Result<&CatalogueModel, String> {
        // Names are compared exactly: a guessed one could fetch gigabytes of another model.
        let found = self.models.iter().find(|model| model.name == name);

        found.ok_or_else(|| self.unknown(name))
    }

    /// The default block of the weights of this hex SHA-256. `None` for weights that are not known.
    pub fn block_of(&self, sha256: &str) -> Option<&DefaultBlock> {
        let is_theirs = |file: &CatalogueFile| {
            file.name.ends_with(".safetensors") && file.sha256.as_deref() == Some(sha256)
        };

        let fetched = self
            .models
            .iter()
            .filter(|model| model.files.iter().any(is_theirs));
        let others = self
            .weights
            .iter()
            .filter(|known| known.sha256.as_deref() == Some(sha256));
        let others = others.map(|known| &known.block);

        fetched.flat_map(|model| &model.block).chain(others).next()
    }

    fn unknown(&self, name: &str) -> String {
        // The words are those for an unknown key of a configuration, with the nearest name.
        let names = self.models.iter().map(|model| model.name.as_str());
        let words = unknown_key(name, names).replace("unknown key", "unknown model");

        // All names with their descriptions follow, since there is no other list of them to look
        // at.
        let mut text = format!("{words}\nknown models:");

        for model in &self.models {
            text.push_str(&format!("\n  {:<20} {}", model.name, model.about));
        }

        text
    }
}

impl CatalogueFile {
    /// Bytes of the file at most: its size, or else what files of its kind have.
    pub fn bytes_max(&self) -> u64 {
        match self.bytes {
            Some(bytes) => bytes,
            None if self.name.ends_with(".safetensors") => WEIGHTS_MAX,
            None => TEXT_MAX,
        }
    }
}

impl CatalogueModel {
    /// The folder of its files on the hub.
    pub fn url(&self) -> String {
        // The commit stands in the URL, so that the files stay the same for ever.
        format!("{HUB}/{}/resolve/{}", self.repository, self.revision)
    }

    /// `owner/name@revision`: the origin that its model folder names.
    pub fn source(&self) -> String {
        format!("{}@{}", self.repository, self.revision)
    }
}

/// The default block of the weights of this hex SHA-256; `None` for weights that our catalogue does not know.
pub fn known_block(sha256: &str) -> Option<DefaultBlock> {
    let ours = Catalogue::parse(OURS).expect("a test reads it");

    ours.block_of(sha256).cloned()
}

fn plain_name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    // The name becomes a path on this machine and a part of the URL, where a separator or a leading
    // dot would lead elsewhere.
    let name = String::deserialize(from)?;

    if is_plain(&name) {
        return Ok(name);
    }

    let words = "must be letters, digits, '.', '_' and '-', and not begin with '.'";
    Err(D::Error::custom(format!(
        "file name: {words}, got {name:?}"
    )))
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_allowed)
}

fn is_small_hex_digit(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

fn sha256<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    // Only small letters are right, because checksums are compared as text.
    let text = String::deserialize(from)?;

    // SHA-256 has 32 bytes, two digits each.
    if text.len() == 64 && text.bytes().all(is_small_hex_digit) {
        return Ok(Some(text));
    }

    Err(D::Error::custom(format!(
        "sha256: must be 64 hex digits in small letters, got {text:?}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BlockBasis;

    #[test]
    fn our_catalogue_can_be_read_and_names_each_model_once() {
        let catalogue = Catalogue::parse(OURS).expect("ours");
        for model in &catalogue.models {
            let name = &model.name;
            let same_name = catalogue.models.iter().filter(|other| other.name == *name);
            assert_eq!(same_name.count(), 1, "{name}");
            let is_weights = |file: &CatalogueFile| file.name.ends_with(".safetensors");
            assert!(model.files.iter().any(is_weights), "{name}");
        }

        let found = catalogue.find("dinov2-small").expect("there");
        assert!(
            found
                .url()
                .starts_with("https://huggingface.co/facebook/dinov2-small/resolve/ed25f3a3")
        );
    }

    #[test]
    fn known_weights_have_their_block_whether_a_fetch_brings_them_or_not() {
        let small = known_block("ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1");
        let small = small.expect("facebook/dinov2-small");
        assert_eq!((small.number, small.basis), (9, BlockBasis::Literature));
        let tuned = known_block("6eb9d96aee8d8b0bfbcdf48f526b62b8ea8a17dd30a38be161ade810c333e554");
        let tuned = tuned.expect("examples/demo_model");
        assert_eq!((tuned.number, tuned.basis), (9, BlockBasis::Measured));
        assert_eq!(known_block("00"), None);
        // Each model without words has one, and those with words keep to the paper.
        let ours = Catalogue::parse(OURS).expect("ours");
        for model in &ours.models {
            let is_dinov2 = model.name.starts_with("dinov2");
            assert_eq!(model.block.is_some(), is_dinov2, "{}", model.name);
        }
    }

    #[test]
    fn a_file_name_that_leads_elsewhere_and_half_a_checksum_are_refused() {
        let entry = |file: &str| {
            format!(
                "[[model]]\nname=\"a\"\nabout=\"\"\nrepository=\"a/b\"\nrevision=\"main\"\nlicence=\"\"\nfile=[{file}]"
            )
        };

        for name in ["../x", "/x", "a/b", "", ".part", "a b"] {
            let error = Catalogue::parse(&entry(&format!("{{name={name:?}}}"))).expect_err(name);
            assert!(error.contains("file name: must be"), "{error}");
        }

        let error =
            Catalogue::parse(&entry("{name=\"x\", sha256=\"abc\"}")).expect_err("too short");

        assert!(error.contains("64 hex digits"), "{error}");
        Catalogue::parse(&entry("{name=\"x.json\"}")).expect("right");
    }
}
