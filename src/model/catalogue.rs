//! `engines/catalogue.toml`: which models can be fetched by name, from where, and what their files have to be.

use crate::base::problems::unknown_key;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// The catalogue that is compiled in.
pub const OURS: &str = include_str!("../../engines/catalogue.toml");
const HUB: &str = "https://huggingface.co";

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    #[serde(rename = "model")]
    entries: Vec<Entry>,
}

/// A model that can be fetched.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub name: String,
    /// What it is, in a line.
    pub about: String,
    /// Its repository on the hub: `owner/name`.
    pub repository: String,
    pub revision: String,
    pub licence: String,
    #[serde(rename = "file")]
    pub files: Vec<Wanted>,
}

/// A file of a model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Plain, without a folder: it is a file name here, too.
    #[serde(deserialize_with = "plain_name")]
    pub name: String,
    /// 64 hex digits in small letters, where one is known.
    #[serde(default, deserialize_with = "sha256")]
    pub sha256: Option<String>,
    /// Text that has to be in it.
    pub contains: Option<String>,
}

impl Catalogue {
    /// # Errors
    /// In words: what cannot be read, and where.
    pub fn parse(toml: &str) -> Result<Self, String> {
        toml::from_str(toml).map_err(|error| error.to_string())
    }

    /// # Errors
    /// In words: the nearest name, and all that there are.
    pub fn find(&self, name: &str) -> Result<&Entry, String> {
        self.entries
            .iter()
            .find(|entry| entry.name == name)
            .ok_or_else(|| {
                let words = unknown_key(name, self.entries.iter().map(|entry| entry.name.as_str()));
                let known = self
                    .entries
                    .iter()
                    .map(|entry| format!("\n  {:<20} {}", entry.name, entry.about));
                format!(
                    "{}\nknown models:{}",
                    words.replace("unknown key", "unknown model"),
                    known.collect::<String>()
                )
            })
    }
}

impl Entry {
    /// The folder of its files on the hub.
    pub fn url(&self) -> String {
        format!("{HUB}/{}/resolve/{}", self.repository, self.revision)
    }

    /// `owner/name@revision`: what a model folder says of where it came from.
    pub fn source(&self) -> String {
        format!("{}@{}", self.repository, self.revision)
    }
}

fn plain_name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    let plain = !name.starts_with('.')
        && !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let words = "must be letters, digits, '.', '_' and '-', and not begin with '.'";
    if plain {
        Ok(name)
    } else {
        Err(D::Error::custom(format!(
            "file name: {words}, got {name:?}"
        )))
    }
}

fn sha256<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(from)?;
    if text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    {
        return Ok(Some(text));
    }
    Err(D::Error::custom(format!(
        "sha256: must be 64 hex digits in small letters, got {text:?}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_catalogue_can_be_read_and_names_each_model_once() {
        let catalogue = Catalogue::parse(OURS).expect("ours");
        for entry in &catalogue.entries {
            assert_eq!(
                catalogue
                    .entries
                    .iter()
                    .filter(|other| other.name == entry.name)
                    .count(),
                1,
                "{}",
                entry.name
            );
            assert!(
                entry
                    .files
                    .iter()
                    .any(|file| file.name.ends_with(".safetensors")),
                "{}",
                entry.name
            );
        }
        let found = catalogue.find("dinov2-small").expect("there");
        assert!(
            found
                .url()
                .starts_with("https://huggingface.co/facebook/dinov2-small/resolve/ed25f3a3")
        );
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
