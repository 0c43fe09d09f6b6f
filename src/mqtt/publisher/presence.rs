//! The broker's presence as the log tells it: away, back, and connections that do not last.

use super::lost::Lost;
use super::{Publisher, STEADY};
use crate::base::backoff::Backoff;
use crate::mqtt::session::Session;
use std::time::Instant;

/// Connections in a row that did not last, as a reason to suspect a second client of our name.
const SUSPICIOUS: u32 = 3;
/// Reasons of one absence that are logged: a broker behind a proxy gives two or three in turns.
const REASONS_MAX: usize = 16;

impl Publisher {
    /// A connection that lasted was a success; several in a row that did not are suspicious.
    pub(super) fn judge_steadiness(
        &mut self,
        session: &Session,
        backoff: &mut Backoff,
        lost: &mut Lost,
    ) {
        // A connection that was refused is neither good nor unsteady: the backoff grows, and its
        // reason speaks for itself.
        match session.connected_at {
            Some(since) if since.elapsed() > STEADY => {
                backoff.reset();
                self.unsteady = 0;
            }
            Some(_) => self.unsteady += 1,
            None => {}
        }

        if self.unsteady >= SUSPICIOUS && lost.is_unexplained {
            lost.reason += &format!(
                ", again and again; does another daemon have the mqtt.client_id {:?}?",
                self.settings.client_id
            );
        }
    }

    pub(super) fn on_lost(&mut self, reason: &str) {
        // The first loss is the beginning of the absence; failed tries in between do not move it.
        self.away_since.get_or_insert_with(Instant::now);
        self.wiring.broker.lost(reason);
        let is_news = !self.reasons_logged.contains(reason);
        if is_news && self.reasons_logged.len() < REASONS_MAX {
            let host = &self.settings.host;
            let port = self.settings.port;
            tracing::warn!("broker {host}:{port} away: {reason}; results wait");
            self.reasons_logged.insert(reason.to_owned());
        }
    }

    pub(super) fn on_back(&mut self) {
        self.wiring.broker.connected();
        let broker = format!("{}:{}", self.settings.host, self.settings.port);
        match self.away_since.take() {
            Some(since) => {
                tracing::info!("broker {broker} back after {} s", since.elapsed().as_secs());
            }
            None => tracing::info!("broker {broker} connected"),
        }

        // The next loss is news again, whatever its words.
        self.reasons_logged.clear();
    }
}
