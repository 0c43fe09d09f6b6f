//! Results of which the broker owes acknowledgements: each may go out in more than one message, and is answered once all
//! of them are.

use rumqttc::v5::mqttbytes::v5::PubAckReason;
use std::collections::HashMap;
use std::time::Instant;

/// Results of which the broker owes answers, by key.
#[derive(Debug, Default)]
pub(super) struct OwedParts(HashMap<u64, OwedPart>);

/// Answers that the broker owes for one result.
#[derive(Debug, Clone, Copy)]
struct OwedPart {
    messages: usize,
    /// The first refusal, and when the refused message was sent.
    refused: Option<(PubAckReason, Instant)>,
}

/// The broker's answer to all messages of a result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PartAnswer {
    /// It has all of them; the last one was sent at that moment.
    Taken(Instant),
    /// It refused one, which was sent at that moment.
    Refused(PubAckReason, Instant),
}

impl OwedParts {
    /// So many messages of a result are on their way.
    pub(super) fn owe(&mut self, key: u64, messages: usize) {
        let owed = OwedPart {
            messages,
            refused: None,
        };

        self.0.insert(key, owed);
    }

    /// The result's messages are not on their way after all.
    pub(super) fn forget(&mut self, key: u64) {
        self.0.remove(&key);
    }

    /// Enters the answer to one message, which was `sent` at that moment. `None` while another one is without an answer.
    pub(super) fn on_answer(
        &mut self,
        key: u64,
        sent: Instant,
        (is_accepted, reason): (bool, PubAckReason),
    ) -> Option<PartAnswer> {
        let owed = self.0.get_mut(&key)?;
        owed.messages = owed.messages.saturating_sub(1);

        if !is_accepted {
            owed.refused.get_or_insert((reason, sent));
        }

        if owed.messages > 0 {
            return None;
        }

        let owed = self.0.remove(&key)?;
        Some(match owed.refused {
            Some((reason, sent)) => PartAnswer::Refused(reason, sent),
            None => PartAnswer::Taken(sent),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn answer(reason: PubAckReason) -> (bool, PubAckReason) {
        (reason == PubAckReason::Success, reason)
    }

    #[test]
    fn a_result_is_answered_once_both_of_its_messages_are() {
        use PubAckReason::{NotAuthorized, Success};
        let plc = Instant::now();
        let result = plc + Duration::from_millis(1);
        let refused_plc = Some(PartAnswer::Refused(NotAuthorized, plc));
        let refused_result = Some(PartAnswer::Refused(NotAuthorized, result));
        let taken = Some(PartAnswer::Taken(result));
        for (of_plc, of_result, expected) in [
            (Success, Success, taken),
            (NotAuthorized, Success, refused_plc),
            (Success, NotAuthorized, refused_result),
            (NotAuthorized, NotAuthorized, refused_plc),
        ] {
            let mut owed = OwedParts::default();
            owed.owe(7, 2);
            assert_eq!(owed.on_answer(7, plc, answer(of_plc)), None);
            assert_eq!(owed.on_answer(7, result, answer(of_result)), expected);
            let again = owed.on_answer(7, result, answer(Success));
            assert_eq!(again, None, "once");
        }
    }

    #[test]
    fn a_result_in_one_message_is_answered_at_once() {
        let mut owed = OwedParts::default();
        owed.owe(7, 1);
        let sent = Instant::now();
        let success = answer(PubAckReason::Success);
        assert_eq!(
            owed.on_answer(7, sent, success),
            Some(PartAnswer::Taken(sent))
        );
        owed.owe(8, 1);
        owed.forget(8);
        assert_eq!(owed.on_answer(8, sent, success), None);
    }
}
