//! `winspect watch line.toml`: a live table of a running line, one row a part. On a terminal the
//! last line shows counters and health; otherwise there are plain rows, or JSON lines.

use super::running_line::{connect, failure, unexpected};
use super::terminal::{print, say};
use crate::base::exit::{Exit, Failure};
use crate::control::client::Received;
use crate::control::messages::{ControlReply, ControlRequest, LineStatus};
use crate::data::verdict::Verdict;
use crate::protocol::event::PartResult;
use crate::protocol::shadow::{ShadowDifference, ShadowJudgement};
use clap::Args;
use jiff::tz::TimeZone;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[derive(Debug, Args)]
pub struct WatchArguments {
    /// The line's configuration, as for `run`
    line: PathBuf,
    /// Print each result as one JSON line
    #[arg(long)]
    json: bool,
    /// End after so many results
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Time between two looks for a signal.
const TICK: Duration = Duration::from_millis(100);
/// Terminal code that begins the line anew and empties it.
const CLEAR: &str = "\r\x1b[K";
/// Width of the bar of a score at twice the threshold.
const BAR_MAX: usize = 20;

pub fn run(arguments: &WatchArguments) -> Result<(), Failure> {
    // The signal is caught so that the footer can be cleared before the shell's prompt.
    let stop = stop_flag()?;
    let mut client = connect(&arguments.line)?;
    let request = ControlRequest {
        watch: true,
        ..ControlRequest::default()
    };

    // The status comes first and fills the footer; results follow as they are released.
    client.send(&request).map_err(|error| failure(&error))?;
    let mut table = WatchTable::new(arguments);
    table.begin()?;

    // A short wait keeps Ctrl-C prompt without any thread.
    while table.wants_more && !stop.load(Ordering::Relaxed) {
        match client.hear(TICK).map_err(|error| failure(&error))? {
            Received::Reply(reply) => table.show(&reply)?,
            Received::Silence => {}

            // A line that ends says so; without that word it was killed.
            Received::End => {
                table.clear_footer();
                let words = "the line ended without a word";
                return Err(Failure::words(Exit::Unavailable, words));
            }
        }
    }

    table.clear_footer();
    Ok(())
}

/// Set by SIGINT and SIGTERM; a second signal ends the process at once.
fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second signal has its default effect, since the flag is set by the first.
        let armed = signal_hook::flag::register_conditional_default(signal, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()));

        armed.map_err(|error| Failure::new(Exit::Software, error))?;
    }

    Ok(stop)
}

/// The table on standard output.
struct WatchTable {
    json: bool,
    /// True if standard output is a terminal: there are colours and a footer.
    is_terminal: bool,
    /// Results that are still to be shown, if that was limited.
    left: Option<u64>,
    /// Last known counters and health.
    footer: String,
    /// True until the table is complete, its reader has left or the line has ended.
    wants_more: bool,
}

impl WatchTable {
    fn new(arguments: &WatchArguments) -> Self {
        WatchTable {
            json: arguments.json,
            is_terminal: !arguments.json && std::io::stdout().is_terminal(),
            left: arguments.count,
            footer: String::new(),
            wants_more: arguments.count != Some(0),
        }
    }

    fn begin(&mut self) -> Result<(), Failure> {
        // JSON lines have no head: each names its own keys.
        if self.json {
            return Ok(());
        }

        self.print(&format!(
            "{:<12} {:<10} {:>6}  {:<16} {:<9} {}",
            "time", "camera", "seq", "part", "verdict", "score, threshold or reason"
        ))
    }

    fn show(&mut self, reply: &ControlReply) -> Result<(), Failure> {
        // Results are rows. All else is told apart, and the status only renews the footer.
        match reply {
            ControlReply::Result(result) => self.show_result(result)?,
            ControlReply::Status(status) => self.footer = footer(status),
            ControlReply::Camera(change) => {
                let reason = change.last_reason.as_deref().unwrap_or("");
                self.tell(format!(
                    "camera {} {} {reason}",
                    change.camera,
                    change.state.word()
                ));
            }
            ControlReply::Recipe(label) => self.tell(format!("recipe {label} judges")),
            ControlReply::Difference(difference) => self.tell(differs(difference)),
            ControlReply::Outcome(outcome) => {
                let reason = outcome.answer.reason.as_deref().unwrap_or("");
                self.tell(format!("{}: {reason}", outcome.name));
            }
            ControlReply::Missed(events) => self.tell(format!("{events} events missed")),
            ControlReply::Ended(words) => {
                self.tell(words.clone());
                self.wants_more = false;
            }
            ControlReply::Answer(_)
            | ControlReply::History(_)
            | ControlReply::Audit(_)
            | ControlReply::ShiftChecks(_)
            | ControlReply::Error(_) => return Err(unexpected(reply)),
        }

        self.draw_footer();
        Ok(())
    }

    fn show_result(&mut self, result: &PartResult) -> Result<(), Failure> {
        // Each result is one line, whatever comes between.
        if self.json {
            let line = serde_json::to_string(result).expect("a result is plain values");
            self.print(&line)?;
        } else {
            self.print(&row(result, self.is_terminal))?;
        }

        // The count is of results, not of lines.
        if let Some(left) = &mut self.left {
            *left -= 1;
            self.wants_more &= *left > 0;
        }

        Ok(())
    }

    /// Prints a row; a reader that has left ends the table.
    fn print(&mut self, row: &str) -> Result<(), Failure> {
        self.clear_footer();
        self.wants_more &= print(row)?;
        Ok(())
    }

    /// Tells what is no result on standard error, so that rows stay rows.
    fn tell(&self, words: String) {
        self.clear_footer();
        say(words.trim_end());
    }

    fn draw_footer(&self) {
        if self.is_terminal {
            let mut out = std::io::stdout().lock();
            let _ = write!(out, "{CLEAR}{}", self.footer).and_then(|()| out.flush());
        }
    }

    fn clear_footer(&self) {
        if self.is_terminal {
            let mut out = std::io::stdout().lock();
            let _ = write!(out, "{CLEAR}").and_then(|()| out.flush());
        }
    }
}

/// Counters and health in a line.
fn footer(status: &LineStatus) -> String {
    // The footer has one line: causes that do not fit are cut by the terminal.
    let store = &status.store;
    let causes = status.condition.causes.join("; ");
    let health = status.condition.health.word();
    let shadow = status.shadow.as_ref().map(|shadow| {
        let differ = shadow.differ;
        format!(
            " shadow {}: {differ} of {} differ;",
            shadow.recipe, shadow.parts
        )
    });

    format!(
        "{} parts, {} results, {} undecided, {} wait for the broker;{} {health} {causes}",
        store.accepted,
        store.results,
        store.undecided,
        store.waiting,
        shadow.unwrap_or_default()
    )
}

/// A part on which the shadow differs, in words.
fn differs(difference: &ShadowDifference) -> String {
    let judged = |judgement: &ShadowJudgement| {
        let score = judgement.score.zip(judgement.threshold);
        let score = score.map(|(score, threshold)| format!(" {score:.4} of {threshold:.4}"));
        format!(
            "{}{} by {}",
            judgement.verdict.word(),
            score.unwrap_or_default(),
            judgement.recipe
        )
    };

    let region = difference.region.as_ref();
    format!(
        "part {} of {}{}: {}, in the shadow {}",
        difference.seq,
        difference.camera,
        region.map_or_else(String::new, |region| format!("/{region}")),
        judged(&difference.active),
        judged(&difference.shadow)
    )
}

/// A part's row: an undecided part has its reason in place of a score.
fn row(result: &PartResult, is_coloured: bool) -> String {
    // Times are local for a person; the JSON form has UTC.
    let time = result.captured_at.to_zoned_datetime(TimeZone::system());
    let camera = match &result.region {
        Some(region) => format!("{}/{region}", result.camera),
        None => result.camera.clone(),
    };

    // Columns are as wide as usual values; a longer id moves the rest of its own row.
    let row = format!(
        "{:<12} {camera:<10} {:>6}  {:<16} {:<9} {}",
        time.strftime("%H:%M:%S%.3f").to_string(),
        result.seq,
        result.part_id.as_deref().unwrap_or("-"),
        result.verdict.word(),
        judgement(result)
    );

    if !is_coloured {
        return row.trim_end().to_owned();
    }

    // The ANSI colours are green, red and yellow.
    let colour = match result.verdict {
        Verdict::Pass => 32,
        Verdict::Fail => 31,
        Verdict::Undecided => 33,
    };

    format!("\x1b[{colour}m{row}\x1b[0m")
}

/// Score and threshold with a bar that is half full at the threshold, or the reason of an undecided
/// part.
fn judgement(result: &PartResult) -> String {
    // The reason's word is the one of the message, so that a person can look it up.
    if let Some(reason) = result.reason {
        let reason = serde_json::to_value(reason).expect("a reason is a word");
        let reason = reason.as_str().unwrap_or_default().to_owned();
        return match &result.detail {
            Some(detail) => format!("{reason}: {detail}"),
            None => reason,
        };
    }

    let Some(score) = result.score else {
        return String::new();
    };

    let Some(threshold) = result.threshold else {
        return format!("{score:.4}, no threshold");
    };

    // The bar is half full at the threshold. A threshold of 0 would divide by zero.
    let full = BAR_MAX as f32 / 2.0 * score / threshold.max(f32::MIN_POSITIVE);
    let bar = "#".repeat((full as usize).min(BAR_MAX));
    let total_ms = result.total_ms;
    format!("{score:.4} of {threshold:.4} {bar:<BAR_MAX$} {total_ms:>7.1} ms")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::report::tests::report;
    use crate::data::verdict::Reason;
    use crate::protocol::birth::tests::identity;
    use crate::protocol::result;

    #[test]
    fn a_row_has_a_score_or_the_reason() {
        let judged = PartResult::of(&result::row(&report(7), &identity()));
        let text = row(&judged, false);
        for words in [
            "top",
            " 7 ",
            " - ",
            "fail",
            "0.4120 of 0.3370 ############ ",
        ] {
            assert!(text.contains(words), "{words:?} is not in {text:?}");
        }

        let undecided = PartResult {
            verdict: Verdict::Undecided,
            reason: Some(Reason::CameraLost),
            detail: Some("no frame".to_owned()),
            part_id: Some("A-77".to_owned()),
            ..judged
        };

        let text = row(&undecided, false);
        assert!(
            text.ends_with("A-77             undecided camera_lost: no frame"),
            "{text}"
        );

        assert!(row(&undecided, true).starts_with("\x1b[33m"));
    }
}
