//! A line as a user runs it: its configuration, its start, its summary, its refusal, and what it
//! tells systemd.

use super::golden::golden;
use super::program::{Running, errors, winspect};
use super::{PATIENCE, assert_said, json};
use serde_json::Value;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Camera of test pictures at 20 frames a second, whose every frame may be judged.
pub const FREE_RUNNING: &str = "kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120";
/// Camera of test pictures whose parts are asked for by a command.
pub const TRIGGERED: &str = "kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120\n\
                             trigger = \"command\"\ndeadline_ms = 5000";

/// Camera that plays the four golden pictures once.
pub fn folder_camera() -> String {
    let pictures = golden("open-clip-tiny");
    format!("kind = \"folder\"\nlocation = {pictures:?}\nfps = 0")
}

/// Camera whose server is not there.
pub fn dead_camera() -> String {
    let port = super::broker::free_port();
    format!("kind = \"rtsp\"\nlocation = \"rtsp://127.0.0.1:{port}/none\"")
}

/// Keys of one table of the configuration, and their values as they are written.
struct Table(Vec<(String, String)>);

impl Table {
    fn of(lines: &str) -> Self {
        let mut table = Table(vec![]);
        table.set(lines);
        table
    }

    /// Takes lines of `key = value`. A key that is there already gets the new value.
    fn set(&mut self, lines: &str) {
        for line in lines.lines() {
            let (key, value) = line.split_once(" = ").expect("key = value");
            self.0.retain(|(known, _)| known != key);
            self.0.push((key.to_owned(), value.to_owned()));
        }
    }

    fn text(&self) -> String {
        let lines = self
            .0
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"));

        lines.collect()
    }
}

/// Configuration of a line: the station `plant/box`, the golden DINOv2, a recipe `nut` of two
/// golden references, and a camera `top`.
pub struct LineConfig {
    head: Table,
    recipe: Table,
    cameras: String,
    mqtt: Table,
    tables: String,
    /// Recipe of the library in place of the table.
    held: Option<String>,
}

impl LineConfig {
    /// A line at the broker of this port, with these lines as its camera `top`.
    pub fn new(port: u16, camera: &str) -> Self {
        let pictures = golden("open-clip-tiny");
        let references = ["good_a.png", "good_b.png"].map(|name| pictures.join(name));
        let recipe = format!(
            "name = \"nut\"\ninput_px = 70\nblock = 4\nreferences = {references:?}\nthreshold = \"auto\""
        );

        let mqtt = format!("port = {port}\nheatmaps = \"all\"\nreject_window_ms = 60000");
        LineConfig {
            head: Table::of("prefix = \"plant\"\nstation = \"box\"\nmodel = \"dinov2-tiny\""),
            recipe: Table::of(&recipe),
            cameras: format!("[[camera]]\nname = \"top\"\n{camera}\n"),
            mqtt: Table::of(&mqtt),
            tables: String::new(),
            held: None,
        }
    }

    /// Judges by a recipe of the line's library, in place of the table.
    pub fn of_library(mut self, name: &str) -> Self {
        self.held = Some(format!("recipe = \"library:{name}\"\n"));
        self
    }

    /// Sets keys that are in no table.
    pub fn head(mut self, lines: &str) -> Self {
        self.head.set(lines);
        self
    }

    /// Sets keys of the recipe.
    pub fn recipe(mut self, lines: &str) -> Self {
        self.recipe.set(lines);
        self
    }

    /// Removes a key of the recipe.
    pub fn without(mut self, key: &str) -> Self {
        self.recipe.0.retain(|(known, _)| known != key);
        self
    }

    /// Adds a camera.
    pub fn camera(mut self, name: &str, lines: &str) -> Self {
        self.cameras += &format!("[[camera]]\nname = {name:?}\n{lines}\n");
        self
    }

    /// Sets keys of the link to the broker.
    pub fn mqtt(mut self, lines: &str) -> Self {
        self.mqtt.set(lines);
        self
    }

    /// Adds tables, each under its title.
    pub fn tables(mut self, text: &str) -> Self {
        self.tables += text;
        self.tables.push('\n');
        self
    }

    /// Adds a second recipe `bolt`, revision 4, of the same references, in a file of its own.
    pub fn bolt(self, folder: &Path, lines: &str) -> Self {
        let references = self.recipe.0.iter().find(|(key, _)| key == "references");
        let (_, references) = references.expect("every recipe has some");
        let mut bolt = Table::of("name = \"bolt\"\nrevision = 4\nblock = 4\nthreshold = 1.5");
        bolt.set(&format!("references = {references}"));
        bolt.set(lines);
        std::fs::write(folder.join("bolt.toml"), bolt.text()).expect("written");
        self.head("recipes = [\"bolt.toml\"]")
    }

    /// Text of the file.
    pub fn text(&self) -> String {
        let [head, recipe, mqtt] = [&self.head, &self.recipe, &self.mqtt].map(Table::text);
        let cameras = &self.cameras;
        let tables = &self.tables;
        let recipe = match &self.held {
            Some(held) => held.clone(),
            None => format!("[recipe]\n{recipe}"),
        };

        format!("{head}{recipe}{cameras}[mqtt]\n{mqtt}{tables}")
    }

    /// Writes `line.toml`.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let file = folder.join("line.toml");
        std::fs::write(&file, self.text()).expect("written");
        file
    }
}

/// Writes a line with nothing special but its camera.
pub fn write_line(folder: &Path, port: u16, camera: &str) {
    LineConfig::new(port, camera).write(folder);
}

/// `winspect run line.toml` of a folder.
pub fn command(folder: &Path) -> Command {
    let mut command = winspect();
    command.arg("run").arg(folder.join("line.toml"));
    command
}

impl Running {
    /// The line of a folder.
    pub fn line(folder: &Path) -> Self {
        Self::start(&mut command(folder))
    }

    /// Stops a line in order, and returns its summary.
    #[track_caller]
    pub fn summary(self) -> Value {
        summary(&self.stop())
    }
}

/// Summary of a line that ends by itself.
#[track_caller]
pub fn run_to_its_end(folder: &Path) -> Value {
    summary(&Running::line(folder).end())
}

/// The JSON line at the end, after an orderly end.
#[track_caller]
pub fn summary(output: &Output) -> Value {
    assert!(output.status.success(), "{}", errors(output));
    let text = String::from_utf8_lossy(&output.stdout);
    json(text.lines().last().expect("one line"))
}

/// Asserts that the line of a folder ends at once, with this exit code and these words.
#[track_caller]
pub fn assert_refused(folder: &Path, code: i32, words: &[&str]) {
    let output = Running::line(folder).end();
    let errors = errors(&output);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert_said(&errors, words);
}

/// Every result of a line was acknowledged, and none was given up. Returns how many parts it had.
#[track_caller]
pub fn all_arrived(summary: &Value) -> u64 {
    for (key, value) in [
        ("balanced", Value::from(true)),
        ("results", summary["parts"].clone()),
        ("acknowledged", summary["parts"].clone()),
        ("undelivered", 0.into()),
        ("given_up", 0.into()),
    ] {
        assert_eq!(summary[key], value, "{key} in {summary}");
    }

    summary["parts"].as_u64().expect("a number")
}

/// Socket to which a line tells systemd how it is.
pub struct Systemd {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Systemd {
    /// A socket `notify` in a fresh folder.
    pub fn listen(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket in a fresh folder");
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("not zero");

        Systemd { socket, path }
    }

    /// The line of a folder, as a service whose watchdog waits for 4 s.
    pub fn start(&self, folder: &Path) -> Running {
        let mut command = command(folder);
        command
            .env("NOTIFY_SOCKET", &self.path)
            .env("WATCHDOG_USEC", "4000000")
            .env_remove("WATCHDOG_PID");

        Running::start(&mut command)
    }

    /// Waits for a line that fits; gives all that was said until then.
    #[track_caller]
    pub fn hear(&self, what: &str, fits: impl Fn(&str) -> bool) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        let mut said: Vec<String> = vec![];
        while !said.iter().any(|line| fits(line)) {
            assert!(Instant::now() < until, "{what:?} is not in {said:?}");
            let mut message = [0; 4096];
            if let Ok(length) = self.socket.recv(&mut message) {
                let text = String::from_utf8_lossy(&message[..length]);
                said.extend(text.lines().map(str::to_owned));
            }
        }

        said
    }

    /// Returns once at least `count` results wait for the broker.
    #[track_caller]
    pub fn wait_for_backlog(&self, count: u64) {
        while self.socket.recv(&mut [0; 4096]).is_ok() {} // what was said until now
        self.hear(&format!("{count} results that wait"), |line| {
            waiting(line).is_some_and(|waiting| waiting >= count)
        });
    }
}

/// Number of results that wait for the broker, of a status line.
fn waiting(line: &str) -> Option<u64> {
    let (before, _) = line.split_once(" waiting for the broker")?;
    before.rsplit(' ').next()?.parse().ok()
}
