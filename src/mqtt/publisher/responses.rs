//! Answers to the topics that senders of commands name, at a broker that does not take them.
//!
//! Whoever may only command chooses these topics, and must not harm the line by them: a refusal is one
//! line of the log, and where they end connections they are left out. The answer on `ack/<name>` goes
//! its way all the same.

use crate::mqtt::session::Answered;
use rumqttc::v5::mqttbytes::v5::PubAckReason;
use std::time::{Duration, Instant};

/// Interval of log lines on refused answers.
const LOGGED_EVERY: Duration = Duration::from_secs(60);
/// Connections that ended with such an answer on its way until all of them are left out.
const CUTS: u32 = 2;
/// Time for which they are left out then.
const LEFT_OUT: Duration = Duration::from_secs(600);
/// Time after which an answer that was refused just before a connection ended is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// What is known of such answers. It outlives connections.
#[derive(Debug, Default)]
pub(super) struct Responses {
    /// Refused answers that were not logged, and the moment of the last line.
    unlogged: u64,
    logged_at: Option<Instant>,
    /// Connections that ended with an answer on its way since the broker took one.
    cuts: u32,
    /// Connections that ended just after an answer was refused, and the moment of the last.
    ends: u32,
    ended_at: Option<Instant>,
    /// True if the last connection was one of either.
    is_suspected: bool,
    /// Moment until which all of them are left out.
    out_until: Option<Instant>,
}

impl Responses {
    /// Commands whose response topics are answered on the next connection.
    pub(super) fn begin(&mut self) -> Answered {
        let is_suspected = std::mem::take(&mut self.is_suspected);
        match self.out_until {
            Some(until) if Instant::now() < until => Answered::After(until),
            _ if is_suspected => Answered::New,
            _ => Answered::All,
        }
    }

    /// The broker took such an answer.
    pub(super) fn on_accepted(&mut self) {
        self.cuts = 0;
    }

    /// The broker refused such an answer: one log line now and then.
    pub(super) fn on_refused(&mut self, topic: &str, reason: PubAckReason) {
        self.unlogged += 1;
        let is_due = self.logged_at.is_none_or(|at| at.elapsed() > LOGGED_EVERY);
        if is_due {
            tracing::warn!(
                "the broker refuses {} answers to response topics of commands, the last to {topic:?}: \
                 {reason:?}; they went to ack/<name> alone",
                self.unlogged
            );

            self.unlogged = 0;
            self.logged_at = Some(Instant::now());
        }
    }

    /// A connection ended with such an answer on its way, or just after one was refused.
    pub(super) fn on_cut(&mut self, was_refused: bool, reason: &str) {
        let now = Instant::now();
        if self.ended_at.is_some_and(|at| at.elapsed() > FORGOTTEN) {
            self.ends = 0;
        }

        if was_refused {
            self.ends += 1;
            self.ended_at = Some(now);
        }

        self.cuts += 1;
        self.is_suspected = true;
        if self.cuts.max(self.ends) < CUTS {
            return;
        }

        tracing::error!(
            "answers to response topics of commands end connections ({reason}): they go to ack/<name> \
             alone for {} minutes",
            LEFT_OUT.as_secs() / 60
        );

        self.out_until = Some(now + LEFT_OUT);
        // One more is enough after that time.
        self.cuts = CUTS - 1;
        self.ends = self.ends.min(CUTS - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cuts_leave_all_out_and_one_that_was_taken_between_them_none() {
        let mut responses = Responses::default();
        responses.on_cut(false, "cut");
        assert_eq!(responses.begin(), Answered::New);
        responses.on_accepted();
        responses.on_cut(false, "cut");
        assert_eq!(responses.begin(), Answered::New);
        assert_eq!(responses.begin(), Answered::All, "no cut since");
        responses.on_cut(false, "cut");
        assert!(matches!(responses.begin(), Answered::After(_)));
    }

    #[test]
    fn a_refusal_before_each_cut_counts_though_others_are_taken() {
        let mut responses = Responses::default();
        responses.on_cut(true, "cut");
        responses.on_accepted();
        responses.on_cut(true, "cut");
        assert!(matches!(responses.begin(), Answered::After(_)));
        // After that time one more is enough.
        responses.out_until = None;
        responses.on_accepted();
        responses.on_cut(true, "cut");
        assert!(matches!(responses.begin(), Answered::After(_)));
    }
}
