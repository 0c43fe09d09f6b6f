//! One connection of the control socket: a task that reads lines and writes lines, and decides
//! nothing.

use crate::control::lines::LineReceiver;
use crate::control::messages::LINE_MAX;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// A connection without a byte in or out for this long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A line, or the end, of a connection.
pub struct Input {
    /// Number of the connection.
    pub connection: u64,
    /// The line, or the end.
    pub line: ClientLine,
}

/// The line itself, or the way in which lines end.
pub enum ClientLine {
    /// A line without its line feed.
    Whole(Vec<u8>),
    /// The line is too long; the connection reads no more.
    TooLong,
    /// The client writes no more; it still gets the answers to what it wrote.
    LastRead,
    /// The connection has ended.
    Closed,
}

/// The task of one connection.
pub struct Connection {
    number: u64,
    inputs: mpsc::Sender<Input>,
    /// Moment of the last byte in or out.
    last_byte: Instant,
}

impl Connection {
    /// A connection whose lines go to `inputs` under its number.
    pub fn new(number: u64, inputs: mpsc::Sender<Input>) -> Self {
        Connection {
            number,
            inputs,
            last_byte: Instant::now(),
        }
    }

    /// Serves the stream until the client has left or `lines` is closed and written.
    pub async fn run(mut self, stream: UnixStream, lines: LineReceiver) {
        // The end is told on every way out: the server counts connections by it.
        let (reader, writer) = stream.into_split();
        self.talk(reader, writer, lines).await;
        self.send(ClientLine::Closed).await;
    }

    /// Reads and writes until the client has left or the server leaves it.
    async fn talk(
        &mut self,
        mut reader: OwnedReadHalf,
        mut writer: OwnedWriteHalf,
        mut lines: LineReceiver,
    ) {
        // `reads` turns false at the end of the client's input. The loop then only writes, until
        // the server drops its sender.
        let mut buffer = Vec::with_capacity(LINE_MAX);
        let mut reads = true;
        loop {
            let idle_at = self.last_byte + IDLE_MAX;
            tokio::select! {
                read = reader.read_buf(&mut buffer), if reads => {
                    reads = match read {
                        Ok(0) => {
                            self.send(ClientLine::LastRead).await;
                            false
                        }
                        Ok(_) => self.take_lines(&mut buffer).await,
                        Err(_) => return,
                    };
                }
                line = lines.next() => {
                    // A write that lasts longer than the idle time means a client that does not
                    // read.
                    let Some(line) = line else { return };
                    let written = writer.write_all(line.as_bytes());
                    if !matches!(tokio::time::timeout(IDLE_MAX, written).await, Ok(Ok(()))) {
                        return;
                    }

                    lines.written(&line);
                }
                () = tokio::time::sleep_until(idle_at.into()) => return,
            }

            self.last_byte = Instant::now();
        }
    }

    /// Hands whole lines to the server. False if the line is too long.
    async fn take_lines(&mut self, buffer: &mut Vec<u8>) -> bool {
        // Several lines may come in one read; what is left after the last line feed stays for the
        // next.
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let mut line: Vec<u8> = buffer.drain(..=end).collect();
            line.pop();
            if line.len() > LINE_MAX {
                self.send(ClientLine::TooLong).await;
                return false;
            }

            self.send(ClientLine::Whole(line)).await;
        }

        // A line without an end is refused as soon as it is too long, so that the buffer holds at
        // most LINE_MAX bytes and one read.
        let is_short = buffer.len() <= LINE_MAX;
        if !is_short {
            self.send(ClientLine::TooLong).await;
        }

        is_short
    }

    async fn send(&self, line: ClientLine) {
        // A full channel makes this connection wait, never the server. A closed one means that the
        // line has ended.
        let input = Input {
            connection: self.number,
            line,
        };

        let _ = self.inputs.send(input).await;
    }
}
