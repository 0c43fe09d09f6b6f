//! Asking one library in a process of its own: a broken driver, or a library of another world, may end or hang that
//! process, never the doctor. The answer is one line of JSON.

use super::library::{LibraryKind, LibraryPlaces, LibraryReport, LibraryState};
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Time that a library may take: the first use of a GPU after its start takes seconds, a hung driver for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks a process of our own; one that dies or hangs is an answer too.
pub fn ask(kind: LibraryKind, places: &LibraryPlaces) -> LibraryReport {
    start(kind, places)
        .and_then(read_answer)
        .unwrap_or_else(|problem| LibraryReport::bare(kind, LibraryState::Broken).broken(problem))
}

fn start(kind: LibraryKind, places: &LibraryPlaces) -> Result<Child, String> {
    // The child is this very program: it sees the same libraries, and is there if this one is.
    let program =
        std::env::current_exe().map_err(|_| "this program cannot be found again".to_owned())?;

    Command::new(program)
        .args(["doctor", "--probe", &kind.argument()])
        .args(places.arguments())
        // Its last words are asked for, not where they were said.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("a process to try it in cannot be started: {error}"))
}

/// The report in the last line of a process, or in words why there is none.
fn read_answer(mut child: Child) -> Result<LibraryReport, String> {
    // Both streams are read at the same time: a library that fills one of them would block the
    // child.
    let answers = read_all(child.stdout.take());
    let errors = read_all(child.stderr.take());
    let Ok(answer) = answers.recv_timeout(PATIENCE) else {
        // Whether it dies or not: a process that hangs in a driver may outlive its killing.
        let _ = child.kill();
        let seconds = PATIENCE.as_secs();
        return Err(format!("it does not answer within {seconds} s"));
    };

    // The report is the last line: libraries print lines of their own before it.
    let status = child.wait().ok();
    let report = answer
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok());

    report.ok_or_else(|| {
        let said = errors.recv_timeout(PATIENCE).unwrap_or_default();
        describe_end(status, &said)
    })
}

/// All that a stream holds, read by a thread of its own.
fn read_all(stream: Option<impl Read + Send + 'static>) -> Receiver<String> {
    // The thread ends with the stream. A child that hangs for ever leaves it behind, and the
    // process ends without it.
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = vec![];
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes); // what came before an error is told
        }

        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });

    receiver
}

/// The end of the process that tried a library, with what it said last.
fn describe_end(status: Option<ExitStatus>, said: &str) -> String {
    let mut words = "it ends the process that tries it: ".to_owned();
    match status {
        Some(status) => words += &status.to_string(),
        None => words += "an unknown end",
    }

    // The last line that says something is the panic's message or the loader's.
    for line in said.lines().rev() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with("note:") {
            words += "; it said: ";
            words += line;
            break;
        }
    }

    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_dies_is_told_with_its_last_words() {
        let said = "thread main panicked at x.rs\nMissing symbol cuInit\nnote: run with RUST_BACKTRACE=1\n";
        assert!(describe_end(None, said).ends_with("it said: Missing symbol cuInit"));
        assert!(describe_end(None, "").ends_with("an unknown end"));
    }
}
