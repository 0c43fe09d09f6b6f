//! Heat maps and snapshots on a connection of their own, so that no verdict waits behind a picture.
//!
//! A result has 2 kB and a picture up to some MB: on a link of 1 MB/s one picture holds everything
//! behind it up for seconds. The connection is opened with the first picture. One picture at a time is
//! with the client; a few wait, and what finds no room is dropped and counted. While the broker is
//! away pictures are dropped, because an old picture is of no use to a person who watches.

use super::MqttSettings;
use super::reason::reason;
use super::session::{MqttMessage, PICTURES_WAITING, Session, options};
use crate::base::backoff::Backoff;
use crate::base::health::{Diagnostics, Health};
use crate::protocol::event::ListenerState;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::sync::mpsc::Receiver;

/// Requests that the client may hold: one picture, and pings.
const REQUESTS: usize = 4;
/// Connections in a row that the broker does not take until a person is told.
const REFUSED_TOLD: u32 = 3;
/// A connection that lasted this long was a good one.
const STEADY: Duration = Duration::from_secs(5);
/// Diagnostics source of pictures that cannot be sent.
const PICTURES: &str = "pictures";

/// The publisher's end.
pub(super) struct Pictures {
    waiting: mpsc::Sender<MqttMessage>,
    unsent: Arc<AtomicUsize>,
    dropped: Arc<ListenerState>,
}

/// The connection's end.
pub(super) struct PictureSender {
    settings: MqttSettings,
    waiting: Receiver<MqttMessage>,
    unsent: Arc<AtomicUsize>,
    dropped: Arc<ListenerState>,
    causes: Diagnostics,
    /// The last reason that was logged.
    last_logged: String,
    /// Connections in a row that the broker did not take.
    refused: u32,
}

/// Both ends; `dropped` counts the pictures that were not sent.
pub(super) fn pictures(
    settings: &MqttSettings,
    dropped: Arc<ListenerState>,
    causes: Diagnostics,
) -> (Pictures, PictureSender) {
    let (sender, waiting) = mpsc::channel(PICTURES_WAITING);
    let unsent = Arc::<AtomicUsize>::default();
    let pictures = Pictures {
        waiting: sender,
        unsent: unsent.clone(),
        dropped: dropped.clone(),
    };

    let sender = PictureSender {
        settings: settings.clone(),
        waiting,
        unsent,
        dropped,
        causes,
        last_logged: String::new(),
        refused: 0,
    };

    (pictures, sender)
}

impl Pictures {
    /// Sends a picture where there is room; drops and counts it otherwise.
    pub(super) fn send(&self, picture: MqttMessage) {
        self.unsent.fetch_add(1, Ordering::Relaxed);
        if self.waiting.try_send(picture).is_err() {
            self.unsent.fetch_sub(1, Ordering::Relaxed);
            self.dropped.miss();
        }
    }

    /// True if no picture is on its way.
    pub(super) fn is_quiet(&self) -> bool {
        self.unsent.load(Ordering::Relaxed) == 0
    }
}

impl PictureSender {
    /// Sends pictures for as long as it is polled.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let client_id = format!("{}-pictures", self.settings.client_id);
        let mut number = 0;
        // Nothing is connected before there is something to show.
        let mut first = self.waiting.recv().await;
        loop {
            let Some(picture) = first.take() else {
                return std::future::pending().await; // the publisher is ending
            };

            number += 1;
            let options = options(&self.settings, &client_id);
            let (client, mut events) = AsyncClient::new(options, REQUESTS);
            let mut session = Session::new(number, client);
            let lost = self.run_session(&mut session, &mut events, picture).await;
            // One that lasted was a good one. Another client of our name would else be thrown out at
            // every moment.
            let lasted = session
                .connected_at
                .is_some_and(|since| since.elapsed() > STEADY);

            if lasted {
                backoff.reset();
                self.last_logged.clear();
            }

            self.tell_lost(&session, lost);

            first = self.drop_for(backoff.next_wait()).await;
        }
    }

    /// One connection, until its end; gives the reason.
    async fn run_session(
        &mut self,
        session: &mut Session,
        events: &mut EventLoop,
        first: MqttMessage,
    ) -> String {
        let mut next = Some(first);
        loop {
            let mut event = std::pin::pin!(events.poll());
            let event = loop {
                // One at a time: the next one is taken when this one is on the link.
                if session.is_connected()
                    && session.best_effort == 0
                    && let Some(picture) = next.take()
                {
                    session.send_best_effort(picture, 1);
                    if session.best_effort == 0 {
                        self.drop_one(); // too large for the broker
                    }
                }

                let is_idle = next.is_none() && session.best_effort == 0;
                tokio::select! {
                    event = &mut event => break event,
                    picture = self.waiting.recv(), if is_idle => match picture {
                        Some(picture) => next = Some(picture),
                        None => return std::future::pending().await,
                    },
                }
            };

            match event {
                Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                    session.connected_at = Some(Instant::now());
                    session.packet_max = ack.properties.and_then(|found| found.max_packet_size);
                    self.refused = 0;
                    self.causes.clear(PICTURES);
                }
                Ok(Event::Outgoing(Outgoing::Publish(0))) => {
                    session.best_effort = 0;
                    self.unsent.fetch_sub(1, Ordering::Relaxed);
                }
                Ok(_) => {}
                Err(error) => {
                    if next.is_some() || session.best_effort > 0 {
                        self.drop_one();
                    }

                    return reason(&error, &self.settings.host);
                }
            }
        }
    }

    /// Logs why the connection ended, once for each reason. Results have a connection of their own, so
    /// that a missing one for pictures takes nothing from the line but the pictures: health tells of it
    /// when the broker takes none again and again.
    fn tell_lost(&mut self, session: &Session, lost: String) {
        if !session.is_connected() {
            self.refused += 1;
        }

        if self.refused >= REFUSED_TOLD {
            let words = format!("not sent: {lost}");
            self.causes
                .set(PICTURES, Health::MaintenanceRequired, words);
        }

        if self.last_logged != lost {
            tracing::warn!("no pictures to the broker: {lost}");
            self.last_logged = lost;
        }
    }

    /// Drops pictures for that time, then waits for the next one.
    async fn drop_for(&mut self, wait: Duration) -> Option<MqttMessage> {
        let end = tokio::time::sleep(wait);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return self.waiting.recv().await,
                picture = self.waiting.recv() => match picture {
                    Some(_) => self.drop_one(),
                    None => return None,
                },
            }
        }
    }

    fn drop_one(&self) {
        self.unsent.fetch_sub(1, Ordering::Relaxed);
        self.dropped.miss();
    }
}
