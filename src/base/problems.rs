//! All problems of one input at once: a person who mends a configuration wants one round, not five.

use std::fmt;

/// Largest number of problems that [`Problems::first_lines`] shows: as many as a person reads at once.
const SHOWN_MAX: usize = 12;

/// Problems found so far, in the order in which they were found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    /// A list without problems.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes `place: words`, for example `reject_above: must be between 0 and 1, got 1.5`.
    pub fn note(&mut self, place: impl fmt::Display, words: impl fmt::Display) {
        self.0.push(format!("{place}: {words}"));
    }

    /// Adds a problem that names its place itself.
    pub fn add(&mut self, problem: impl fmt::Display) {
        self.0.push(problem.to_string());
    }

    /// Takes a result's value. `None` if it was an error, which is then noted.
    pub fn check<T, E: fmt::Display>(
        &mut self,
        place: impl fmt::Display,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.note(place, error);
                None
            }
        }
    }

    /// True if no problem was noted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The problems in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The first dozen problems, each on a line of its own that is indented but for the first. What is
    /// wrong in hundreds of places, such as the tensors of another model, shows in the first ones.
    pub fn first_lines(&self) -> String {
        let shown = &self.0[..self.0.len().min(SHOWN_MAX)];
        let mut words = shown.join("\n  ");
        if self.0.len() > shown.len() {
            let rest = self.0.len() - shown.len();
            words.push_str(&format!("\n  and {rest} more"));
        }

        words
    }

    /// Turns the list into a result.
    ///
    /// # Errors
    /// All problems, if there are any.
    pub fn into_result(self) -> Result<(), Problems> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }

            f.write_str(problem)?;
        }

        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Words for an unknown key, with the nearest known one if it is near enough:
/// `unknown key "treshold"; did you mean "threshold"?`.
pub fn unknown_key<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let nearest = known
        .into_iter()
        .min_by_key(|candidate| strsim::damerau_levenshtein(key, candidate));

    match nearest {
        Some(candidate) if is_near(key, candidate) => {
            format!("unknown key {key:?}; did you mean {candidate:?}?")
        }
        _ => format!("unknown key {key:?}"),
    }
}

/// True if a typing error may have made `key` of `known`.
fn is_near(key: &str, known: &str) -> bool {
    let distance = strsim::damerau_levenshtein(key, known);
    distance <= 1 + known.len() / 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_told_in_order() {
        let mut problems = Problems::new();
        problems.note("a", "wrong");
        assert_eq!(problems.check("b", "x".parse::<u8>()), None);
        assert_eq!(
            problems.to_string(),
            "a: wrong\nb: invalid digit found in string"
        );

        assert!(problems.into_result().is_err());
    }

    #[test]
    fn the_nearest_known_key_is_offered_unless_it_is_far() {
        assert_eq!(
            unknown_key("treshold", ["station", "threshold"]),
            "unknown key \"treshold\"; did you mean \"threshold\"?"
        );

        assert_eq!(
            unknown_key("zzzzzzzz", ["station"]),
            "unknown key \"zzzzzzzz\""
        );
    }
}
