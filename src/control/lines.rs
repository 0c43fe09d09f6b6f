//! Lines that wait for a client to read them, counted in bytes: a page of the history is a line as an event is, of a
//! thousand times the bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// Lines that wait for a client at most.
const LINES_WAITING: usize = 256;
/// Bytes that may wait for a client when it asks for another page of the history, which has 100 KB and more. With the
/// searches that it may have under way that bounds what a client holds that does not read.
const BYTES_WAITING: usize = 1 << 20;

/// The server's end: puts lines.
pub struct LineSender {
    lines: mpsc::Sender<Arc<str>>,
    bytes: Arc<AtomicUsize>,
}

/// The connection's end: writes them.
pub struct LineReceiver {
    lines: mpsc::Receiver<Arc<str>>,
    bytes: Arc<AtomicUsize>,
}

/// Both ends of a client's lines. Dropping the sender ends the connection after what waits.
pub fn waiting_lines() -> (LineSender, LineReceiver) {
    let (sender, receiver) = mpsc::channel(LINES_WAITING);
    let bytes = Arc::new(AtomicUsize::new(0));
    let sender = LineSender {
        lines: sender,
        bytes: bytes.clone(),
    };

    let receiver = LineReceiver {
        lines: receiver,
        bytes,
    };

    (sender, receiver)
}

impl LineSender {
    /// Puts a line where there is room for one; false where there is none.
    pub fn put(&self, line: Arc<str>) -> bool {
        // Counted before it can be written, so that the count never falls below zero.
        let length = line.len();
        self.bytes.fetch_add(length, Ordering::Relaxed);

        let is_put = self.lines.try_send(line).is_ok();
        if !is_put {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
        }

        is_put
    }

    /// Number of lines for which there is room.
    pub fn room(&self) -> usize {
        self.lines.capacity()
    }

    /// Refuses another page while much of those before waits to be read.
    ///
    /// # Errors
    /// The bytes that wait, and the limit, in words for the client.
    pub fn check_room(&self) -> Result<(), String> {
        let waiting = self.bytes();
        if waiting <= BYTES_WAITING {
            return Ok(());
        }

        Err(format!(
            "{waiting} bytes wait to be read (at most {BYTES_WAITING}); read them, then send the search again"
        ))
    }

    /// Bytes that the client has not taken yet.
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl LineReceiver {
    /// The next line; `None` once the server has left the client.
    pub async fn next(&mut self) -> Option<Arc<str>> {
        self.lines.recv().await
    }

    /// Counts a line off that was written.
    pub fn written(&self, line: &str) {
        self.bytes.fetch_sub(line.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_does_not_read_its_pages_gets_no_more_of_them() {
        let (sender, mut receiver) = waiting_lines();
        let page: Arc<str> = "x".repeat(300_000).into();
        let mut pages = 0;
        while sender.check_room().is_ok() {
            assert!(sender.put(page.clone()));
            pages += 1;
        }

        assert_eq!(pages, 4);
        let refusal = sender.check_room().expect_err("too many bytes");
        assert!(refusal.starts_with("1200000 bytes wait"), "{refusal}");

        // Events have room all the same, and whoever reads gets the next page.
        assert!(sender.put("event".into()));
        let first = receiver.next().await.expect("one waits");
        receiver.written(&first);
        assert!(sender.check_room().is_ok());
    }

    #[tokio::test]
    async fn bytes_wait_until_they_are_written() {
        let (sender, mut receiver) = waiting_lines();
        assert!(sender.put("12345".into()) && sender.put("678".into()));
        assert_eq!(sender.bytes(), 8);
        let line = receiver.next().await.expect("one waits");
        assert_eq!(sender.bytes(), 8, "it is taken and not written");
        receiver.written(&line);
        assert_eq!(sender.bytes(), 3);

        // A line without room counts for nothing.
        while sender.put("x".into()) {}
        assert_eq!((sender.room(), sender.bytes()), (0, 3 + 255));
    }
}
