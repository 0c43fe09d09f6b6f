//! The examination of a broker by `winspect check`, before the line runs.

use super::MqttSettings;
use super::session::{REQUESTS, RESULT_MAX, SILENCE, options, reason};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAckProperties, Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event};

/// Finds out whether the broker would take this line's messages: connects under a name of its own,
/// beside a line that runs, and publishes one message at QoS 1 to `<topics>/check`. Gives the
/// broker's answer in words.
///
/// # Errors
/// When the broker would not; with the reason, and what to do.
pub fn probe(settings: &MqttSettings, topics: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;

    let client_id = format!("{}-check", settings.client_id);
    let (client, mut events) = AsyncClient::new(options(settings, &client_id), REQUESTS);
    let talk = async {
        loop {
            match events
                .poll()
                .await
                .map_err(|error| reason(&error, &settings.host))?
            {
                Event::Incoming(Packet::ConnAck(ack)) => {
                    suits(ack.properties.as_ref())?;
                    let sent = client.try_publish(
                        format!("{topics}/check"),
                        QoS::AtLeastOnce,
                        false,
                        b"{}".to_vec(),
                    );

                    sent.map_err(|error| error.to_string())?;
                }
                Event::Incoming(Packet::PubAck(ack)) => {
                    return match ack.reason {
                        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(format!(
                            "{} and takes messages to {topics}/#",
                            if settings.tls.is_some() {
                                "TLS"
                            } else {
                                "plain TCP"
                            }
                        )),
                        refused => Err(format!(
                            "it refuses a message: {refused:?}; let this user write to {topics}/#"
                        )),
                    };
                }
                _ => {}
            }
        }
    };

    runtime.block_on(async {
        let told = tokio::time::timeout(SILENCE, talk).await;
        told.unwrap_or_else(|_| Err(format!("no acknowledgement for {} s", SILENCE.as_secs())))
    })
}

/// Checks that the broker keeps retained messages, acknowledges, and takes packets of our size.
fn suits(properties: Option<&ConnAckProperties>) -> Result<(), String> {
    let Some(properties) = properties else {
        return Ok(());
    };

    if properties.retain_available == Some(0) {
        return Err(
            "it keeps no retained messages: availability and birth would be lost; allow them there"
                .to_owned(),
        );
    }

    if properties.max_qos == Some(0) {
        return Err(
            "it acknowledges nothing (QoS 0 only): results could be lost; allow QoS 1 there"
                .to_owned(),
        );
    }

    match properties.max_packet_size {
        Some(limit) if limit < RESULT_MAX => Err(format!(
            "it takes packets of {limit} bytes at most; a result may have {RESULT_MAX}"
        )),
        _ => Ok(()),
    }
}
