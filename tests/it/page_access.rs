//! Who may do what at the page: users and their sign-in, what a form must carry, TLS, and what must neither get in nor
//! hold the line up.

use crate::harness::line::{FREE_RUNNING, LineConfig, TRIGGERED, assert_refused};
use crate::harness::page::{Page, station};
use crate::harness::program::both;
use crate::harness::sign_in::{PASSWORD, Session, add_user, audit, token_of, user};
use crate::harness::station::Station;
use crate::harness::{PATIENCE, assert_said, json, wait_until};
use crate::harness::{broker::free_port, golden::imported};
use crate::tls::Authority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn users_are_made_on_the_machine() {
    let (station, page) = station(TRIGGERED);
    let folder = station.folder.path();
    let screen = page.get("/sign-in").body;
    assert_said(&screen, &["Nobody can sign in yet", "winspect user add"]);
    assert!(!screen.contains("<input"), "there is nobody to sign in");

    add_user(folder, "anna", "setter");
    let listed = both(&user(folder, "list", &[]));
    assert_said(&listed, &["anna  setter"]);
    let file = folder.join("box.users.toml");
    let mode = std::fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).expect("it is read");
    assert_said(&text, &["[users.anna]", "$argon2id$"]);
    assert!(!text.contains(PASSWORD));

    // The running line knows them at once.
    let session = Session::start(&page, "anna");
    assert_said(
        &session.get("/").body,
        &["<strong>anna</strong> · setter", "Sign out"],
    );
    assert_said(
        &both(&user(folder, "role", &["anna", "--role", "view"])),
        &["was setter"],
    );
    let screen = session.get("/").body;
    assert!(!screen.contains("anna"), "another role ends the session");

    let session = Session::start(&page, "anna");
    assert_said(&session.get("/").body, &["anna</strong> · view"]);
    assert_said(
        &both(&user(folder, "remove", &["anna"])),
        &["anna is removed"],
    );
    assert!(!session.get("/").body.contains("anna"));
    let told = audit(folder);
    assert_said(
        &told,
        &[
            "users of the page: anna added as setter, in their file",
            "anna (setter) signed in at the page from 127.0.0.1",
            "anna is view now, was setter",
            "the session of anna at the page ended",
            "anna removed",
        ],
    );

    for (action, rest, words) in [
        (
            "add",
            vec!["a b", "--role", "view", "--password-stdin"],
            "a user's name must be",
        ),
        (
            "add",
            vec!["otto", "--role", "boss", "--password-stdin"],
            "possible values",
        ),
        ("add", vec!["otto", "--role", "view"], "--password-stdin"),
        ("remove", vec!["otto"], "there is no user"),
        (
            "password",
            vec!["otto", "--password-stdin"],
            "there is no user",
        ),
    ] {
        let output = user(folder, action, &rest);
        assert_eq!(output.status.code(), Some(64), "{action} {rest:?}");
        assert_said(&both(&output), &[words]);
    }
}

#[test]
fn a_sign_in_gives_a_cookie_that_only_this_page_gets_and_is_noted() {
    let (station, page) = station(TRIGGERED);
    add_user(station.folder.path(), "anna", "operator");
    let wrong = [("name", "anna"), ("password", "wrong horse")];
    let refused = page.post("/sign-in", &[], &wrong);
    assert_eq!(refused.status, 403);
    assert_said(
        &refused.body,
        &["the name or the password is wrong", "value=\"anna\""],
    );
    assert!(!refused.headers.contains_key("set-cookie"));
    let unknown = [("name", "hunter2"), ("password", "wrong horse")];
    let unknown = page.post("/sign-in", &[], &unknown);
    assert_said(&unknown.body, &["the name or the password is wrong"]);

    let right = [
        ("name", "anna"),
        ("password", PASSWORD),
        ("next", "//evil.example"),
    ];
    let answer = page.post("/sign-in", &[], &right);
    assert_eq!((answer.status, &*answer.headers["location"]), (303, "/"));
    let cookie = &answer.headers["set-cookie"];
    assert_said(
        cookie,
        &["winspect-", "Path=/", "HttpOnly", "SameSite=Strict"],
    );
    assert!(!cookie.contains("Secure"), "{cookie}");

    // A second sign-in of the browser ends its first session; signing out ends the second.
    let first = Session::start(&page, "anna");
    let again = page.post("/sign-in", &[("cookie", &first.cookie)], &right);
    let second = again.headers["set-cookie"]
        .split(';')
        .next()
        .expect("a cookie");
    assert_ne!(second, first.cookie, "an id is never used again");
    assert!(!first.get("/").body.contains("anna"));
    let session = Session::start(&page, "anna");
    let out = session.post("/sign-out", &[]);
    assert_eq!(out.status, 303);
    assert_said(&out.headers["set-cookie"], &["Max-Age=0"]);
    assert!(!session.get("/").body.contains("anna"));
    let audit = audit(station.folder.path());
    assert!(!audit.contains("hunter2"), "a password, maybe: {audit}");
    assert_said(
        &audit,
        &[
            "sign-in as anna at the page from 127.0.0.1 refused",
            "sign-in under a name that is no user's at the page from 127.0.0.1 refused",
            "anna (operator) signed in at the page",
            "anna signed out of the page",
        ],
    );
}

#[test]
fn a_form_without_its_origin_token_or_session_does_nothing() {
    let (station, page) = station(TRIGGERED);
    let folder = station.folder.path();
    add_user(folder, "anna", "operator");
    add_user(folder, "otto", "operator");
    let anna = Session::start(&page, "anna");
    let otto = Session::start(&page, "otto");
    let form = format!("form_token={}", anna.token);
    let send = |headers: &str, form: &str| {
        let request = format!(
            "POST /sign-out HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{form}",
            page.port,
            form.len()
        );
        page.raw(request.as_bytes())
    };

    let cookie = format!("Cookie: {}\r\n", anna.cookie);
    let origin = format!("Origin: {}\r\n", page.address(""));
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    let strange = format!("form_token={}", otto.token);
    let cases = [
        (
            format!("{cookie}{kind}"),
            form.as_str(),
            "403",
            "does not say from which page",
        ),
        (
            format!("{cookie}{kind}Origin: http://evil.example\r\n"),
            &form,
            "403",
            "evil.example",
        ),
        (
            format!("{cookie}{kind}Origin: null\r\n"),
            &form,
            "403",
            "null",
        ),
        (
            format!("{cookie}{kind}{origin}Sec-Fetch-Site: cross-site\r\n"),
            &form,
            "403",
            "another site",
        ),
        (
            format!("{cookie}{origin}"),
            &form,
            "415",
            "a form is sent as",
        ),
        (
            format!("{cookie}{kind}{origin}"),
            "",
            "403",
            "an earlier session",
        ),
        (
            format!("{cookie}{kind}{origin}"),
            &strange,
            "403",
            "an earlier session",
        ),
        (
            format!("{kind}{origin}"),
            &form,
            "403",
            "nobody is signed in",
        ),
        (
            format!("{cookie}{cookie}{kind}{origin}"),
            &form,
            "403",
            "nobody is signed in",
        ),
    ];

    for (headers, form, status, words) in cases {
        let answer = send(&headers, form);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{words}: {answer}"
        );
        assert_said(&answer, &[words]);
    }

    assert_eq!(anna.get("/sign-out").status, 405, "reading does nothing");
    assert_said(&anna.get("/").body, &["anna"]);
    let answer = send(
        &format!("{cookie}{kind}{origin}Sec-Fetch-Site: same-origin\r\n"),
        &form,
    );
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    assert!(!anna.get("/").body.contains("anna"));
}

#[test]
fn bodies_are_bounded_in_size_and_time_and_have_one_length() {
    let (_station, page) = station(TRIGGERED);
    let head = |more: &str| {
        format!(
            "POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1:{0}\r\nOrigin: http://127.0.0.1:{0}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n{more}\r\n",
            page.port
        )
    };

    // A body that is told to be too large is not waited for.
    let large = page.raw(head("Connection: close\r\nContent-Length: 65537\r\n").as_bytes());
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    let fits = format!("name=anna&password={}", "x".repeat(60_000));
    let length = format!("Connection: close\r\nContent-Length: {}\r\n", fits.len());
    let fits = page.raw(format!("{}{fits}", head(&length)).as_bytes());
    assert!(fits.starts_with("HTTP/1.1 403"), "{fits}");

    // Two ways to say where a body ends are how requests are smuggled, whichever comes first.
    let chunked = "Transfer-Encoding: chunked\r\n";
    let long = "Content-Length: 5\r\n";
    let inner = "0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for lengths in [
        format!("{chunked}{long}"),
        format!("{long}{chunked}"),
        chunked.to_owned(),
    ] {
        let head = head(&format!("Connection: close\r\n{lengths}"));
        let answer = page.raw(format!("{head}{inner}").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 411"), "{answer}");
        assert!(
            !answer.contains("winspect_"),
            "the second request was read: {answer}"
        );
    }

    for path in [
        "/sign-in/../metrics",
        "/assets/../../etc/passwd",
        "/assets/%2e%2e/page.css",
        "//metrics",
    ] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = page.raw(request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }

    // Half a form is given up, and nobody else waits for it.
    let mut slow = page.connect();
    let begin = format!("{}name=an", head("Content-Length: 100\r\n"));
    slow.write_all(begin.as_bytes()).expect("it is taken");
    assert_eq!(page.get("/").status, 200);
    let mut answer = String::new();
    let _ = slow.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_said(&answer, &["a form must come within 10 s"]);
}

#[test]
fn a_hundred_viewers_and_passwords_in_bulk_hold_nothing_up() {
    let (station, page) = station(FREE_RUNNING);
    add_user(station.folder.path(), "anna", "setter");
    let results = station.listen("result");
    let heard = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for viewer in 0..100 {
            let page = &page;
            scope.spawn(move || {
                let mut version = 0;
                for _ in 0..3 {
                    let update = json(&page.get(&format!("/updates/live?since={version}")).body);
                    assert!(
                        update["version"].as_u64() > Some(version),
                        "viewer {viewer}"
                    );
                    version = update["version"].as_u64().expect("a number");
                }
            });
        }

        let refused: Vec<_> = (0..60)
            .map(|guess| {
                let page = &page;
                scope.spawn(move || {
                    let name = format!("guess{guess}");
                    let form = [("name", name.as_str()), ("password", "wrong horse")];
                    page.post("/sign-in", &[], &form)
                })
            })
            .collect();

        // While all of them wait, results go on without a gap.
        let seqs = results.wait_for("result", 30);
        let seqs = seqs.iter().map(|result| json(result)["seq"].as_u64());
        let seqs: Vec<u64> = seqs.map(|seq| seq.expect("a number")).collect();
        assert!(
            seqs.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "{seqs:?}"
        );
        heard.store(true, Ordering::Relaxed);

        let mut early = 0;
        for answer in refused {
            let answer = answer.join().expect("no panic");
            assert_eq!(answer.status, 403);
            let is_early = ["too many wrong passwords", "too many sign in"];
            early += usize::from(is_early.iter().any(|words| answer.body.contains(words)));
        }

        assert!(early >= 30, "{early} of 60 were not looked at");
    });

    // Who knows the password waits a moment, and then gets in.
    let form = [("name", "anna"), ("password", PASSWORD)];
    wait_until("a sign-in", PATIENCE, || {
        page.post("/sign-in", &[], &form).status == 303
    });
    let summary = station.summary();
    assert_eq!(summary["balanced"], true, "{summary}");
}

/// A line whose page has a certificate of a plant's CA for `localhost`.
fn secure_station(folder: impl Fn(&Path)) -> (Station, u16) {
    let port = free_port();
    let station = Station::configured(TRIGGERED, |config, path| {
        folder(path);
        Authority::new(path, "ca").sign("page", "localhost", 2100);
        config.tables(&secure_table(&format!("127.0.0.1:{port}")))
    });

    (station, port)
}

fn secure_table(listen: &str) -> String {
    format!(
        "[page]\nlisten = \"{listen}\"\ntls = {{ certificate = \"page.pem\", key = \"page.key\" }}"
    )
}

/// What a page with TLS says to a request of a client that trusts the CA of a folder.
fn https(folder: &Path, port: u16, request: &str) -> String {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(folder.join("ca.pem")).expect("a certificate");
    roots.add(ca).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();

    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut stream = StreamOwned::new(client, stream);
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut answer = vec![];
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_page_with_a_certificate_speaks_tls_alone() {
    let (station, port) = secure_station(|_| {});
    let folder = station.folder.path();
    add_user(folder, "anna", "admin");

    // A connection that says nothing keeps no other one waiting.
    let silent = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let get = |path: &str, host: &str, more: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n");
        https(folder, port, &request)
    };

    let host = format!("localhost:{port}");
    let live = get("/", &host, "");
    assert!(live.starts_with("HTTP/1.1 200"), "{live}");
    assert!(get("/", "box.plant", "").starts_with("HTTP/1.1 421"));

    let form = format!("name=anna&password={}", PASSWORD.replace(' ', "+"));
    let post = |origin: &str| {
        let request = format!(
            "POST /sign-in HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        https(folder, port, &request)
    };

    let plain = post(&format!("http://{host}"));
    assert!(
        plain.starts_with("HTTP/1.1 403"),
        "a page without TLS may be anybody's: {plain}"
    );
    let signed_in = post(&format!("https://{host}"));
    assert!(signed_in.starts_with("HTTP/1.1 303"), "{signed_in}");
    assert_said(&signed_in, &["__Host-winspect-", "; Secure"]);
    let cookie = signed_in
        .split("set-cookie: ")
        .nth(1)
        .and_then(|rest| rest.split(';').next());
    let cookie = format!("Cookie: {}\r\n", cookie.expect("a cookie"));
    let screen = get("/", &host, &cookie);
    assert_said(&screen, &["anna</strong> · admin"]);
    assert!(token_of(&screen).is_some());

    let without = Page::at(port).raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(without.starts_with("HTTP/1.1 400"), "{without}");
    assert_said(&without, &["speaks https alone"]);
    drop(silent);
}

#[test]
fn a_page_that_other_machines_reach_needs_a_certificate_and_a_user() {
    let (folder, _model) = imported("dinov2-tiny");
    let folder = folder.path();
    let port = free_port();
    let write = |page: &str| {
        LineConfig::new(free_port(), TRIGGERED)
            .tables(page)
            .write(folder);
    };

    let open = format!("0.0.0.0:{port}");
    write(&format!("[page]\nlisten = \"{open}\""));
    assert_refused(
        folder,
        78,
        &["page.listen", "in plain text", "give tls", "ssh -L"],
    );

    write(&secure_table(&open));
    assert_refused(folder, 78, &["page.tls.certificate", "No such file"]);
    let authority = Authority::new(folder, "ca");
    authority.sign("page", "localhost", 2100);
    assert_refused(
        folder,
        78,
        &[
            "nobody can sign in",
            "box.users.toml has no user",
            "winspect user add LINE NAME --role admin",
        ],
    );

    authority.sign("other", "localhost", 2100);
    std::fs::copy(folder.join("other.key"), folder.join("page.key")).expect("copied");
    assert_refused(
        folder,
        78,
        &["page.tls.key", "does not fit the certificate"],
    );
    authority.sign("page", "localhost", 2100);
    std::fs::write(folder.join("box.users.toml"), "[[").expect("written");
    assert_refused(folder, 78, &["nobody can sign in", "cannot be read"]);
}
