//! Numbers of recipes, by which a PLC selects one and hears which judges.
//!
//! The line's file gives them (`[recipe_numbers]`), and nothing else does: a number by place would change its
//! product when somebody puts a recipe in between.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Recipes that `birth` lists at most, so that it stays a message of a few kB.
const LISTED_MAX: usize = 64;

/// Numbers by the recipes' names; each number is of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecipeNumbers(BTreeMap<String, u16>);

/// A recipe as a command names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipeRef {
    /// By its name.
    Name(String),
    /// By its number.
    Number(u64),
}

impl RecipeRef {
    /// The reference in words.
    pub fn words(&self) -> String {
        match self {
            RecipeRef::Name(name) => name.clone(),
            RecipeRef::Number(number) => format!("number {number}"),
        }
    }
}

impl<'de> Deserialize<'de> for RecipeRef {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;

        if let Value::String(name) = value {
            return Ok(RecipeRef::Name(name));
        }

        if let Some(number) = value.as_u64() {
            return Ok(RecipeRef::Number(number));
        }

        let words = format!("recipe must be a name in quotes or a number, got {value}");
        Err(serde::de::Error::custom(words))
    }
}

/// A recipe that can be selected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecipeChoice {
    /// Name of the recipe.
    pub name: String,
    /// Number of the recipe; `None` where it has none.
    pub number: Option<u16>,
}

impl FromIterator<(String, u16)> for RecipeNumbers {
    fn from_iter<T: IntoIterator<Item = (String, u16)>>(numbers: T) -> Self {
        RecipeNumbers(numbers.into_iter().collect())
    }
}

impl RecipeNumbers {
    /// Number of a recipe.
    pub fn of(&self, name: &str) -> Option<u16> {
        self.0.get(name).copied()
    }

    /// Name of the recipe with that number.
    pub fn name_of(&self, number: u64) -> Option<&str> {
        for (name, its) in &self.0 {
            if u64::from(*its) == number {
                return Some(name);
            }
        }

        None
    }

    /// Names that have a number, in the order of the alphabet.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// All of them in words, `none` without any.
    pub fn words(&self) -> String {
        let mut by_number = BTreeMap::new();

        for (name, number) in &self.0 {
            by_number.insert(number, name);
        }

        let mut words = vec![];
        for (number, name) in by_number {
            words.push(format!("{number} ({name})"));
        }

        if words.is_empty() {
            return "none".to_owned();
        }

        words.join(", ")
    }

    /// Name and number of recipes: those with a number first, in its order, then by name; the rest beyond 64 is
    /// left out.
    pub(super) fn choices<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<RecipeChoice> {
        let mut numbered = BTreeMap::new();
        let mut others = BTreeSet::new();

        for name in names {
            match self.of(name) {
                Some(number) => {
                    numbered.insert(number, name);
                }

                None => {
                    others.insert(name);
                }
            }
        }

        let mut choices = vec![];
        for (number, name) in numbered {
            choices.push(RecipeChoice {
                name: name.to_owned(),
                number: Some(number),
            });
        }

        for name in others {
            choices.push(RecipeChoice {
                name: name.to_owned(),
                number: None,
            });
        }

        choices.truncate(LISTED_MAX);
        choices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_with_a_number_stand_first_and_in_its_order() {
        let numbers: RecipeNumbers = [("nut".to_owned(), 2), ("bolt".to_owned(), 7)]
            .into_iter()
            .collect();

        let choices = numbers.choices(["zip", "bolt", "cap", "nut"].into_iter());
        let told: Vec<(&str, Option<u16>)> = choices
            .iter()
            .map(|choice| (choice.name.as_str(), choice.number))
            .collect();

        let expected = [
            ("nut", Some(2)),
            ("bolt", Some(7)),
            ("cap", None),
            ("zip", None),
        ];

        assert_eq!(told, expected);
        assert_eq!(
            (numbers.name_of(7), numbers.name_of(1)),
            (Some("bolt"), None)
        );
    }

    #[test]
    fn birth_lists_a_bounded_number_of_recipes_and_all_that_have_a_number() {
        let names: Vec<String> = (0..200).map(|number| format!("r{number:03}")).collect();
        let numbers: RecipeNumbers = [("r199".to_owned(), 1)].into_iter().collect();
        let choices = numbers.choices(names.iter().map(String::as_str));
        assert_eq!(choices.len(), LISTED_MAX);
        assert_eq!(choices[0].name, "r199");
    }
}
