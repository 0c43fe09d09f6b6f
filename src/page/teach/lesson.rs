//! The lesson on the screen: its parts as they come, and what became of each.

use super::address::{fault, wanted};
use super::histogram::bad_parts;
use crate::page::access::PollViewer;
use crate::page::form_page::Layout;
use crate::page::numbers::decimal;
use crate::page::state::Page;
use crate::page::words::{Mark, mark};
use crate::protocol::lesson_board::{LessonStep, PartFate, ShownLesson};
use crate::protocol::teaching::TaughtAs;
use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait of a browser for something new.
const WAIT: Duration = Duration::from_secs(10);
/// Time between two looks at a lesson.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// The lesson in HTML.
pub struct Fragment {
    /// Content of its element.
    pub html: String,
    /// Hash of the content.
    pub version: String,
    /// Word for how far it is; the page has another shape once it has ended.
    pub step: &'static str,
}

impl Fragment {
    /// True while parts are seen, or compared.
    pub fn is_live(&self) -> bool {
        matches!(self.step, SEEING | COMPARING)
    }
}

/// Words for how far a lesson is, for the script.
const SEEING: &str = "seeing";
const COMPARING: &str = "comparing";
const DONE: &str = "done";

#[derive(Template)]
#[template(path = "teach/lesson.html")]
struct LessonView<'a> {
    hidden: &'a str,
    lesson: Option<&'a ShownLesson>,
    parts: Vec<PartView<'a>>,
    mark: Mark,
    words: String,
    /// Whether each known bad part is found, in sentences.
    bad_found: Vec<String>,
}

/// One part as it is shown.
struct PartView<'a> {
    part: &'a str,
    place: usize,
    has_picture: bool,
    mark: Mark,
    words: String,
    /// True where a person has to decide.
    is_apart: bool,
}

/// The lesson of a recipe in HTML; `hidden` is the hidden field of each form.
///
/// # Errors
/// When the template cannot be filled.
pub fn fragment(page: &Page, hidden: &str, recipe: &str) -> Result<Fragment, askama::Error> {
    let lesson = page.teach.board.lesson();
    let lesson = lesson.as_ref().filter(|lesson| lesson.recipe == recipe);
    let (step, mark, words) = match lesson {
        None => ("none", mark("calm", "…", "NO LESSON YET"), String::new()),
        Some(lesson) => told(lesson),
    };

    // Of a bad part a person wants to know one thing.
    let is_bad = lesson.is_some_and(|lesson| lesson.taught_as == TaughtAs::Bad);
    let bad_found = match is_bad && step == DONE {
        true => bad_parts(page.teach.board.scores(recipe)),
        false => vec![],
    };

    let parts = lesson.map_or(vec![], |lesson| {
        let parts = lesson.parts.iter().enumerate();
        let shown = parts.map(|(place, shown)| {
            let (mark, words) = fate(&shown.fate);
            PartView {
                part: &shown.part,
                place,
                has_picture: shown.picture.is_some(),
                mark,
                words,
                is_apart: matches!(shown.fate, PartFate::Apart { .. }),
            }
        });

        shown.collect()
    });

    let view = LessonView {
        hidden,
        lesson,
        parts,
        mark,
        words,
        bad_found,
    };

    let html = view.render()?;
    let hash = crate::base::hex::hex(&Sha256::digest(html.as_bytes()));
    Ok(Fragment {
        version: hash[..16].to_owned(),
        html,
        step,
    })
}

/// How far a lesson is: a word for the script, a mark, and words.
fn told(lesson: &ShownLesson) -> (&'static str, Mark, String) {
    let kind = match lesson.taught_as {
        TaughtAs::Good => "good",
        TaughtAs::Bad => "bad",
    };

    let seen = lesson.parts.len();
    let wanted = lesson.wanted;
    let taken = lesson.count(|fate| matches!(fate, PartFate::Accepted | PartFate::Kept));

    match &lesson.step {
        LessonStep::Seeing => (
            SEEING,
            mark("doubt", "…", "SHOW THE PARTS"),
            format!("{seen} of {wanted} {kind} parts were seen."),
        ),
        LessonStep::Comparing => (
            COMPARING,
            mark("doubt", "…", "COMPARING"),
            format!("All {wanted} {kind} parts were seen; they are compared with each other."),
        ),
        LessonStep::Done(words) => (
            DONE,
            mark("good", "✓", "TAUGHT"),
            format!("Taken: {taken} of {wanted} {kind} parts. {words}"),
        ),
        LessonStep::Refused(why) => ("refused", mark("bad", "✕", "NOTHING TAUGHT"), why.clone()),
    }
}

fn fate(fate: &PartFate) -> (Mark, String) {
    match fate {
        PartFate::Seen => (mark("calm", "…", "SEEN"), String::new()),
        PartFate::Accepted => (mark("good", "✓", "TAKEN"), String::new()),
        PartFate::Apart { score, highest } => (
            mark("doubt", "?", "UNLIKE THE OTHERS"),
            format!(
                "{}, they have at most {}",
                decimal(*score, 3),
                decimal(*highest, 3)
            ),
        ),
        PartFate::PassedOver(why) => (mark("calm", "–", "PASSED OVER"), why.clone()),
        PartFate::Kept => (
            mark("good", "✓", "KEPT"),
            "you said that it is good".to_owned(),
        ),
        PartFate::Left => (mark("calm", "–", "LEFT OUT"), "you left it out".to_owned()),
    }
}

/// The lesson once it is another than the browser has; waits for it.
pub async fn news(
    State(page): State<Page>,
    PollViewer(viewer): PollViewer,
    RawQuery(query): RawQuery,
) -> Response {
    let wanted = wanted(query.as_deref());
    let recipe = wanted.recipe.unwrap_or_default();
    let since = wanted.since.unwrap_or_default();

    // The message of a session is for a whole page.
    let hidden = Layout::hidden_of(&viewer);
    let end = Instant::now() + WAIT;

    loop {
        let fragment = match fragment(&page, &hidden, &recipe) {
            Ok(fragment) => fragment,
            Err(error) => return fault(&error),
        };

        if fragment.version != since || Instant::now() >= end {
            let Fragment {
                html,
                version,
                step,
            } = fragment;

            let update = serde_json::json!({ "html": html, "version": version, "step": step });
            let kind = [(CONTENT_TYPE, "application/json")];
            return (kind, update.to_string()).into_response();
        }

        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The picture of a lesson's part.
pub async fn part(State(page): State<Page>, Path((number, place)): Path<(u64, usize)>) -> Response {
    let lesson = page.teach.board.lesson();
    let lesson = lesson.filter(|lesson| lesson.number == number);
    let picture = lesson.and_then(|lesson| lesson.parts.get(place)?.picture.clone());
    let Some(picture) = picture else {
        return (StatusCode::NOT_FOUND, "there is no such picture any more\n").into_response();
    };

    // Numbers of lessons begin anew with each run.
    let headers = [(CONTENT_TYPE, "image/jpeg"), (CACHE_CONTROL, "no-store")];

    (headers, picture.to_vec()).into_response()
}
