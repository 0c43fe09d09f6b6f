//! The filter of the list: fields of a form, which are the query of its address.

use crate::base::times;
use crate::data::history::HistoryQuery;
use crate::data::verdict::{Reason, Verdict};
use serde::Deserialize;

/// Word of the verdict field that stands for all verdicts.
pub const ANY: &str = "any";
/// Characters of a field at most.
const FIELD_MAX: usize = 200;

/// The fields as they came; an empty one is not given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Captured then or later: a time, or how long ago.
    pub since: String,
    /// Captured before.
    pub until: String,
    /// Camera of the part, or the name that several share.
    pub camera: String,
    /// Recipe that judged.
    pub recipe: String,
    /// Verdict; failed parts unless given.
    pub verdict: String,
    /// Reason of an undecided part.
    pub reason: String,
    /// The line's own name for the part.
    pub part_id: String,
    /// A person's word.
    pub label: String,
    /// Where the list goes on.
    pub before: String,
}

impl Filter {
    /// The fields of the query of an address.
    ///
    /// # Errors
    /// When it is no query of a form.
    pub fn of_query(query: Option<&str>) -> Result<Self, String> {
        let filter: Filter = serde_html_form::from_str(query.unwrap_or_default())
            .map_err(|error| format!("the filter cannot be read: {error}"))?;

        let is_long = |(_, field): &(&str, &String)| field.chars().count() > FIELD_MAX;
        let too_long = filter.fields().into_iter().find(is_long);

        match too_long.map(|(name, _)| name) {
            Some(name) => Err(format!("{name} has more than {FIELD_MAX} characters")),
            None => Ok(filter),
        }
    }

    fn fields(&self) -> [(&'static str, &String); 9] {
        [
            ("since", &self.since),
            ("until", &self.until),
            ("camera", &self.camera),
            ("recipe", &self.recipe),
            ("verdict", &self.verdict),
            ("reason", &self.reason),
            ("part_id", &self.part_id),
            ("label", &self.label),
            ("before", &self.before),
        ]
    }

    /// The question to the store.
    ///
    /// # Errors
    /// All fields that are wrong, each in words.
    pub fn query(&self) -> Result<HistoryQuery, String> {
        let mut wrong = vec![];
        let mut time = |name: &str, text: &str| {
            let given = (!text.is_empty()).then(|| times::parse(text))?;
            given
                .map_err(|words| wrong.push(format!("{name}: {words}")))
                .ok()
        };

        let since = time("since", &self.since);
        let until = time("until", &self.until);

        let verdict = match self.verdict.as_str() {
            "" => Some(Verdict::Fail),
            ANY => None,
            word => {
                let verdict = Verdict::of_word(word);

                if verdict.is_none() {
                    wrong.push(format!(
                        "verdict: pass, fail, undecided or {ANY}, got {word:?}"
                    ));
                }

                verdict
            }
        };

        let reason = given(&self.reason)
            .map(|word| Reason::of_word(&word).ok_or_else(|| format!("reason: {word:?} is none")));

        let reason = reason.transpose().map_err(|words| wrong.push(words));
        let before = given(&self.before).map(|text| {
            text.parse::<u64>()
                .map_err(|_| format!("before: a number, got {text:?}"))
        });

        let before = before.transpose().map_err(|words| wrong.push(words));
        if !wrong.is_empty() {
            return Err(wrong.join("; "));
        }

        Ok(HistoryQuery {
            since,
            until,
            verdict,
            reason: reason.unwrap_or_default(),
            camera: given(&self.camera),
            recipe: given(&self.recipe),
            part_id: given(&self.part_id),
            label: given(&self.label),
            by: None,
            limit: None,
            before: before.unwrap_or_default(),
        })
    }

    /// The query of an address with these fields, which goes on at `before`; empty fields are left out.
    pub fn address(&self, path: &str, before: Option<u64>) -> String {
        let mut pairs: Vec<(&str, String)> = vec![];

        for (name, field) in self.fields() {
            if name != "before" && !field.is_empty() {
                pairs.push((name, field.clone()));
            }
        }

        pairs.extend(before.map(|key| ("before", key.to_string())));
        let query = serde_html_form::to_string(&pairs).expect("texts are a form's values");

        match query.is_empty() {
            true => path.to_owned(),
            false => format!("{path}?{query}"),
        }
    }
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_a_question_and_an_address_again() {
        let query =
            "verdict=undecided&reason=bad_image&camera=top&since=8h&part_id=A+1%2F%26&recipe=";
        let filter = Filter::of_query(Some(query)).expect("a filter");
        let asked = filter.query().expect("a question");
        assert_eq!(asked.verdict, Some(Verdict::Undecided));
        assert_eq!(asked.reason, Some(Reason::BadImage));
        assert_eq!(asked.part_id.as_deref(), Some("A 1/&"));
        assert_eq!(asked.recipe, None);
        assert!(asked.since.is_some());
        let address = filter.address("/rejects", Some(7));
        let again = Filter::of_query(address.split_once('?').map(|(_, query)| query));
        let again = again.expect("a filter");
        assert_eq!(again.before, "7");
        let before = String::new();
        assert_eq!(Filter { before, ..again }, filter);
    }

    #[test]
    fn failed_parts_are_meant_and_all_faults_are_told_at_once() {
        let plain = Filter::of_query(None).expect("a filter");
        let asked = plain.query().expect("a question");
        assert_eq!(asked.verdict, Some(Verdict::Fail));
        assert_eq!(plain.address("/rejects", None), "/rejects");

        let wrong = "verdict=good&reason=no&since=then&before=x";
        let wrong = Filter::of_query(Some(wrong)).expect("a filter");
        let words = wrong.query().expect_err("four faults");
        for field in ["verdict", "reason", "since", "before"] {
            assert!(words.contains(field), "{words}");
        }

        let long = format!("camera={}", "x".repeat(201));
        assert!(Filter::of_query(Some(&long)).is_err());
    }
}
