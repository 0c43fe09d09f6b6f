//! A network camera of our own that says whatever a test wants, at the moment that it wants.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Behaviour of the camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Offers a stream of this encoding and sends nothing after `PLAY`; its goodbye is not answered.
    Silent(&'static str),
    /// Answers `DESCRIBE` with this code.
    NoDescription(u16),
    /// Ends the connection at `DESCRIBE`.
    Hangup,
    /// Ends the connection at a `DESCRIBE` that nothing came before; else it is silent.
    HangupOnStrangers,
    /// Answers `SETUP` with this code.
    NoSetup(u16),
    /// Answers with headers that never end.
    EndlessHeaders,
    /// Announces a body of 2 GB and sends it.
    HugeBody,
    /// Answers with bytes that are no RTSP.
    Garbage,
}

/// A camera that listens on this machine.
pub struct FakeCamera {
    /// Its port.
    pub port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    manner: Manner,
    /// Methods that were asked for, since the manner changed.
    asked: Vec<String>,
    /// `Authorization` headers that came.
    authorizations: Vec<String>,
}

impl FakeCamera {
    /// A camera that behaves like this.
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::new(Mutex::new(State {
            manner,
            asked: vec![],
            authorizations: vec![],
        }));

        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                thread::spawn(move || {
                    let _ = serve(stream, &shared); // the client may leave at any time
                });
            }
        });

        FakeCamera { port, state }
    }

    /// Address of the stream.
    pub fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/x", self.port)
    }

    /// Lines of a line's configuration for this camera.
    pub fn lines(&self) -> String {
        format!("kind = \"rtsp\"\nlocation = {:?}", self.url())
    }

    /// Behaves otherwise from now on.
    pub fn set(&self, manner: Manner) {
        let mut state = lock(&self.state);
        state.manner = manner;
        state.asked.clear();
    }

    /// True if a request came with this `Authorization`.
    pub fn was_given(&self, authorization: &str) -> bool {
        let state = lock(&self.state);
        state
            .authorizations
            .iter()
            .any(|given| given == authorization)
    }

    /// Number of requests of a method since the manner changed.
    pub fn asked(&self, method: &str) -> usize {
        let state = lock(&self.state);
        state.asked.iter().filter(|asked| *asked == method).count()
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    let mut is_stranger = true;
    loop {
        let Some(Request {
            method,
            number,
            authorization,
        }) = request(&mut reader)?
        else {
            return Ok(());
        };

        let manner = {
            let mut state = lock(state);
            state.asked.push(method.clone());
            state.authorizations.extend(authorization);
            state.manner
        };

        let ok = format!("RTSP/1.0 200 OK\r\nCSeq: {number}\r\n");
        match (method.as_str(), manner) {
            (_, Manner::Garbage) => out.write_all(&[0xa5; 4096])?,
            (_, Manner::EndlessHeaders) => {
                out.write_all(b"RTSP/1.0 200 OK\r\n")?;
                let header = format!("X-A: {}\r\n", "a".repeat(60_000));
                loop {
                    out.write_all(header.as_bytes())?;
                }
            }
            ("OPTIONS", _) => {
                write!(
                    out,
                    "{ok}Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n"
                )?;
            }
            ("DESCRIBE", Manner::HugeBody) => {
                write!(
                    out,
                    "{ok}Content-Type: application/sdp\r\nContent-Length: 2147483000\r\n\r\n"
                )?;

                loop {
                    out.write_all(&[b'a'; 65536])?;
                }
            }
            ("DESCRIBE", Manner::Hangup) => return Ok(()),
            ("DESCRIBE", Manner::HangupOnStrangers) if is_stranger => return Ok(()),
            ("DESCRIBE", Manner::NoDescription(code)) => refuse(&mut out, code, &number)?,
            ("DESCRIBE", _) => describe(&mut out, &ok, manner)?,
            ("SETUP", Manner::NoSetup(code)) => refuse(&mut out, code, &number)?,
            ("SETUP", _) => write!(
                out,
                "{ok}Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
            )?,
            ("PLAY", _) => write!(out, "{ok}Session: 1\r\nRange: npt=0-\r\n\r\n")?,
            // Its own goodbye: none.
            _ => thread::sleep(Duration::from_secs(3600)),
        }

        is_stranger = false;
    }
}

fn refuse(out: &mut TcpStream, code: u16, number: &str) -> std::io::Result<()> {
    let challenge = match code {
        401 => "WWW-Authenticate: Basic realm=\"x\"\r\n",
        _ => "",
    };

    write!(
        out,
        "RTSP/1.0 {code} No\r\nCSeq: {number}\r\n{challenge}\r\n"
    )
}

fn describe(out: &mut TcpStream, ok: &str, manner: Manner) -> std::io::Result<()> {
    let encoding = match manner {
        Manner::Silent(encoding) => encoding,
        _ => "H264",
    };

    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\na=control:*\r\n\
         m=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:96 {encoding}/90000\r\na=control:track0\r\n"
    );

    write!(
        out,
        "{ok}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

/// A request, as far as the camera looks at it.
#[derive(Default)]
struct Request {
    method: String,
    number: String,
    authorization: Option<String>,
}

/// The next request. `None` at the end of the connection.
fn request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut request = Request::default();
    loop {
        let mut line = vec![];
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }

        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if line.is_empty() && !request.method.is_empty() {
            return Ok(Some(request));
        }

        if request.method.is_empty() {
            request.method = line.split(' ').next().unwrap_or_default().to_owned();
        } else if let Some(value) = line.strip_prefix("CSeq:") {
            request.number = value.trim().to_owned();
        } else if let Some(value) = line.strip_prefix("Authorization:") {
            request.authorization = Some(value.trim().to_owned());
        }
    }
}
