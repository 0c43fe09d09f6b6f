//! The link's security, against a real broker set up as docs/mqtt.md says.

use crate::harness::broker::{Broker, free_port};
use crate::harness::golden::imported;
use crate::harness::line::{LineConfig, assert_refused, command, folder_camera, summary};
use crate::harness::plc::Listener;
use crate::harness::program::{Running, errors};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A CA and what it signs, as PEM files in a folder.
pub struct Authority<'a> {
    folder: &'a Path,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl<'a> Authority<'a> {
    pub fn new(folder: &'a Path, name: &str) -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        // One name for all: a CA that was made again has its old name.
        params
            .distinguished_name
            .push(DnType::CommonName, "plant CA");

        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("signed");

        std::fs::write(folder.join(format!("{name}.pem")), ca.pem()).expect("written");
        Authority { folder, ca }
    }

    /// `<name>.pem` and `<name>.key`, for `host`, valid until the first day of `year`.
    pub fn sign(&self, name: &str, host: &str, year: i32) {
        let mut params = CertificateParams::new([host.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.ca).expect("signed");
        std::fs::write(self.folder.join(format!("{name}.pem")), signed.pem()).expect("written");
        std::fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem())
            .expect("written");
    }
}

/// The block of docs/mqtt.md that follows `title`.
fn documented(title: &str) -> String {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mqtt.md"))
        .expect("is there");

    let block = page
        .split_once(title)
        .and_then(|(_, rest)| rest.split("```").nth(1))
        .expect("a block after its title");

    block
        .split_once('\n')
        .expect("the block's kind")
        .1
        .to_owned()
}

/// The documented broker, with its files in `folder` and its certificate and key called `name`.
fn broker(folder: &Path, port: u16, name: &str) -> Broker {
    let passwords = folder.join("passwords");
    for (i, (user, password)) in [("cam-box-3", "secret"), ("plc", "plc")]
        .into_iter()
        .enumerate()
    {
        let mut command = Command::new("mosquitto_passwd");
        command
            .args(if i == 0 { vec!["-c", "-b"] } else { vec!["-b"] })
            .arg(&passwords)
            .args([user, password]);

        assert!(
            command
                .status()
                .expect("mosquitto_passwd comes with mosquitto")
                .success()
        );
    }

    std::fs::write(folder.join("acl"), documented("`/etc/mosquitto/acl`")).expect("written");
    let here = folder.display().to_string();
    let text = documented("`/etc/mosquitto/conf.d/winspect.conf`")
        .replace("listener 8883", &format!("listener {port} 127.0.0.1"))
        .replace("/etc/mosquitto/certs", &here)
        .replace("/etc/mosquitto", &here)
        .replace("broker.", &format!("{name}."));

    // As root it would become a user that cannot read a test's folder.
    Broker::by_file(folder, port, &format!("user root\n{text}"))
}

fn plc(folder: &Path, port: u16, topic: &str) -> Listener {
    let file = |name: &str| folder.join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("plc.pem"), file("plc.key"));
    let who = [
        "-h",
        "localhost",
        "--cafile",
        &ca,
        "--cert",
        &cert,
        "--key",
        &key,
        "-u",
        "plc",
        "-P",
        "plc",
    ];

    Listener::with(port, topic, &who)
}

/// The station of the documentation, with these keys of its link.
fn station(port: u16, camera: &str, mqtt: &str) -> LineConfig {
    LineConfig::new(port, camera)
        .head("prefix = \"acme/plant1/press\"\nstation = \"cam-box-3\"")
        .mqtt(mqtt)
}

const STATION: &str = "host = \"localhost\"\nuser = \"cam-box-3\"\npassword_file = \"mqtt\"\n\
                       tls = { ca = \"ca.pem\", certificate = \"box.pem\", key = \"box.key\" }\n";

/// A model, a CA `ca` and another one `other`; certificates of a broker, the station `box` and the PLC.
fn plant() -> tempfile::TempDir {
    let (folder, _) = imported("dinov2-tiny");
    let ca = Authority::new(folder.path(), "ca");
    ca.sign("broker", "localhost", 2100);
    ca.sign("elsewhere", "broker.example", 2100);
    ca.sign("expired", "localhost", 2021);
    ca.sign("box", "cam-box-3", 2100);
    ca.sign("old", "cam-box-3", 2021);
    ca.sign("plc", "plc", 2100);
    Authority::new(folder.path(), "other").sign("foreign", "localhost", 2100);
    std::fs::write(folder.path().join("mqtt"), "secret\n").expect("written");
    folder
}

#[test]
fn a_station_with_certificate_and_password_delivers_its_results() {
    let folder = plant();
    let port = free_port();
    let _broker = broker(folder.path(), port, "broker");
    let listener = plc(folder.path(), port, "acme/plant1/press/cam-box-3/#");
    station(port, &folder_camera(), STATION).write(folder.path());
    // The password is a systemd credential here, and a file beside the line does not exist.
    let credentials = folder.path().join("credentials");
    std::fs::create_dir(&credentials).expect("made");
    std::fs::rename(folder.path().join("mqtt"), credentials.join("mqtt")).expect("moved");
    let mut command = command(folder.path());
    command.env("CREDENTIALS_DIRECTORY", &credentials);
    let output = Running::start(&mut command).end();
    let errors = errors(&output);
    assert!(
        !errors.contains("secret") && !errors.contains("refuses"),
        "{errors}"
    );

    assert_eq!(summary(&output)["acknowledged"], 4);
    listener.wait_for("cam-box-3/result", 4);
    listener.wait_for("cam-box-3/availability", 1);
}

#[test]
fn a_station_may_not_write_anothers_topics() {
    let folder = plant();
    let port = free_port();
    let _broker = broker(folder.path(), port, "broker");
    let other = STATION.to_owned() + "client_id = \"stray\"\n";
    station(port, &folder_camera(), &other)
        .head("station = \"cam-box-4\"")
        .write(folder.path());

    let errors = errors(&Running::line(folder.path()).end());
    let words = "NotAuthorized; mend its access rules for acme/plant1/press/cam-box-4/#";
    assert!(
        errors.contains(words) && errors.matches("NotAuthorized").count() == 1,
        "{errors}"
    );
}

#[test]
fn a_broker_that_cannot_be_believed_is_told_once() {
    let folder = plant();
    let test = "kind = \"test\"\nfps = 5\nwidth = 70\nheight = 70";
    let cases = [
        (
            "foreign",
            "the broker's certificate was not signed by mqtt.tls.ca",
        ),
        (
            "elsewhere",
            "the broker's certificate is for broker.example, not for localhost",
        ),
        (
            "expired",
            "the broker's certificate expired at 2021-01-01T00:00:00Z",
        ),
    ];

    for (certificate, words) in cases {
        let port = free_port();
        let wrong = broker(folder.path(), port, certificate);
        station(port, test, STATION).write(folder.path());
        let line = Running::line(folder.path());
        line.wait_for_words(words);
        // That it is not told again cannot be waited for: it has time for two more tries.
        std::thread::sleep(Duration::from_secs(2));
        drop(wrong);
        let _right = broker(folder.path(), port, "broker");
        line.wait_for_words(&format!("broker localhost:{port} back after"));
        let output = line.stop();
        let errors = errors(&output);
        assert!(output.status.success(), "{errors}");
        assert_eq!(errors.matches(words).count(), 1, "{errors}");
    }
}

#[test]
fn what_cannot_be_a_secure_link_is_refused_before_connecting() {
    let folder = plant();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    std::fs::write(path("text.pem"), "no certificate\n").expect("written");
    let own = "certificate = \"box.pem\", key";
    let cases = [
        (
            "host = \"10.0.0.1\"\n".to_owned(),
            "mqtt.host: \"10.0.0.1\" is another machine",
        ),
        (
            "tls = { ca = \"none.pem\" }\n".to_owned(),
            "none.pem: No such file",
        ),
        (
            "tls = { ca = \"text.pem\" }\n".to_owned(),
            "text.pem holds no certificate in PEM",
        ),
        ("tls = {}\n".to_owned(), "mqtt.tls.ca: missing"),
        (
            format!("tls = {{ ca = \"ca.pem\", {own} = \"plc.key\" }}\n"),
            "mqtt.tls.key: does not fit the certificate",
        ),
        (
            format!("tls = {{ ca = \"ca.pem\", {own} = \"box.pem\" }}\n"),
            "box.pem holds no private key in PEM",
        ),
        (
            "tls = { ca = \"ca.pem\", key = \"box.key\" }\n".to_owned(),
            "certificate and key come together",
        ),
        (
            "tls = { ca = \"ca.pem\", crl = \"x\" }\n".to_owned(),
            "mqtt.tls.crl: unknown key",
        ),
        (
            "host = \"a b\"\ntls = { ca = \"ca.pem\" }\n".to_owned(),
            "mqtt.host: \"a b\" is neither a name nor an address",
        ),
    ];

    for (mqtt, words) in cases {
        station(1, "kind = \"test\"", &mqtt).write(folder.path());
        assert_refused(folder.path(), 78, &[words]);
    }
}

#[test]
fn a_broker_that_refuses_us_says_why() {
    let folder = plant();
    let port = free_port();
    let _broker = broker(folder.path(), port, "broker");
    std::fs::write(folder.path().join("wrong"), "guessed").expect("written");
    Authority::new(folder.path(), "other").sign("stranger", "cam-box-3", 2100);
    let cases = [
        (
            STATION.replace("\"mqtt\"", "\"wrong\""),
            "it refuses the connection: NotAuthorized",
        ),
        (
            STATION.replace(", certificate = \"box.pem\", key = \"box.key\"", ""),
            "it wants a client's certificate",
        ),
        (
            STATION.replace("box.", "stranger."),
            "it does not know who signed our certificate",
        ),
        (
            STATION.replace("box.", "old."),
            "our certificate (mqtt.tls.certificate) has expired",
        ),
    ];

    for (mqtt, words) in cases {
        let camera = "kind = \"test\"\nfps = 5\nwidth = 70\nheight = 70";
        station(port, camera, &mqtt).write(folder.path());
        Running::line(folder.path()).wait_for_words(words);
    }
}
