//! The page of a line, asked for as a program asks: whole answers, and raw connections.

use super::PATIENCE;
use super::broker::free_port;
use super::line::LineConfig;
use super::station::Station;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use ureq::http::Response;
use ureq::{Agent, Body};

/// A page on a port of this machine.
pub struct Page {
    /// The port.
    pub port: u16,
    agent: Agent,
}

/// An answer.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers, by their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// Body as text.
    pub body: String,
    /// Body as it came.
    pub bytes: Vec<u8>,
}

/// A station with a page.
#[track_caller]
pub fn station(camera: &str) -> (Station, Page) {
    station_with(camera, |config| config)
}

/// A station with a page, whose configuration `change` has changed.
#[track_caller]
pub fn station_with(
    camera: &str,
    change: impl FnOnce(LineConfig) -> LineConfig,
) -> (Station, Page) {
    let page = Page::at(free_port());
    let table = page.table();
    let station = Station::configured(camera, |config, _| change(config.tables(&table)));
    (station, page)
}

impl Page {
    /// The page at a port.
    pub fn at(port: u16) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .build();

        Page {
            port,
            agent: config.into(),
        }
    }

    /// The table of the line's file.
    pub fn table(&self) -> String {
        format!("[page]\nlisten = \"127.0.0.1:{}\"", self.port)
    }

    /// Address of a path.
    pub fn address(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Answer to GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    /// Answer to GET with more headers.
    #[track_caller]
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.get(self.address(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }

        told(request.call())
    }

    /// Answer to a form of this page.
    #[track_caller]
    pub fn post(&self, path: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.post(self.address(path));
        request = request.header("origin", self.address("").trim_end_matches('/'));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }

        told(request.send_form(form.iter().copied()))
    }

    /// Value of a metric, written with its labels as the text has it.
    #[track_caller]
    pub fn metric(&self, sample: &str) -> f64 {
        let text = self.get("/metrics").body;
        value_of(&text, sample).unwrap_or_else(|| panic!("no {sample} in\n{text}"))
    }

    /// A connection of its own.
    #[track_caller]
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the page listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream
    }

    /// What comes back for these bytes until the page ends the connection. A page that ends it while it
    /// is still being written to says nothing.
    #[track_caller]
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[track_caller]
fn told(answer: Result<Response<Body>, ureq::Error>) -> Answer {
    let mut answer = answer.expect("the page answers");
    let headers = answer.headers().iter().map(|(name, value)| {
        let value = value.to_str().unwrap_or_default();
        (name.to_string(), value.to_owned())
    });

    let headers = headers.collect();
    let bytes = answer.body_mut().read_to_vec().expect("a body");
    Answer {
        status: answer.status().as_u16(),
        headers,
        body: String::from_utf8_lossy(&bytes).into_owned(),
        bytes,
    }
}

/// Value of a sample in the text of `/metrics`.
pub fn value_of(text: &str, sample: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        (name == sample).then(|| value.parse().ok())?
    })
}
