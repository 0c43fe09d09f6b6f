//! The end of a connection: its reason in words, the wait that follows, and whether a message of ours
//! may be why.

use crate::mqtt::MqttSettings;
use crate::mqtt::reason::{io_error, reason};
use rumqttc::v5::mqttbytes::v5::DisconnectReasonCode;
use rumqttc::v5::{ConnectionError, StateError};
use std::time::Duration;

/// Wait after another client took our client id: reconnecting at once would start a takeover loop
/// between the two clients.
const TAKEN_OVER: Duration = Duration::from_secs(30);

/// End of a connection that is not the end of the run.
pub(super) struct Lost {
    /// Reason for a person.
    pub(super) reason: String,
    /// Time to wait, if it is known; else the backoff says.
    pub(super) wait: Option<Duration>,
    /// True if the broker ended it, and a message of ours may be why.
    pub(super) is_cut: bool,
    /// True if nothing says why: another client of our name may have taken it.
    pub(super) is_unexplained: bool,
}

impl Lost {
    /// An end that is our own doing.
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Lost {
            reason: reason.into(),
            wait: None,
            is_cut: false,
            is_unexplained: false,
        }
    }

    /// The end that the client's error stands for.
    pub(super) fn by(error: &ConnectionError, settings: &MqttSettings) -> Self {
        // Of all reasons only a takeover has a wait of its own.
        if let ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            ..
        }) = error
        {
            let reason = format!(
                "another client took the name {:?}; give each daemon an mqtt.client_id of its own",
                settings.client_id
            );

            return Lost {
                wait: Some(TAKEN_OVER),
                is_unexplained: true,
                ..Lost::because(reason)
            };
        }

        Lost {
            is_cut: is_cut(error),
            is_unexplained: is_unexplained(error),
            ..Lost::because(reason(error, &settings.host))
        }
    }
}

/// True where the broker closed the connection, and not for a reason that has nothing to do with what
/// we sent.
fn is_cut(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => !matches!(
            reason_code,
            DisconnectReasonCode::ServerShuttingDown
                | DisconnectReasonCode::ServerBusy
                | DisconnectReasonCode::KeepAliveTimeout
                | DisconnectReasonCode::UseAnotherServer
                | DisconnectReasonCode::ServerMoved
        ),
        // The client knows no word of the answer to a message: it ends the connection for the broker.
        ConnectionError::MqttState(
            StateError::ConnectionAborted | StateError::Deserialization(_),
        ) => true,
        other => io_error(other).is_some(),
    }
}

/// True where the connection was closed without a word.
fn is_unexplained(error: &ConnectionError) -> bool {
    matches!(
        error,
        ConnectionError::MqttState(StateError::ConnectionAborted)
    ) || io_error(error).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::reason::before_connack;
    use rumqttc::v5::mqttbytes::Error as MqttError;
    use std::io::{Error, ErrorKind};

    #[test]
    fn a_broken_pipe_is_a_cut_and_no_fault_of_the_brokers_bytes() {
        // The client wraps an error of the link like one of the packet.
        for kind in [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset] {
            let wrapped = StateError::Deserialization(MqttError::Io(Error::from(kind)));
            let error = ConnectionError::MqttState(wrapped);
            assert!(is_cut(&error), "{kind}");
            let words = reason(&error, "localhost");
            assert!(!words.contains("MQTT 5"), "{words}");
        }
    }

    fn unreadable(error: MqttError) -> ConnectionError {
        ConnectionError::MqttState(StateError::Deserialization(error))
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_a_cut_and_blames_3_1_1_before_connack_alone() {
        let error = unreadable(MqttError::IncorrectPacketFormat);
        assert!(is_cut(&error));
        let words = reason(&error, "localhost");
        assert!(!words.contains("3.1.1"), "{words}");
        let words = before_connack(words);
        assert!(words.contains("a broker of 3.1.1 alone"), "{words}");
    }

    #[test]
    fn an_answer_that_a_message_is_too_large_names_the_limit() {
        let error = unreadable(MqttError::InvalidConnectReturnCode(0x95));
        assert!(is_cut(&error) && !is_unexplained(&error));
        let words = reason(&error, "localhost");
        assert!(words.contains("too large"), "{words}");
        assert!(words.contains("message_size_limit"), "{words}");
        assert!(!words.contains("3.1.1"), "{words}");
    }
}
