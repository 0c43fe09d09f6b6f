//! `[recipe_numbers]`: the numbers by which a PLC knows the line's recipes.

use super::table::shown;
use crate::base::problems::Problems;
use crate::protocol::recipe_number::RecipeNumbers;
use serde_json::Value;
use std::collections::BTreeMap;

/// Place of the table, for problems.
const PLACE: &str = "recipe_numbers";
/// Largest number: an INT of a PLC holds each.
const NUMBER_MAX: u64 = 32_767;

/// Reads the table. Whether there are such recipes is another question: a library may come later.
pub fn recipe_numbers(value: Option<Value>, problems: &mut Problems) -> RecipeNumbers {
    let table = match value {
        None => return RecipeNumbers::default(),
        Some(Value::Object(table)) => table,
        Some(other) => {
            let words = format!(
                "must be a table of names and numbers, got {}",
                shown(&other)
            );

            problems.note(PLACE, words);
            return RecipeNumbers::default();
        }
    };

    let mut names: BTreeMap<u16, String> = BTreeMap::new();
    for (name, value) in table {
        let place = format!("{PLACE}.{name}");
        let Some(number) = number(&value) else {
            let words = format!(
                "must be a whole number from 1 to {NUMBER_MAX}, got {}",
                shown(&value)
            );

            problems.note(&place, words);
            continue;
        };

        // A number of two recipes would select either.
        if let Some(other) = names.insert(number, name) {
            problems.note(
                &place,
                format!("{number} is the number of {other:?} already"),
            );
        }
    }

    names
        .into_iter()
        .map(|(number, name)| (name, number))
        .collect()
}

fn number(value: &Value) -> Option<u16> {
    let number = match value {
        // Environment variables are text.
        Value::String(text) => text.parse().ok()?,
        other => other.as_u64()?,
    };

    let number = (1..=NUMBER_MAX).contains(&number).then_some(number)?;
    u16::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_read_by_name() {
        let mut problems = Problems::new();
        let table = json!({"nut": 1, "bolt": "32767"});
        let numbers = recipe_numbers(Some(table), &mut problems);
        assert_eq!(problems.into_result(), Ok(()));
        assert_eq!(numbers.of("nut"), Some(1));
        assert_eq!(numbers.of("bolt"), Some(32_767));
        assert_eq!(numbers.of("cap"), None);
    }

    #[test]
    fn every_wrong_number_is_told_with_the_way_out() {
        let table = json!({"bolt": 2, "cap": 0, "nut": 2, "zip": 32768});
        for (value, words) in [
            (
                json!(3),
                "recipe_numbers: must be a table of names and numbers, got 3",
            ),
            (
                table.clone(),
                "recipe_numbers.nut: 2 is the number of \"bolt\" already",
            ),
            (
                table.clone(),
                "recipe_numbers.cap: must be a whole number from 1 to 32767, got 0",
            ),
            (
                table,
                "recipe_numbers.zip: must be a whole number from 1 to 32767",
            ),
        ] {
            let mut problems = Problems::new();
            recipe_numbers(Some(value), &mut problems);
            let told = problems.into_result().expect_err("wrong").to_string();
            assert!(told.contains(words), "{words:?} is not in {told}");
        }
    }
}
