//! `[mqtt]`: the broker, and what it gets.

use super::link;
use super::table::TableReader;
use crate::base::problems::Problems;
use crate::mqtt::{Heatmaps, MqttSettings};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const REJECT_WINDOW: Duration = Duration::from_secs(2);

/// The values of `[mqtt]`.
pub struct MqttTable {
    /// Settings of the client.
    pub link: MqttSettings,
    /// Time after its deadline in which a verdict is still of use to the gate; the store gives it up then.
    pub reject_window: Duration,
}

/// First levels of the line's topics, which make its usual name at the broker.
pub struct ClientIdentity<'a> {
    /// First levels of every topic.
    pub prefix: &'a str,
    /// Name of the line.
    pub station: &'a str,
}

impl ClientIdentity<'_> {
    /// The usual client id. Both parts stand in it: two plants on one broker may each have a
    /// `box`, and a broker knows only one client of a name.
    fn client_id(&self) -> String {
        let prefix = self.prefix.replace('/', "-");

        format!("winspect-{prefix}-{}", self.station)
    }
}

/// Reads `[mqtt]`; an empty table is a broker on this machine.
pub fn settings(
    value: Option<Value>,
    identity: &ClientIdentity,
    base: &Path,
    problems: &mut Problems,
) -> MqttTable {
    // The host is this machine unless given: most lines have their broker on the same box.
    let mut table = TableReader::new("mqtt", value.unwrap_or_default(), problems);
    let host = table.text("host");
    let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
    let tls = table.take("tls");

    // The usual ports are IANA's of MQTT, with TLS and without.
    let usual_port = if tls.is_some() { 8883 } else { 1883 };
    let port = table.whole("port", 1, 65535).unwrap_or(usual_port) as u16;

    // A password without a user is refused by brokers of MQTT 3.1.1 and means a forgotten key.
    let client_id = table.text("client_id");
    let user = table.text("user");
    let password = link::password(&mut table, base);

    if password.is_some() && user.is_none() {
        table.note("password_file", "needs user as well");
    }

    // The host is judged by whether TLS was asked for, not by whether its files were right: one
    // mistake is told once.
    for (key, words) in [("client_id", &client_id), ("user", &user)] {
        table.check_string(key, words.as_deref());
    }

    link::check_host(&mut table, &host, tls.is_some());
    let heatmaps = table.choice::<Heatmaps>("heatmaps", "\"fail\", \"all\", \"none\"");
    let reject_window = table.millis("reject_window_ms", 0, 3_600_000);
    let timed_reject = table.flag("timed_reject");
    let plc = table.flag("plc");
    table.finish();

    // TLS is read after `finish`, since both readers note into the same list.
    let tls = tls.and_then(|value| link::tls(value, base, problems));
    MqttTable {
        link: MqttSettings {
            host,
            port,
            client_id: client_id.unwrap_or_else(|| identity.client_id()),
            user,
            password,
            tls,
            heatmaps: heatmaps.unwrap_or_default(),
            timed_reject: timed_reject.unwrap_or(false),
            plc: plc.unwrap_or(false),
        },
        reject_window: reject_window.unwrap_or(REJECT_WINDOW),
    }
}
