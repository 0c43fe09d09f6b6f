//! A real mosquitto of the test's own, on a free loopback port.

use super::program::Running;
use super::{PATIENCE, wait_until};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A broker. It is killed when it is dropped.
pub struct Broker {
    /// Port on 127.0.0.1.
    pub port: u16,
    process: Running,
}

/// The program of `tools/rumqttd`, where it was built.
pub fn rumqttd_file() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("target/rumqttd/debug/winspect-rumqttd");
    if file.exists() {
        Ok(file)
    } else {
        Err(format!("{} is not there", file.display()))
    }
}

/// A port of 127.0.0.1 on which nothing listens.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

impl Broker {
    /// A broker on a port of its own, which takes everybody.
    pub fn anywhere() -> Self {
        Self::start(free_port())
    }

    /// A broker on this port, which takes everybody.
    pub fn start(port: u16) -> Self {
        Self::with(port, &["-p", &port.to_string()])
    }

    /// A broker by arguments that make it listen on `port`.
    pub fn with(port: u16, arguments: &[&str]) -> Self {
        let process = Running::start(Command::new("mosquitto").args(arguments));
        wait_until("mosquitto listens", PATIENCE, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });

        Broker { port, process }
    }

    /// rumqttd, where [`rumqttd_file`] is there. It takes everybody.
    pub fn rumqttd(port: u16) -> Self {
        let file = rumqttd_file().expect("it was required");
        let process = Running::start(Command::new(file).arg(port.to_string()));
        wait_until("rumqttd listens", PATIENCE, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });

        Broker { port, process }
    }

    /// A broker that takes everybody, with more lines in its configuration.
    pub fn configured(folder: &Path, port: u16, settings: &str) -> Self {
        let listener = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
        Self::by_file(folder, port, &(listener + settings))
    }

    /// A broker by the text of its configuration, which is written into `folder`.
    pub fn by_file(folder: &Path, port: u16, text: &str) -> Self {
        let file = folder.join("mosquitto.conf");
        std::fs::write(&file, text).expect("written");
        Self::with(port, &["-c", &file.display().to_string()])
    }

    /// Sends a signal. After `libc::SIGSTOP` the broker holds its connections and does nothing
    /// until `libc::SIGCONT`.
    pub fn signal(&self, number: i32) {
        self.process.signal(number);
    }
}
