//! `winspect model fetch` against a small web server that can be as bad as real ones: it cuts, forgets ranges, lies.

use crate::harness::broker::free_port;
use crate::harness::golden::golden;
use crate::harness::program::winspect;
use crate::tls::Authority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

const CONFIG: &str = "open_clip_config.json";
const WEIGHTS: &str = "open_clip_model.safetensors";

/// How the server behaves; the default is a good one.
#[derive(Debug, Clone)]
struct Manners {
    /// The weights' connection is closed after this many bytes of the body.
    cut: Option<usize>,
    ranges: bool,
    etag: &'static str,
    /// Other weights than the golden ones, of the same length.
    wrong: bool,
    /// Bytes that the server sends behind the weights' own.
    surplus: usize,
    /// The length of a body is told before it.
    lengths: bool,
    /// What is not there.
    missing: &'static str,
    /// `/hub/x` sends to `/store/x`, as the hub does.
    redirect: bool,
}

const GOOD: Manners = Manners {
    cut: None,
    ranges: true,
    etag: "\"v1\"",
    wrong: false,
    surplus: 0,
    lengths: true,
    missing: "none",
    redirect: false,
};

/// Path and `Range` of every request that was answered with a body.
type Asked = Vec<(String, Option<String>)>;

/// The server; it lives as long as the test's process.
struct Server {
    port: u16,
    manners: Arc<Mutex<Manners>>,
    asked: Arc<Mutex<Asked>>,
}

impl Server {
    fn start(manners: Manners) -> Self {
        Self::with(manners, None)
    }

    fn with(manners: Manners, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let server = Server {
            port,
            manners: Arc::new(Mutex::new(manners)),
            asked: Arc::default(),
        };

        let (manners, asked) = (server.manners.clone(), server.asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let manners = manners.lock().expect("no panic").clone();
                // A client that left is its own affair.
                let _ = match &tls {
                    None => answer(stream, &manners, &asked),
                    Some(tls) => {
                        let connection =
                            ServerConnection::new(tls.clone()).expect("a right configuration");

                        answer(StreamOwned::new(connection, stream), &manners, &asked)
                    }
                };
            }
        });

        server
    }

    fn behave(&self, manners: Manners) {
        *self.manners.lock().expect("no panic") = manners;
        self.asked.lock().expect("no panic").clear();
    }

    /// The ranges that the weights were asked for.
    fn ranges(&self) -> Vec<Option<String>> {
        let asked = self.asked.lock().expect("no panic");
        asked
            .iter()
            .filter(|(path, _)| path.ends_with(WEIGHTS))
            .map(|(_, range)| range.clone())
            .collect()
    }
}

/// Reads one request: its path, and the headers in small letters.
fn request(stream: impl Read) -> std::io::Result<(String, Vec<(String, String)>)> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut headers = Vec::new();
    for line in lines {
        match line?.split_once(": ") {
            Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
            None => break,
        }
    }

    Ok((
        first.split(' ').nth(1).unwrap_or_default().to_owned(),
        headers,
    ))
}

fn answer(
    mut stream: impl Read + Write,
    manners: &Manners,
    asked: &Mutex<Asked>,
) -> std::io::Result<()> {
    let (path, headers) = request(&mut stream)?;
    let header = |name: &str| {
        headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    };

    let name = path.rsplit('/').next().unwrap_or_default();
    if path.ends_with(manners.missing) {
        return stream.write_all(
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        );
    }

    if manners.redirect && path.starts_with("/hub/") {
        let head =
            format!("HTTP/1.1 302 Found\r\nlocation: /store/{name}\r\ncontent-length: 0\r\n");

        return stream.write_all(
            format!("{head}etag: \"elsewhere\"\r\nconnection: close\r\n\r\n").as_bytes(),
        );
    }

    let mut bytes = std::fs::read(golden("open-clip-tiny").join(name))?;
    if manners.wrong && name == WEIGHTS {
        *bytes.last_mut().expect("not empty") ^= 1;
    }

    if name == WEIGHTS {
        bytes.resize(bytes.len() + manners.surplus, 0);
    }

    asked
        .lock()
        .expect("no panic")
        .push((path.clone(), header("range").map(str::to_owned)));

    let from =
        header("range").filter(|_| manners.ranges && header("if-range") == Some(manners.etag));

    let from = from.and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse::<usize>()
            .ok()
    });

    let all = bytes.len();
    let body = &bytes[from.unwrap_or(0)..];
    let status = from.map_or("200 OK\r\n".to_owned(), |from| {
        format!(
            "206 Partial Content\r\ncontent-range: bytes {from}-{}/{all}\r\n",
            all - 1
        )
    });

    let tag = if manners.etag.is_empty() {
        String::new()
    } else {
        format!("etag: {}\r\n", manners.etag)
    };

    let length = match manners.lengths {
        true => format!("content-length: {}\r\n", body.len()),
        false => String::new(),
    };

    let head = format!("HTTP/1.1 {status}{tag}{length}connection: close\r\n\r\n");

    stream.write_all(head.as_bytes())?;
    let cut = manners
        .cut
        .filter(|_| name == WEIGHTS)
        .unwrap_or(body.len());

    stream.write_all(&body[..cut])?;
    stream.flush()
}

/// A folder with a catalogue of one model, `tiny`.
struct Place(tempfile::TempDir);

impl Place {
    /// `sha256` is that of the weights, where the catalogue is to have one.
    fn new(sha256: Option<&str>) -> Self {
        let sum = sha256.map_or(String::new(), |sum| format!(", sha256 = \"{sum}\""));
        Place::with(&sum)
    }

    /// The catalogue says how many bytes the weights have.
    fn of_size(bytes: usize) -> Self {
        Place::with(&format!(", bytes = {bytes}"))
    }

    /// `more` are further keys of the weights.
    fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = format!(
            "[[model]]\nname = \"tiny\"\nabout = \"a small one\"\nrepository = \"somebody/tiny\"\nrevision = \"main\"\n\
             licence = \"MIT\"\nfile = [{{ name = \"{CONFIG}\" }}, {{ name = \"{WEIGHTS}\"{more} }}]\n"
        );

        std::fs::write(folder.path().join("catalogue.toml"), text).expect("written");
        Place(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Fetches `name` into `model`: the exit code, and all that was said.
    fn fetch(&self, port: u16, more: &[&str]) -> (Option<i32>, String) {
        let mut command = winspect();
        command
            .args(["model", "fetch", "tiny"])
            .arg(self.path("model"));

        command.arg("--catalogue").arg(self.path("catalogue.toml"));
        run(command
            .arg("--base-url")
            .arg(format!("http://127.0.0.1:{port}/hub"))
            .args(more))
    }
}

fn run(command: &mut Command) -> (Option<i32>, String) {
    for name in [
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        command.env_remove(name);
    }

    let output = command.output().expect("runs");
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());

    (output.status.code(), said.concat())
}

fn golden_size() -> usize {
    std::fs::metadata(golden("open-clip-tiny").join(WEIGHTS))
        .expect("there")
        .len() as usize
}

fn sha256(path: &Path) -> String {
    Sha256::digest(std::fs::read(path).expect("there"))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[track_caller]
fn assert_said(said: &str, words: &[&str]) {
    words
        .iter()
        .for_each(|word| assert!(said.contains(word), "{word:?} is not in\n{said}"));
}

#[test]
fn a_model_is_fetched_checked_imported_and_cleared_up() {
    let sum = sha256(&golden("open-clip-tiny").join(WEIGHTS));
    let place = Place::new(Some(&sum));
    let server = Server::start(Manners {
        redirect: true,
        ..GOOD
    });

    let (code, said) = place.fetch(server.port, &[]);
    assert_eq!(code, Some(0), "{said}");
    let fetched = format!("fetched    {WEIGHTS}, sha256 {sum}");
    assert_said(
        &said,
        &[
            "source     somebody/tiny@main, licence: MIT",
            &fetched,
            "abilities  text, windows, patches",
        ],
    );

    assert!(!place.path("model.download").exists());

    let (code, said) = place.fetch(server.port, &["--keep"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(sha256(&place.path("model.download").join(WEIGHTS)), sum);
    let files = std::fs::read_dir(place.path("model.download"))
        .expect("kept")
        .count();

    assert_eq!(files, 2, "no .part, no .version");
}

#[test]
fn a_cut_download_goes_on_with_the_rest() {
    let place = Place::new(None);
    let cut = golden_size() * 99 / 100;
    // The hub's way: the place that sends the bytes is another, and the range has to reach it.
    let server = Server::start(Manners {
        cut: Some(cut),
        redirect: true,
        ..GOOD
    });

    let (code, said) = place.fetch(server.port, &[]);
    assert_eq!(code, Some(69), "{said}");
    assert_said(
        &said,
        &[
            &format!("broke off after {cut} of {} bytes", golden_size()),
            "running it again goes on",
        ],
    );

    assert!(!place.path("model").exists());

    server.behave(Manners {
        redirect: true,
        ..GOOD
    });

    let (code, said) = place.fetch(server.port, &["--keep"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(server.ranges(), [Some(format!("bytes={cut}-"))]);
    assert_said(&said, &["MB are there already"]);
    let config_again = server
        .asked
        .lock()
        .expect("no panic")
        .iter()
        .any(|(path, _)| path.ends_with(CONFIG));

    assert!(!config_again, "a file that is whole is not fetched again");
    assert_eq!(
        sha256(&place.path("model.download").join(WEIGHTS)),
        sha256(&golden("open-clip-tiny").join(WEIGHTS))
    );
}

#[test]
fn a_download_that_would_mix_two_files_begins_again() {
    let cut = Some(golden_size() / 2);
    let resumed = Some(format!("bytes={}-", golden_size() / 2));
    // how the server is the first and the second time, and the ranges that it is asked for the second time
    let cases: [(Manners, Manners, Vec<Option<String>>); 3] = [
        (
            Manners { cut, ..GOOD },
            Manners {
                ranges: false,
                ..GOOD
            },
            vec![resumed.clone()],
        ),
        (
            Manners { cut, ..GOOD },
            Manners {
                etag: "\"v2\"",
                ..GOOD
            },
            vec![resumed],
        ),
        (
            Manners {
                cut,
                etag: "",
                ..GOOD
            },
            Manners { etag: "", ..GOOD },
            vec![None],
        ),
    ];

    for (first, second, ranges) in cases {
        let place = Place::new(Some(&sha256(&golden("open-clip-tiny").join(WEIGHTS))));
        let server = Server::start(first);
        let (code, said) = place.fetch(server.port, &[]);
        assert_eq!(code, Some(69), "{said}");
        server.behave(second.clone());
        let (code, said) = place.fetch(server.port, &[]);
        assert_eq!(code, Some(0), "{second:?}: {said}");
        assert_eq!(server.ranges(), ranges, "{second:?}");
    }
}

#[test]
fn bytes_with_another_checksum_are_put_aside() {
    let sum = sha256(&golden("open-clip-tiny").join(WEIGHTS));
    let place = Place::new(Some(&sum));
    let server = Server::start(Manners {
        wrong: true,
        ..GOOD
    });

    let (code, said) = place.fetch(server.port, &[]);
    assert_eq!(code, Some(65), "{said}");
    let bad = place.path("model.download").join(format!("{WEIGHTS}.bad"));
    assert_said(
        &said,
        &[&sum, &sha256(&bad), "put aside as", "by the catalogue"],
    );

    assert!(!place.path("model").exists());

    server.behave(GOOD);
    let (code, said) = place.fetch(server.port, &[]);
    assert_eq!(code, Some(0), "fetched anew: {said}");
    assert_eq!(server.ranges(), [None]);
}

#[test]
fn a_server_that_sends_more_than_the_file_has_is_stopped_at_its_size() {
    let size = golden_size();
    for lengths in [true, false] {
        let place = Place::of_size(size);
        let server = Server::start(Manners {
            surplus: 50_000_000,
            lengths,
            ..GOOD
        });

        let (code, said) = place.fetch(server.port, &[]);
        assert_eq!(code, Some(65), "lengths told: {lengths}; {said}");
        let most = format!("the file has at most {size}");
        assert_said(&said, &[WEIGHTS, &most, "serves another file"]);
        // Nothing of it is left that a later try would go on with.
        let part = place.path("model.download").join(format!("{WEIGHTS}.part"));
        assert!(!part.exists());

        server.behave(GOOD);
        let (code, said) = place.fetch(server.port, &[]);
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn a_file_changed_since_the_first_fetch_is_told() {
    let place = Place::new(None);
    let server = Server::start(GOOD);
    assert_eq!(place.fetch(server.port, &[]).0, Some(0));
    server.behave(Manners {
        wrong: true,
        ..GOOD
    });

    let (code, said) = place.fetch(server.port, &[]);
    assert_eq!(code, Some(65), "{said}");
    assert_said(
        &said,
        &[
            &sha256(&golden("open-clip-tiny").join(WEIGHTS)),
            "by an earlier fetch",
        ],
    );

    let model = winspect::model::ModelFolder::open(&place.path("model")).expect("as it was");
    assert_eq!(
        model.downloaded[WEIGHTS],
        sha256(&golden("open-clip-tiny").join(WEIGHTS))
    );
}

#[test]
fn what_is_not_there_is_told_with_the_way_out() {
    let place = Place::new(None);
    let server = Server::start(Manners {
        missing: WEIGHTS,
        ..GOOD
    });

    let (code, said) = place.fetch(server.port, &[]);
    assert_eq!(code, Some(69), "{said}");
    assert_said(
        &said,
        &[
            "HTTP 404",
            WEIGHTS,
            "--base-url",
            "winspect model import FOLDER",
        ],
    );

    let (code, said) = place.fetch(free_port(), &[]);
    assert_eq!(code, Some(69), "{said}");
    assert_said(
        &said,
        &[
            "nobody listens there",
            "on another machine",
            "winspect model import FOLDER",
        ],
    );

    let (code, said) = place.fetch(server.port, &["--base-url", "http://hub.invalid/x"]);
    assert_eq!(code, Some(64), "given twice: {said}");
    let mut command = winspect();
    command
        .args([
            "model",
            "fetch",
            "dinov2-small",
            "--base-url",
            "http://hub.invalid/x",
        ])
        .arg(place.path("other"));

    let (code, said) = run(&mut command);
    assert_eq!(code, Some(69), "{said}");
    assert!(!place.path("other.download").exists());
    assert_said(
        &said,
        &[
            "http://hub.invalid/x/config.json",
            "the host is not found",
            "winspect model import FOLDER",
        ],
    );
}

#[test]
fn the_cas_of_this_machine_vouch_for_a_server() {
    let place = Place::new(None);
    let folder = place.0.path();
    Authority::new(folder, "ca").sign("server", "localhost", 2100);
    Authority::new(folder, "other");
    let certificate =
        CertificateDer::from_pem_file(place.path("server.pem")).expect("a certificate");

    let key = PrivateKeyDer::from_pem_file(place.path("server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("known");

    let tls = tls
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they fit");

    let server = Server::with(GOOD, Some(Arc::new(tls)));
    let fetch = |ca: &str| {
        let mut command = winspect();
        command
            .args(["model", "fetch", "tiny"])
            .arg(place.path("model"))
            .env("SSL_CERT_FILE", place.path(ca));

        command
            .arg("--catalogue")
            .arg(place.path("catalogue.toml"))
            .env_remove("SSL_CERT_DIR");

        run(command
            .arg("--base-url")
            .arg(format!("https://localhost:{}/hub", server.port)))
    };

    let (code, said) = fetch("other.pem");
    assert_eq!(code, Some(69), "{said}");
    assert_said(&said, &["do not vouch for the server", "SSL_CERT_FILE"]);
    assert!(!place.path("model.download").exists());
    let (code, said) = fetch("ca.pem");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_full_disk_is_told_with_what_is_missing() {
    let place = Place::new(None);
    let server = Server::start(GOOD);
    std::fs::create_dir(place.path("model.download")).expect("new");
    let part = place.path("model.download").join(format!("{WEIGHTS}.part"));
    std::os::unix::fs::symlink("/dev/full", part).expect("a device that is always full");
    let (code, said) = place.fetch(server.port, &[]);
    assert_eq!(code, Some(69), "{said}");
    assert_said(
        &said,
        &[
            "No space left on device",
            &format!("make room for {} bytes", golden_size()),
        ],
    );
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_fetched() {
    let place = Place::new(None);
    let server = Server::start(GOOD);
    let fetch = |name: &str, folder: &Path, more: &[&str]| {
        let mut command = winspect();
        run(command
            .args(["model", "fetch", name])
            .arg(folder)
            .args(more))
    };

    let (code, said) = fetch("dinov2-smal", &place.path("model"), &[]);
    assert_eq!(code, Some(64), "{said}");
    assert_said(
        &said,
        &[
            "unknown model \"dinov2-smal\"; did you mean \"dinov2-small\"?",
            "vit-b-16-plus-240",
        ],
    );

    let (code, said) = fetch(
        "dinov2-small",
        &place.path("model"),
        &["--base-url", "ftp://x"],
    );

    assert_eq!(code, Some(64), "{said}");
    assert_said(&said, &["must begin with http:// or https://"]);

    std::fs::create_dir(place.path("model")).expect("new");
    let (code, said) = place.fetch(server.port, &[]);
    assert_eq!(code, Some(65), "{said}");
    assert_said(&said, &["is no imported model"]);

    std::fs::write(place.path("catalogue.toml"), "[[model]]\nnam = \"x\"\n").expect("written");
    let (code, said) = place.fetch(server.port, &[]);
    assert_eq!(code, Some(65), "{said}");
    assert_said(&said, &["catalogue.toml", "unknown field `nam`"]);
    assert!(
        server.asked.lock().expect("no panic").is_empty() && !place.path("model.download").exists()
    );
}

#[test]
fn a_catalogues_default_block_is_kept_in_the_model_folder() {
    let server = Server::start(GOOD);
    let place = Place::new(None);
    let file = place.path("catalogue.toml");
    let block = "block = { number = 2, basis = \"measured\", source = \"our nuts\" }\n";
    let text = std::fs::read_to_string(&file).expect("written");
    std::fs::write(&file, text + block).expect("written");
    let (code, said) = place.fetch(server.port, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_said(
        &said,
        &["block      2 of 3 is compared", "(measured: our nuts)"],
    );
    let manifest = std::fs::read_to_string(place.path("model/model.toml")).expect("imported");
    assert_said(&manifest, &["[model.default_block]", "number = 2"]);
}
