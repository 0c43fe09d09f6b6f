//! A short question to an RTSP camera before its pipeline is built: whether it answers, what it
//! sends, and that its answer is of a size that a description has.
//!
//! GStreamer reads an answer of any size into memory, and its words for a camera that is off, has
//! another codec or is no camera at all seldom name the cause. The question is the `DESCRIBE` that
//! the pipeline begins with too, without user and password: a camera that asks for them has shown
//! enough. The look-up of its name and every read are bounded in time, and reads in bytes.
//!
//! Some cameras end the connection at such a question: one without a password, or without a greeting
//! (`OPTIONS`) before it. That is no refusal of the stream, and the pipeline is tried.

use crate::camera::lookup::Lookup;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Time for the connection, and again for the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer's headers at most.
const HEADERS_MAX: usize = 64 << 10;
/// Bytes of a description at most; usual ones have some hundred.
const BODY_MAX: usize = 256 << 10;
/// Addresses of one host that are tried; each may take the whole patience.
const ADDRESSES_MAX: usize = 4;
/// Words of an answer in another protocol.
const NO_RTSP: &str = "its answer is no RTSP; is the port right?";
/// Port of RTSP (RFC 2326).
const PORT: u16 = 554;

/// What is asked for, and where.
pub struct Question<'a> {
    /// Address of the stream; it may hold a user and a password, which are not sent.
    pub location: &'a str,
    /// Codec that the configuration names, such as `h264`.
    pub codec: Option<&'a str>,
    /// True if user and password are given beside the address.
    pub has_credentials: bool,
}

/// An address in its parts.
struct Address {
    host: String,
    port: u16,
    /// The address without user and password.
    plain: String,
    has_user: bool,
}

/// An answer: its code, headers and body.
struct RtspAnswer {
    code: u16,
    body: Vec<u8>,
}

/// A fault of the question itself.
enum Fault {
    /// The camera ended the connection, which says nothing of its stream.
    Closed(String),
    /// No picture can come.
    Refused(String),
}

/// Asks the camera. An address of another scheme than plain RTSP over TCP is not asked. Returns a
/// doubt, in words for the case that the pipeline fails too; `None` for a good answer.
///
/// # Errors
/// Why no picture can come, in words that name the cause and no password.
pub fn ask(question: &Question, lookup: &mut Lookup) -> Result<Option<String>, String> {
    let Some(address) = Address::parse(question.location) else {
        return Ok(None);
    };

    let mut stream = connect(&address, lookup)?;
    let answer = match describe(&mut stream, &address.plain) {
        Ok(answer) => answer,
        Err(Fault::Closed(words)) => return Ok(Some(words)),
        Err(Fault::Refused(words)) => return Err(words),
    };

    let knows_user = address.has_user || question.has_credentials;
    match answer.code {
        200 => check_codec(&String::from_utf8_lossy(&answer.body), question.codec)?,
        401 if !knows_user => {
            return Err(
                "it asks for a user and a password; give user and password_file".to_owned(),
            );
        }

        404 => return Err("it has no such stream (404); correct the path in location".to_owned()),
        // Redirections, a refusal without user, and all that may pass: the pipeline will tell.
        _ => {}
    }

    Ok(None)
}

impl Address {
    /// The parts of `rtsp://user:password@host:port/path`. `None` for another scheme.
    fn parse(location: &str) -> Option<Self> {
        let (scheme, rest) = location.split_once("://")?;

        if !matches!(scheme, "rtsp" | "rtspt") {
            return None;
        }

        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, server) = match authority.rsplit_once('@') {
            Some((user, server)) => (Some(user), server),
            None => (None, authority),
        };

        // The colons of an IPv6 address stand within its brackets.
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (server, PORT),
        };

        Some(Address {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            plain: format!("rtsp://{server}{path}"),
            has_user: user.is_some(),
        })
    }
}

/// Connects to the first address of the host that takes a connection.
fn connect(address: &Address, lookup: &mut Lookup) -> Result<TcpStream, String> {
    let Address { host, port, .. } = address;
    let found = lookup.addresses(host, *port)?;
    let mut failure = format!("its host name {host:?} has no address");

    for place in found.into_iter().take(ADDRESSES_MAX) {
        match TcpStream::connect_timeout(&place, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = no_connection(&error, &place.to_string()),
        }
    }

    Err(failure)
}

fn no_connection(error: &std::io::Error, place: &str) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!("nothing listens at {place}; is the camera on, and is the port right?")
        }

        ErrorKind::TimedOut => format!("{place} does not answer; is the camera on?"),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            format!("no way leads to {place}; look at cable and network")
        }

        _ => format!("{place}: {error}"),
    }
}

/// Sends the question and reads the answer, both within the bounds.
fn describe(stream: &mut TcpStream, url: &str) -> Result<RtspAnswer, Fault> {
    let question = format!(
        "DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\nUser-Agent: winspect\r\n\r\n"
    );

    stream
        .set_write_timeout(Some(PATIENCE))
        .map_err(|error| closed(&error))?;
    stream
        .write_all(question.as_bytes())
        .map_err(|error| closed(&error))?;
    let until = Instant::now() + PATIENCE;
    let mut bytes = vec![];

    // Headers end with an empty line. What has come of the body by then is kept.
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }

        if bytes.len() > HEADERS_MAX {
            return Err(refused(
                "its answer has headers without end; is it a camera?",
            ));
        }

        read_some(stream, &mut bytes, until)?;
        if !b"RTSP/".starts_with(&bytes[..bytes.len().min(5)]) {
            return Err(refused(NO_RTSP));
        }
    };

    let headers = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = content_length(&headers);

    if length > BODY_MAX {
        let words = format!("its answer announces {length} bytes, no description has as many");
        return Err(Fault::Refused(words));
    }

    while bytes.len() < end + length {
        read_some(stream, &mut bytes, until)?;
    }

    Ok(RtspAnswer {
        code: code(&headers).ok_or_else(|| refused(NO_RTSP))?,
        body: bytes[end..end + length].to_vec(),
    })
}

/// Reads what is there, at most to that moment.
fn read_some(stream: &mut TcpStream, bytes: &mut Vec<u8>, until: Instant) -> Result<(), Fault> {
    let late = format!("it does not answer within {} s", PATIENCE.as_secs());
    let left = until.saturating_duration_since(Instant::now());

    // A timeout of zero would mean none.
    if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
        return Err(Fault::Refused(late));
    }

    let mut piece = [0; 4096];
    match stream.read(&mut piece) {
        Ok(0) => Err(closed(&ErrorKind::UnexpectedEof.into())),
        Ok(count) => {
            bytes.extend_from_slice(&piece[..count]);

            Ok(())
        }

        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Err(Fault::Refused(late))
        }

        Err(error) => Err(closed(&error)),
    }
}

fn refused(words: &str) -> Fault {
    Fault::Refused(words.to_owned())
}

fn closed(error: &std::io::Error) -> Fault {
    let why = match error.kind() {
        ErrorKind::UnexpectedEof => "without an answer".to_owned(),
        _ => error.to_string(),
    };

    Fault::Closed(format!(
        "it ends the connection when it is asked for its stream ({why}); is its number of connections \
         used up, or does it refuse user or password?"
    ))
}

fn code(headers: &str) -> Option<u16> {
    headers.split(' ').nth(1)?.parse().ok()
}

fn content_length(headers: &str) -> usize {
    for line in headers.lines() {
        if let Some((name, value)) = line.split_once(':')
            && name.trim().eq_ignore_ascii_case("content-length")
        {
            // A number that is none is as bad as one that is too large.
            return value.trim().parse().unwrap_or(usize::MAX);
        }
    }

    0
}

/// Compares the video streams of a description with the codec that is wanted.
fn check_codec(description: &str, wanted: Option<&str>) -> Result<(), String> {
    let offered = video_encodings(description);

    match other_codec(wanted, &offered) {
        Some(words) => Err(words),
        None => Ok(()),
    }
}

/// Names of the video streams' encodings, as `a=rtpmap` has them.
fn video_encodings(description: &str) -> Vec<String> {
    let mut encodings = vec![];
    let mut is_video = false;

    for line in description.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            is_video = media.starts_with("video");

            // JPEG's payload type 26 is fixed, and needs no map.
            if is_video && media.split_whitespace().nth(3) == Some("26") {
                encodings.push("JPEG".to_owned());
            }
        } else if let Some(map) = line.strip_prefix("a=rtpmap:").filter(|_| is_video) {
            let encoding = map.split([' ', '/']).nth(1);
            encodings.extend(encoding.map(str::to_uppercase));
        }
    }

    encodings
}

/// The cause where none of a camera's streams is coded as the configuration says.
pub fn other_codec(wanted: Option<&str>, offered: &[String]) -> Option<String> {
    let wanted = wanted?;
    let first = offered.first()?;

    if offered.iter().any(|name| name.eq_ignore_ascii_case(wanted)) {
        return None;
    }

    let offer = first.to_lowercase();
    let advice = match offer.as_str() {
        "h264" | "h265" => format!("set codec = \"{offer}\""),
        _ => "set the camera to H.264 or H.265".to_owned(),
    };

    Some(format!(
        "it sends {first}, and codec = \"{wanted}\" is set; {advice}, or change the camera's stream"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_asked_without_its_password() {
        let parse = |location: &str| {
            let address = Address::parse(location).expect(location);
            (address.host, address.port, address.plain, address.has_user)
        };

        let expected = (
            "10.0.0.7".to_owned(),
            8554,
            "rtsp://10.0.0.7:8554/a@b?c=d".to_owned(),
            true,
        );
        assert_eq!(parse("rtsp://me:p%40ss@10.0.0.7:8554/a@b?c=d"), expected);
        let expected = ("::1".to_owned(), PORT, "rtsp://[::1]/x".to_owned(), false);
        assert_eq!(parse("rtsp://[::1]/x"), expected);
        assert!(Address::parse("rtsps://10.0.0.7/x").is_none());
    }

    #[test]
    fn another_codec_is_named_with_what_to_set() {
        let sdp = |encoding: &str| {
            format!(
                "v=0\r\nm=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n\
                 m=video 0 RTP/AVP 96\r\na=rtpmap:96 {encoding}/90000\r\n"
            )
        };

        assert_eq!(check_codec(&sdp("H264"), Some("h264")), Ok(()));
        assert_eq!(check_codec(&sdp("h265"), Some("h265")), Ok(()));
        assert_eq!(check_codec(&sdp("H265"), None), Ok(()));
        assert_eq!(check_codec("v=0\r\n", Some("h264")), Ok(()));
        let words = check_codec(&sdp("H265"), Some("h264")).expect_err("another one");
        let expected = "it sends H265, and codec = \"h264\" is set; set codec = \"h265\"";
        assert!(words.starts_with(expected), "{words}");
        let jpeg = "v=0\r\nm=video 0 RTP/AVP 26\r\n";
        let words = check_codec(jpeg, Some("h264")).expect_err("another one");
        assert!(
            words.contains("set the camera to H.264 or H.265"),
            "{words}"
        );
    }

    #[test]
    fn a_length_that_is_no_number_is_too_large() {
        assert_eq!(
            content_length("RTSP/1.0 200 OK\r\ncontent-length: 12\r\n"),
            12
        );
        assert_eq!(content_length("RTSP/1.0 200 OK\r\n"), 0);
        assert!(content_length("RTSP/1.0 200 OK\r\nContent-Length: -1\r\n") > BODY_MAX);
        assert_eq!(code("RTSP/1.0 404 Not Found\r\n"), Some(404));
    }
}
