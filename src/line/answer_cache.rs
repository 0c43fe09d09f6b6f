//! Answers by the sender's id, so that a repeated command is answered again and not executed twice.

use crate::protocol::answer::{Answer, AnswerStatus, question_of};
use crate::store::ANSWERS_MAX;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time for which an answered id is remembered, [`ANSWERS_MAX`] ids at most; the oldest are
/// forgotten first.
const ANSWERED_FOR: Duration = Duration::from_secs(3600);

/// The answers of the last hour by the sender's id, encoded to be small.
#[derive(Default)]
pub struct AnswerCache {
    answers: HashMap<Arc<str>, Box<str>>,
    order: VecDeque<(Instant, Arc<str>)>,
}

impl AnswerCache {
    /// The answers of earlier runs, the oldest first.
    pub fn new(answers: Vec<(String, String)>, now: Instant) -> Self {
        // Each answer counts as new: what an earlier run knew of its age is bounded by the store,
        // which forgets the old ones itself.
        let mut cache = AnswerCache::default();
        for (id, answer) in answers {
            cache.add(&id, &answer, now);
        }

        cache
    }

    /// Hash of the question that the id stands for; `None` where that is not known.
    pub fn question(&self, id: &str) -> Option<String> {
        // Answers that an earlier version kept name no question: they are repeated as before.
        question_of(self.answers.get(id)?)
    }

    /// Answer of that id; `None` if the id is new.
    pub fn get(&self, id: &str) -> Option<Answer> {
        // Answers are kept as text: a decoded one takes several times the memory, and most are
        // never asked for again.
        let text = self.answers.get(id)?;
        let answer = match Answer::decode(text) {
            Ok(answer) => answer,
            // An answer that this version cannot read still says that the command was done.
            Err(_) => Answer::new(Some(id), AnswerStatus::Done, Some(text.to_string())),
        };

        Some(answer)
    }

    /// Remembers an answer; ids that are too old, or too many, are forgotten.
    pub fn add(&mut self, id: &str, answer: &str, now: Instant) {
        // Ids leave in the order in which they came, so that the front is always the oldest: one
        // look at it is enough, and both bounds (an hour, and the number of ids) take from there.
        while let Some((at, _)) = self.order.front()
            && (now.saturating_duration_since(*at) > ANSWERED_FOR
                || self.order.len() >= ANSWERS_MAX)
            && let Some((_, old)) = self.order.pop_front()
        {
            self.answers.remove(&old);
        }

        // The first answer of an id stands. A repetition is answered with it and comes here again,
        // and must not make it younger.
        if !self.answers.contains_key(id) {
            let id: Arc<str> = id.into();
            self.answers.insert(id.clone(), answer.into());
            self.order.push_back((now, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_for_an_hour() {
        let now = Instant::now();
        let mut known = AnswerCache::new(vec![("a".into(), "first".into())], now);
        known.add("b", "second", now + ANSWERED_FOR);
        assert_eq!(known.answers.len(), 2);
        known.add("c", "third", now + ANSWERED_FOR + Duration::from_secs(1));
        assert!(!known.answers.contains_key("a") && known.answers.contains_key("b"));
    }

    #[test]
    fn a_command_whose_answer_cannot_be_read_is_not_done_again() {
        let kept = vec![("a".to_owned(), "words of another version".to_owned())];
        let cache = AnswerCache::new(kept, Instant::now());
        let answer = cache.get("a").expect("it is known");
        assert_eq!(answer.status, AnswerStatus::Done);
        assert_eq!(answer.reason.as_deref(), Some("words of another version"));
    }
}
