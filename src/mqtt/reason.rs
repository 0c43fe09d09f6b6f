//! The reason of a connection that is not there, or ended, in words.

use super::tls;
use rumqttc::v5::mqttbytes::Error as MqttError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError};

/// Reason of a broker that knows QoS 0 alone.
const NO_QOS_1: &str = "it takes no messages at QoS 1, and without their acknowledgement no result can leave the store; \
                        allow QoS 1 (mosquitto: max_qos), or take another broker";
/// Reason of a connection that the broker closed.
const NO_WORD: &str = "it ends the connection without a word";
/// Code of an acknowledgement that the client does not know: the message is too large.
const PACKET_TOO_LARGE: u8 = 0x95;
/// Reason of an answer that cannot be read.
const NO_MQTT_5: &str = "its answer is no MQTT 5";
/// Advice for a broker that does not answer in MQTT 5.
const MQTT_5: &str = "winspect needs MQTT 5, and a broker of 3.1.1 alone cannot serve it; update the broker, or allow 5 there";

/// The system's own error behind that of a connection. The client wraps those of reading and writing as
/// if the broker's bytes were at fault.
pub(super) fn io_error(error: &ConnectionError) -> Option<&std::io::Error> {
    match error {
        ConnectionError::Io(error)
        | ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(MqttError::Io(error)),
        ) => Some(error),
        _ => None,
    }
}

/// Reason for a person: what the broker said, or why it cannot be reached.
pub(super) fn reason(error: &ConnectionError, host: &str) -> String {
    // The error quotes what it wraps, but does not give it as its source.
    let cause: &(dyn std::error::Error + 'static) = match error {
        ConnectionError::MqttState(StateError::Deserialization(cause)) => cause,
        other => other,
    };

    if let Some(words) = tls::reason(cause, host) {
        return words;
    }

    if let Some(error) = io_error(error) {
        return io_reason(error, host);
    }

    match error {
        ConnectionError::Tls(rumqttc::TlsError::Io(error))
            if error.kind() == std::io::ErrorKind::UnexpectedEof =>
        {
            "it ended the TLS handshake without a word; correct mqtt.port, or look into its log"
                .to_owned()
        }
        ConnectionError::ConnectionRefused(ConnectReturnCode::QoSNotSupported) => {
            NO_QOS_1.to_owned()
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. })
            if *reason_code == DisconnectReasonCode::QoSNotSupported =>
        {
            NO_QOS_1.to_owned()
        }
        ConnectionError::ConnectionRefused(code) => refusal(*code),
        ConnectionError::MqttState(StateError::Deserialization(error)) => unreadable(error),
        ConnectionError::MqttState(StateError::ConnectionAborted) => NO_WORD.to_owned(),
        other => other.to_string(),
    }
}

/// Reason of an answer that the client cannot read.
fn unreadable(error: &MqttError) -> String {
    match error {
        // The client calls a code that it does not know one of a connection.
        MqttError::InvalidConnectReturnCode(PACKET_TOO_LARGE)
        | MqttError::InvalidReason(PACKET_TOO_LARGE) => format!(
            "it answers that a message is too large (code {PACKET_TOO_LARGE}); raise its limit \
             (mosquitto: message_size_limit)"
        ),
        other => format!("{NO_MQTT_5} ({other})"),
    }
}

/// The reason of a connection that ended before the broker took it. One of MQTT 3.1.1 answers in its
/// own form, which is no packet of MQTT 5, and closes.
pub(super) fn before_connack(reason: String) -> String {
    if reason == NO_WORD || reason.starts_with(NO_MQTT_5) {
        format!("{reason}; {MQTT_5}")
    } else {
        reason
    }
}

/// A broker's refusal of the connection, with what to do.
fn refusal(code: ConnectReturnCode) -> String {
    let advice = match code {
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::BadClientId => {
            "correct mqtt.user, password_file and client_id"
        }
        ConnectReturnCode::NotAuthorized => {
            "it does not know this user or password; correct mqtt.user and password_file"
        }
        ConnectReturnCode::UnsupportedProtocolVersion => MQTT_5,
        _ => return format!("it refuses the connection: {code:?}"),
    };

    format!("it refuses the connection: {code:?}; {advice}")
}

/// Reason of a connection that is not there, or ended.
fn io_reason(error: &std::io::Error, host: &str) -> String {
    // The system's words stay: they are what a person searches for.
    let words = error.to_string();
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            format!("{words}: nothing listens there; start the broker, or correct mqtt.port")
        }
        _ if words.contains("lookup") => {
            format!("{words}: the host name {host:?} is unknown; correct mqtt.host")
        }
        _ => words,
    }
}
