//! A real browser: Debian's chromium, driven through chromedriver by the WebDriver protocol, which is
//! JSON over HTTP. Each one has an empty profile of its own.

use super::broker::free_port;
use super::page::Page;
use super::program::Running;
use super::sign_in::PASSWORD;
use super::{PATIENCE, wait_until};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::net::TcpStream;
use std::process::Command;
use tempfile::TempDir;
use ureq::Agent;

/// Programs of the two Debian packages.
const PROGRAMS: [&str; 2] = ["/usr/bin/chromium", "/usr/bin/chromedriver"];

/// Both programs, where they are installed.
pub fn is_installed() -> Result<(), String> {
    match PROGRAMS
        .iter()
        .find(|program| !std::path::Path::new(program).exists())
    {
        None => Ok(()),
        Some(program) => Err(format!("{program} is not there")),
    }
}

/// A browser with one window. It ends when it is dropped.
pub struct Browser {
    agent: Agent,
    session: String,
    _driver: Running,
    _profile: TempDir,
}

impl Browser {
    /// A browser whose page is `width` x `height` pixels.
    #[track_caller]
    pub fn start(width: u32, height: u32) -> Self {
        let port = free_port();
        let profile = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(PROGRAMS[1]);
        command.arg(format!("--port={port}"));
        // What chromium keeps beside its profile goes there too.
        command
            .env("HOME", profile.path())
            .env("XDG_CACHE_HOME", profile.path());
        let driver = Running::start(&mut command);
        wait_until("chromedriver listens", PATIENCE, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });

        let mut browser = Browser {
            agent: agent(),
            session: format!("http://127.0.0.1:{port}/session"),
            _driver: driver,
            _profile: profile,
        };

        let session = browser.post("", &capabilities(&browser));
        let id = session["sessionId"].as_str().expect("an id").to_owned();
        browser.session = format!("{}/{id}", browser.session);
        browser.resize(width, height);
        browser
    }

    /// Gives the page another size.
    pub fn resize(&self, width: u32, height: u32) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false
        });

        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Turns the scripts of pages off.
    pub fn without_scripts(&self) {
        self.devtools(
            "Emulation.setScriptExecutionDisabled",
            &json!({ "value": true }),
        );
    }

    /// Shows pages as they are printed.
    pub fn print_style(&self) {
        let media = json!({ "media": "print" });
        self.devtools("Emulation.setEmulatedMedia", &media);
    }

    /// Opens an address, and returns when it is loaded with its pictures.
    #[track_caller]
    pub fn open(&self, address: &str) {
        self.post("/url", &json!({ "url": address }));
    }

    /// Result of a script, which says `return`.
    #[track_caller]
    pub fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// What a script gives to its last argument, a function.
    #[track_caller]
    pub fn script_that_waits(&self, script: &str) -> Value {
        self.post("/execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Text of the first element that fits a selector; empty without one.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?})?.innerText ?? ''");
        self.script(&script).as_str().unwrap_or_default().to_owned()
    }

    /// Number of elements that fit a selector.
    #[track_caller]
    pub fn count(&self, selector: &str) -> u64 {
        let script = format!("return document.querySelectorAll({selector:?}).length");
        self.script(&script).as_u64().unwrap_or_default()
    }

    /// Clicks the first element that fits a selector.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let id = self.element(selector);
        self.post(&format!("/element/{id}/click"), &json!({}));
    }

    #[track_caller]
    fn element(&self, selector: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.post("/element", &wanted);
        let mut ids = found.as_object().into_iter().flatten();
        let (_, id) = ids.next().expect("an element");
        id.as_str().expect("an id").to_owned()
    }

    /// Types into the first element that fits a selector, in place of what it has.
    #[track_caller]
    pub fn fill(&self, selector: &str, text: &str) {
        let id = self.element(selector);
        self.post(&format!("/element/{id}/clear"), &json!({}));
        self.post(&format!("/element/{id}/value"), &json!({ "text": text }));
    }

    /// Draws with a finger on the first element that fits a selector, through points that are shares of its width and
    /// height.
    #[track_caller]
    pub fn draw(&self, selector: &str, points: &[(f64, f64)]) {
        let script = format!(
            "const element = document.querySelector({selector:?}); \
             element.scrollIntoView({{ block: 'center' }}); \
             const box = element.getBoundingClientRect(); \
             return [box.x, box.y, box.width, box.height]"
        );

        let sides = self.script(&script);
        let side = |place: usize| sides[place].as_f64().expect("a number");
        let mut actions = vec![];
        for (number, (x, y)) in points.iter().enumerate() {
            let x = (side(0) + x * side(2)).round() as i64;
            let y = (side(1) + y * side(3)).round() as i64;
            actions.push(json!({ "type": "pointerMove", "duration": 50, "x": x, "y": y }));
            if number == 0 {
                actions.push(json!({ "type": "pointerDown", "button": 0 }));
            }
        }

        actions.push(json!({ "type": "pointerUp", "button": 0 }));
        let finger = json!({
            "type": "pointer", "id": "finger",
            "parameters": { "pointerType": "touch" }, "actions": actions
        });

        self.post("/actions", &json!({ "actions": [finger] }));
    }

    /// Gives the first list that fits a selector a value.
    #[track_caller]
    pub fn choose(&self, selector: &str, value: &str) {
        let script = format!("document.querySelector({selector:?}).value = {value:?}");
        self.script(&script);
    }

    /// Signs a user of the tests in at a page, and ends at its screen Live.
    #[track_caller]
    pub fn sign_in(&self, page: &Page, name: &str) {
        self.open(&page.address("/sign-in"));
        self.fill("input[name=name]", name);
        self.fill("input[name=password]", PASSWORD);
        self.click("main button");
        self.wait_for("#user", |user| user.contains(name));
    }

    /// Returns once the text of an element fits.
    #[track_caller]
    pub fn wait_for(&self, selector: &str, fits: impl Fn(&str) -> bool) {
        let mut last = String::new();
        wait_until(&format!("the text of {selector}"), PATIENCE, || {
            last = self.text(selector);
            fits(&last)
        });
    }

    /// The page as it is seen, as a JPEG file.
    #[track_caller]
    pub fn screenshot(&self) -> Vec<u8> {
        let settings = json!({ "format": "jpeg", "quality": 82 });
        let shot = self.devtools("Page.captureScreenshot", &settings);
        let text = shot["data"].as_str().expect("a picture");
        STANDARD.decode(text).expect("base64")
    }

    /// Words that the page wrote to the console as errors, such as what its policy refuses.
    #[track_caller]
    pub fn console_errors(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().cloned().unwrap_or_default();
        let severe = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].to_string()).collect()
    }

    #[track_caller]
    fn devtools(&self, command: &str, params: &Value) -> Value {
        self.post(
            "/goog/cdp/execute",
            &json!({ "cmd": command, "params": params }),
        )
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        let address = format!("{}{path}", self.session);
        let answer = self.agent.post(&address).content_type("application/json");
        let mut answer = answer.send(body.to_string()).expect("chromedriver answers");
        let text = answer.body_mut().read_to_string().expect("text");
        let mut value: Value = serde_json::from_str(&text).expect("JSON");
        assert!(answer.status().is_success(), "{path}: {value}");
        value["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends chromium with all its processes; chromedriver is killed after it.
        let _ = self.agent.delete(&self.session).call();
    }
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(2 * PATIENCE))
        .build();

    config.into()
}

fn capabilities(browser: &Browser) -> Value {
    let profile = browser._profile.path().display();
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        &format!("--user-data-dir={profile}/chromium"),
    ];

    let options = json!({ "binary": PROGRAMS[0], "args": arguments });
    json!({ "capabilities": { "alwaysMatch": {
        "goog:chromeOptions": options,
        "goog:loggingPrefs": { "browser": "SEVERE" },
    } } })
}
