//! The look-up of a camera's host name within a bounded time.
//!
//! The system's resolver may hang for minutes, and nothing ends it. It runs on a thread of its own, at
//! most one for each camera: while one hangs, later tries wait for the same answer.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// Time for an answer. Resolvers ask their second server after five seconds by default.
const PATIENCE: Duration = Duration::from_secs(8);

type Answer = io::Result<Vec<SocketAddr>>;

/// A function that asks for the addresses of a host.
type Resolve = fn(&str, u16) -> Answer;

/// The look-ups of one camera.
pub struct Lookup {
    resolve: Resolve,
    patience: Duration,
    /// Answer of a look-up that did not end in time.
    pending: Option<Receiver<Answer>>,
}

impl Default for Lookup {
    fn default() -> Self {
        Lookup {
            resolve: ask_system,
            patience: PATIENCE,
            pending: None,
        }
    }
}

impl Lookup {
    /// The addresses of a host.
    ///
    /// # Errors
    /// When the host is unknown, or the resolver does not answer, in words that name the host.
    pub fn addresses(&mut self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        // An address needs no look-up.
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }

        let answer = match self.pending.take() {
            Some(answer) => answer,
            None => self.start(host, port),
        };

        match answer.recv_timeout(self.patience) {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(unknown(host, &error.to_string())),
            Err(RecvTimeoutError::Disconnected) => Err(unknown(host, "the look-up broke off")),
            Err(RecvTimeoutError::Timeout) => {
                self.pending = Some(answer);
                let seconds = self.patience.as_secs_f32();
                Err(format!(
                    "no name server tells the address of its host name {host:?} within {seconds} s; look at \
                     the network, or give the address in location"
                ))
            }
        }
    }

    /// Starts the thread of one look-up. The channel has room for its answer, so that the thread ends
    /// whenever it has one.
    fn start(&self, host: &str, port: u16) -> Receiver<Answer> {
        let (sender, receiver) = sync_channel(1);
        let resolve = self.resolve;
        let host = host.to_owned();
        thread::Builder::new()
            .name("camera-lookup".to_owned())
            .spawn(move || {
                let _ = sender.send(resolve(&host, port)); // the camera may be gone by then
            })
            .expect("a thread can be started");

        receiver
    }
}

fn ask_system(host: &str, port: u16) -> Answer {
    (host, port).to_socket_addrs().map(Iterator::collect)
}

fn unknown(host: &str, why: &str) -> String {
    format!("its host name {host:?} is unknown ({why}); correct location, or give the address")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static ASKED: AtomicUsize = AtomicUsize::new(0);

    fn slowly(_: &str, port: u16) -> Answer {
        ASKED.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(400));
        Ok(vec![SocketAddr::from(([10, 0, 0, 7], port))])
    }

    #[test]
    fn a_resolver_that_hangs_is_asked_once_and_waited_for_in_turns() {
        let mut lookup = Lookup {
            resolve: slowly,
            patience: Duration::from_millis(50),
            pending: None,
        };

        let words = lookup.addresses("camera", 554).expect_err("too slow");
        assert!(words.contains("\"camera\" within 0.05 s"), "{words}");
        lookup.addresses("camera", 554).expect_err("still too slow");
        lookup.patience = Duration::from_secs(10);
        let found = lookup.addresses("camera", 554);
        assert_eq!(found, Ok(vec![SocketAddr::from(([10, 0, 0, 7], 554))]));
        assert_eq!(ASKED.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn an_address_is_not_looked_up() {
        let mut lookup = Lookup {
            resolve: |_, _| panic!("it is asked"),
            ..Lookup::default()
        };

        let found = lookup.addresses("::1", 554).expect("an address");
        assert_eq!(found, [SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 554))]);
    }
}
