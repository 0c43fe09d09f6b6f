//! A broker's refusal and the way out of it, in words for a person.

use rumqttc::v5::mqttbytes::v5::PubAckReason;

/// Way out of a quota.
const ROOM: &str = "it has reached a quota: make room there, or raise it";
/// Way out of a refusal without a reason.
const LOG: &str = "look into its log";

/// The way out of a refusal, for the log.
pub(super) fn way_out(reason: PubAckReason, topics: &str) -> String {
    match reason {
        PubAckReason::NotAuthorized => format!("mend its access rules for {topics}/#"),
        PubAckReason::QuotaExceeded => ROOM.to_owned(),
        PubAckReason::TopicNameInvalid => format!("let it take topics below {topics}"),
        _ => LOG.to_owned(),
    }
}

/// The refusal and its way out, for a person.
pub(super) fn refusal_in_words(reason: PubAckReason, topics: &str) -> String {
    let way_out = match reason {
        PubAckReason::NotAuthorized => {
            format!(
                "let this user write to {topics}/result and {topics}/result/late (with mqtt.plc also to \
                 {topics}/plc and {topics}/plc/late)"
            )
        }

        other => way_out(other, topics),
    };

    format!("the broker refuses them ({reason:?}); {way_out}")
}
