//! Acknowledgements that the broker is owed for its messages to us, in the order in which those came.
//!
//! MQTT asks for that order (MQTT-4.6.0-2), and some brokers end the connection without it. Answers
//! come in any order: a refusal is there at once, a trigger's answer waits for the disk.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use std::collections::VecDeque;

/// The messages that are not acknowledged, the oldest first.
#[derive(Debug, Default)]
pub(super) struct OwedAcks {
    owed: VecDeque<OwedAck>,
}

#[derive(Debug)]
struct OwedAck {
    /// The packet's identifier and quality of service; nothing else of it is kept.
    packet: Publish,
    /// True once its acknowledgement may go, after those before it.
    is_answered: bool,
}

impl OwedAcks {
    /// Notes a message that came. One at QoS 0 is owed nothing.
    pub(super) fn owe(&mut self, publish: &Publish) {
        if publish.qos == QoS::AtMostOnce {
            return;
        }

        let packet = Publish {
            pkid: publish.pkid,
            qos: publish.qos,
            ..Publish::default()
        };

        self.owed.push_back(OwedAck {
            packet,
            is_answered: false,
        });
    }

    /// Lets a message be acknowledged once all before it are.
    pub(super) fn answered(&mut self, publish: &Publish) {
        let mut open = self.owed.iter_mut().filter(|owed| !owed.is_answered);
        if let Some(owed) = open.find(|owed| owed.packet.pkid == publish.pkid) {
            owed.is_answered = true;
        }
    }

    /// The packet that is to be acknowledged now; `None` while the oldest one waits for its answer.
    pub(super) fn front(&self) -> Option<&Publish> {
        let first = self.owed.front()?;
        first.is_answered.then_some(&first.packet)
    }

    /// Takes the oldest one away: its acknowledgement is on the way.
    pub(super) fn pop(&mut self) {
        self.owed.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pkid: u16, qos: QoS) -> Publish {
        let mut publish = Publish::new("cmd/pause", qos, "{}", None);
        publish.pkid = pkid;
        publish
    }

    /// The packets that may be acknowledged now, in their order.
    fn ready(acks: &mut OwedAcks) -> Vec<u16> {
        let mut ready = vec![];
        while let Some(packet) = acks.front() {
            ready.push(packet.pkid);
            acks.pop();
        }

        ready
    }

    #[test]
    fn acknowledgements_leave_in_the_order_of_the_messages() {
        let mut acks = OwedAcks::default();
        for pkid in [7, 8, 9] {
            acks.owe(&packet(pkid, QoS::AtLeastOnce));
        }

        acks.answered(&packet(9, QoS::AtLeastOnce));
        acks.answered(&packet(8, QoS::AtLeastOnce));
        assert_eq!(ready(&mut acks), [0; 0]);
        acks.answered(&packet(7, QoS::AtLeastOnce));
        assert_eq!(ready(&mut acks), [7, 8, 9]);
    }

    #[test]
    fn a_message_at_qos_0_is_owed_nothing_and_holds_nothing_up() {
        let mut acks = OwedAcks::default();
        acks.owe(&packet(0, QoS::AtMostOnce));
        acks.owe(&packet(5, QoS::AtLeastOnce));
        acks.answered(&packet(5, QoS::AtLeastOnce));
        assert_eq!(ready(&mut acks), [5]);
    }

    #[test]
    fn an_identifier_that_comes_again_is_another_message() {
        let mut acks = OwedAcks::default();
        acks.owe(&packet(3, QoS::AtLeastOnce));
        acks.owe(&packet(4, QoS::AtLeastOnce));
        acks.answered(&packet(3, QoS::AtLeastOnce));
        assert_eq!(ready(&mut acks), [3]);
        acks.owe(&packet(3, QoS::AtLeastOnce));
        acks.answered(&packet(3, QoS::AtLeastOnce));
        assert_eq!(ready(&mut acks), [0; 0]);
        acks.answered(&packet(4, QoS::AtLeastOnce));
        assert_eq!(ready(&mut acks), [4, 3]);
    }
}
