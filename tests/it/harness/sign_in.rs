//! Users of a page, and what a signed-in one sends by its forms.

use super::line::command;
use super::page::{Answer, Page};
use super::program::{both, winspect};
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

/// Password of all users of the tests.
pub const PASSWORD: &str = "correct horse";

/// A signed-in browser without a screen.
pub struct Session<'a> {
    page: &'a Page,
    /// The cookie, as it is sent back.
    pub cookie: String,
    /// The token of its forms.
    pub token: String,
}

/// `winspect user ...` for the line of a folder; the password goes to its standard input.
pub fn user(folder: &Path, action: &str, rest: &[&str]) -> Output {
    let line = command(folder);
    let line = line.get_args().last().expect("the line's file").to_owned();
    let mut command = winspect();
    command.args(["user", action]).arg(line).args(rest);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let _ = writeln!(stdin, "{PASSWORD}");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

/// Makes a user.
#[track_caller]
pub fn add_user(folder: &Path, name: &str, role: &str) {
    let output = user(folder, "add", &[name, "--role", role, "--password-stdin"]);
    assert!(output.status.success(), "{}", both(&output));
}

/// The audit log of a line.
#[track_caller]
pub fn audit(folder: &Path) -> String {
    let mut command = winspect();
    command.arg("history").arg(folder.join("line.toml"));
    let output = command.arg("--audit").output().expect("it runs");
    assert!(output.status.success(), "{}", both(&output));
    both(&output)
}

impl<'a> Session<'a> {
    /// Signs a user in.
    #[track_caller]
    pub fn start(page: &'a Page, name: &str) -> Self {
        let form = [("name", name), ("password", PASSWORD), ("next", "/health")];
        let answer = page.post("/sign-in", &[], &form);
        assert_eq!(answer.status, 303, "{}", answer.body);
        assert_eq!(answer.headers["location"], "/health");
        let mut session = Session {
            page,
            cookie: cookie_of(&answer),
            token: String::new(),
        };

        let screen = session.get("/sign-in").body;
        session.token = token_of(&screen).expect("a form of a signed-in user");
        session
    }

    /// Goes on in the session that an answer gave, as the browser does; returns the screen that it led to.
    #[track_caller]
    pub fn take_over(&mut self, answer: &Answer) -> String {
        self.cookie = cookie_of(answer);
        let screen = self.get(&answer.headers["location"]).body;
        self.token = token_of(&screen).expect("a form of a signed-in user");
        screen
    }

    /// A screen, as this user sees it.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.page.get_with(path, &[("cookie", &self.cookie)])
    }

    /// A form of this user.
    #[track_caller]
    pub fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let token = [("form_token", self.token.as_str())];
        let form: Vec<_> = form.iter().copied().chain(token).collect();
        self.page.post(path, &[("cookie", &self.cookie)], &form)
    }
}

/// The cookie of an answer, as it is sent back.
#[track_caller]
fn cookie_of(answer: &Answer) -> String {
    let cookie = answer.headers["set-cookie"].split(';').next();
    cookie.expect("a cookie").to_owned()
}

/// The token of the first form of a screen that has one.
pub fn token_of(screen: &str) -> Option<String> {
    let (_, rest) = screen.split_once("name=\"form_token\" value=\"")?;
    let (token, _) = rest.split_once('"')?;
    Some(token.to_owned())
}
