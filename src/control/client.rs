//! A client of the control socket, for the commands that talk to a running line.

use crate::control::messages::{ControlReply, ControlRequest};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reason why a line cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket is not there, or no process serves it.
    #[error("{}: {error}", path.display())]
    NotRunning {
        /// Path of the socket.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The connection ended, or the line did not answer in time.
    #[error("the line does not answer: {0}")]
    Broken(std::io::Error),
    /// The answer is of another version.
    #[error("the line answers in words that this version does not know: {0}")]
    Unknown(serde_json::Error),
}

impl ClientError {
    /// Returns true when the socket is there and this user may not connect.
    pub fn is_permission(&self) -> bool {
        let ClientError::NotRunning { error, .. } = self else {
            return false;
        };

        error.kind() == std::io::ErrorKind::PermissionDenied
    }
}

/// A connection to a running line.
#[derive(Debug)]
pub struct ControlClient {
    reader: BufReader<UnixStream>,
    /// A line that has not come whole yet.
    buffer: Vec<u8>,
}

/// The server's line, silence, or the end.
#[derive(Debug)]
pub enum Received {
    /// A line of the server.
    Reply(ControlReply),
    /// No line in that time.
    Silence,
    /// The server has closed the connection.
    End,
}

impl ControlClient {
    /// Connects to the socket.
    ///
    /// # Errors
    /// When no line serves it, or this user may not connect.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|error| ClientError::NotRunning {
            path: path.to_owned(),
            error,
        })?;

        Ok(ControlClient {
            reader: BufReader::new(stream),
            buffer: vec![],
        })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn send(&mut self, request: &ControlRequest) -> Result<(), ClientError> {
        // A request is one line: the line feed is the only end that the server knows.
        let mut line = serde_json::to_vec(request).expect("requests are plain values");
        line.push(b'\n');
        let written = self.reader.get_mut().write_all(&line);
        written.map_err(ClientError::Broken)
    }

    /// Waits for the next line, at most that long.
    ///
    /// # Errors
    /// When the connection fails, or the line is of another version.
    pub fn hear(&mut self, patience: Duration) -> Result<Received, ClientError> {
        // The bound lies on each read of the socket. A server that sends single bytes can exceed
        // it, which winspect's never does.
        let stream = self.reader.get_ref();
        stream
            .set_read_timeout(Some(patience))
            .map_err(ClientError::Broken)?;

        // The buffer belongs to the client: a line that a timeout cuts in two is completed by the
        // next call.
        match self.reader.read_until(b'\n', &mut self.buffer) {
            Ok(_) if self.buffer.last() == Some(&b'\n') => {
                let reply = serde_json::from_slice(&self.buffer);
                self.buffer.clear();
                Ok(Received::Reply(reply.map_err(ClientError::Unknown)?))
            }

            // Bytes without a line feed at the end of the stream are a torn line and worth nothing.
            Ok(_) => Ok(Received::End),
            // What came of a line stays in the buffer.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(Received::Silence)
            }

            // A server that was killed resets the connection instead of closing it.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Received::End),
            Err(error) => Err(ClientError::Broken(error)),
        }
    }

    /// The one reply to a request.
    ///
    /// # Errors
    /// When the line does not answer in time, or in words of another version.
    pub fn ask(
        &mut self,
        request: &ControlRequest,
        patience: Duration,
    ) -> Result<ControlReply, ClientError> {
        // The server answers one request with one line, so that no line of an earlier request can
        // come first.
        self.send(request)?;
        match self.hear(patience)? {
            Received::Reply(reply) => Ok(reply),
            Received::Silence => Err(ClientError::Broken(ErrorKind::TimedOut.into())),
            Received::End => Err(ClientError::Broken(ErrorKind::UnexpectedEof.into())),
        }
    }
}
