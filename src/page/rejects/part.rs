//! One part: its pictures, its figures, the trend of its place, and a person's word on it.

use super::list::{label_mark, name, stem_of, stems, why};
use super::nearest::NearestView;
use crate::data::history::{GroupKey, HistoryPart, HistoryQuery};
use crate::data::result::ResultRow;
use crate::data::verdict::{Defect, Verdict};
use crate::page::access::{Act, Notice, Right, Viewer};
use crate::page::form_page::{Layout, answer, done, refusal};
use crate::page::numbers::{decimal, shortest};
use crate::page::search;
use crate::page::state::Page;
use crate::page::words::{Mark, gate_words, local_time, verdict_mark};
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::event::PartResult;
use crate::store::spot_of;
use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// Time for a recipe to learn a part; what takes longer is told as under way.
const LEARNING: Duration = Duration::from_secs(60);
/// Span of time over which the rejects of a place are counted.
const TREND: SignedDuration = SignedDuration::from_hours(24);

#[derive(Template)]
#[template(path = "rejects/part.html")]
struct PartScreen {
    layout: Layout,
    row: ResultRow,
    name: String,
    mark: Mark,
    why: String,
    gate: &'static str,
    time: String,
    /// Stem of its evidence.
    stem: Option<String>,
    /// Why there is no picture.
    no_picture: Option<String>,
    /// True where map and picture lie over each other.
    has_slider: bool,
    /// The nearest good parts beside the defects; `None` for a part that has no defect, or no picture.
    nearest: Option<NearestView>,
    facts: Vec<(&'static str, String)>,
    defects: Vec<DefectRow>,
    /// The camera's scale; `None` where sizes are not known.
    mm_per_pixel: Option<String>,
    trend: Option<String>,
    label: Option<LabelView>,
    /// Why the viewer may not label.
    no_label: Option<String>,
    /// Why the viewer may not teach.
    no_teaching: Option<String>,
}

/// A defect in the table of figures.
struct DefectRow {
    defect: Defect,
    /// Width and height in millimetres.
    mm: String,
    peak: String,
}

/// A person's word, as it is shown.
struct LabelView {
    mark: Mark,
    note: String,
    who: String,
    at: String,
}

/// The form of a word on a part.
#[derive(Deserialize)]
pub struct LabelForm {
    run_id: String,
    camera: String,
    seq: u64,
    /// `good` and `bad` teach; the others are kept alone. Empty for a note alone.
    #[serde(default)]
    label: String,
    #[serde(default)]
    note: String,
}

/// `GET /rejects/part/RUN/CAMERA/SEQ`.
pub async fn show(
    State(page): State<Page>,
    viewer: Viewer,
    Path((run_id, camera, seq)): Path<(String, String, u64)>,
) -> Response {
    let found = match search::part(&page.store, &run_id, &camera, seq).await {
        Ok(found) => found,
        Err(words) => return refusal(&page, viewer, StatusCode::SERVICE_UNAVAILABLE, words),
    };

    let Some(part) = found else {
        let words = format!(
            "the store has no result of part {run_id}/{camera}/{seq}; it keeps parts for a time (docs/history.md)"
        );

        return refusal(&page, viewer, StatusCode::NOT_FOUND, words);
    };

    let (stems, missing) = stems(&page).await;
    let stem = stem_of(&part.row, &stems).map(str::to_owned);
    let no_picture = match (&stem, missing) {
        (Some(_), _) => None,
        (None, Some(words)) => Some(words),
        (None, None) => Some("The picture of this part is not kept: the rule of [evidence] left it out, or it had to make room.".to_owned()),
    };

    let trend = trend(&page, &part.row).await;
    let of_defects = stem.as_ref().filter(|_| !part.row.defects.is_empty());
    let screen = PartScreen {
        nearest: of_defects.map(|stem| NearestView::of(&page, &viewer, stem)),
        name: name(&part.row),
        mark: verdict_mark(part.row.verdict),
        why: why(&part.row),
        gate: gate_words(&PartResult::of(&part.row)),
        time: local_time(part.row.captured_at),
        has_slider: part.row.map.is_some() && part.row.pose.is_none(),
        facts: facts(&part.row),
        defects: defects(&part.row),
        mm_per_pixel: part.row.mm_per_pixel.map(shortest),
        label: label_view(&part),
        no_label: viewer.hindrance(Right::Operate),
        no_teaching: viewer.hindrance(Right::SetUp),
        layout: Layout::new(&page, viewer, "Rejects"),
        row: part.row,
        stem,
        no_picture,
        trend,
    };

    answer(StatusCode::OK, &screen)
}

fn label_view(part: &HistoryPart) -> Option<LabelView> {
    let label = part.label.as_ref()?;
    let word = label.label.as_deref();
    let word = word.unwrap_or_default();

    // A time that cannot be read is shown as it stands.
    let at: Option<Timestamp> = label.at.parse().ok();
    let at = match at {
        Some(at) => local_time(at),
        None => label.at.clone(),
    };

    let note = label.note.clone();
    Some(LabelView {
        mark: label_mark(word),
        note: note.unwrap_or_default(),
        who: label.who.clone(),
        at,
    })
}

fn defects(row: &ResultRow) -> Vec<DefectRow> {
    let size = |defect: &Defect, scale| {
        let [w, h] = defect.size_mm(scale);
        format!("{} × {}", decimal(w, 2), decimal(h, 2))
    };

    let scale = row.mm_per_pixel;
    let in_mm = |defect| scale.map_or(String::new(), |scale| size(defect, scale));

    let rows = row.defects.iter().map(|defect| DefectRow {
        defect: *defect,
        mm: in_mm(defect),
        peak: decimal(defect.peak, 3),
    });

    rows.collect()
}

fn facts(row: &ResultRow) -> Vec<(&'static str, String)> {
    let number = |value: Option<f32>| value.map_or("none".to_owned(), |value| decimal(value, 4));
    let mut facts = vec![
        ("place", row.place()),
        ("score", number(row.score)),
        ("threshold", number(row.threshold)),
        ("recipe", row.recipe.clone()),
        ("model", row.model.clone()),
        ("engine", row.backend.clone()),
        (
            "verdict after",
            format!("{} ms", decimal(row.latency_ms.total, 1)),
        ),
        ("run", row.run_id.clone()),
    ];

    for view in &row.views {
        let score = number(view.score);
        facts.push((
            "seen by",
            format!("{}: {}, {score}", view.camera, view.verdict.word()),
        ));
    }

    facts
}

/// How often parts failed at the place of this one of late, and in the time before.
async fn trend(page: &Page, row: &ResultRow) -> Option<String> {
    let spot = row.map.as_ref().and_then(spot_of)?;

    if row.verdict != Verdict::Fail {
        return None;
    }

    let now = Timestamp::now();
    let day_ago = now.checked_sub(TREND).ok()?;
    let two_days_ago = day_ago.checked_sub(TREND).ok()?;

    let place = format!("{} {spot}", row.place());

    let of_late = rejects_at(page, &place, (day_ago, now)).await?;
    let before = rejects_at(page, &place, (two_days_ago, day_ago)).await?;
    Some(format!(
        "Rejected at {place}: {of_late} in the last 24 hours, {before} in the 24 hours before"
    ))
}

async fn rejects_at(
    page: &Page,
    place: &str,
    (since, until): (Timestamp, Timestamp),
) -> Option<u64> {
    let query = HistoryQuery {
        since: Some(since),
        until: Some(until),
        verdict: Some(Verdict::Fail),
        by: Some(GroupKey::Place),
        ..HistoryQuery::default()
    };

    // A count that is not whole would be a wrong one.
    let found = search::parts(&page.store, query, usize::MAX).await.ok()?;

    if found.next.is_some() {
        return None;
    }

    let own = found
        .groups
        .iter()
        .filter(|group| group.key.as_deref() == Some(place));

    Some(own.map(|group| group.fail).sum())
}

/// `POST /rejects/label`.
pub async fn label(State(page): State<Page>, act: Act<LabelForm>) -> Response {
    let Act { actor, form } = act;
    let camera =
        percent_encoding::utf8_percent_encode(&form.camera, percent_encoding::NON_ALPHANUMERIC);

    let address = format!("/rejects/part/{}/{camera}/{}", form.run_id, form.seq);
    let teaches = matches!(form.label.as_str(), "good" | "bad");
    let mut values = json!({
        "run_id": form.run_id,
        "camera": form.camera,
        "seq": form.seq,
        "teach": teaches,
    });

    if !form.label.is_empty() {
        values["as"] = form.label.clone().into();
    }

    if !form.note.trim().is_empty() {
        values["note"] = form.note.trim().into();
    }

    // A label alone is the operator's; what changes the recipe is the setter's.
    let right = match teaches {
        true => Right::SetUp,
        false => Right::Operate,
    };

    if !actor.may(right) {
        let role = right.least_role().word();
        let words = format!("{} is {}; this needs {role}", actor.name, actor.role.word());
        return done(&page, &actor, &address, Notice::refused(words));
    }

    let answer = page
        .commands
        .carry_out(&actor, "label", values, LEARNING)
        .await;
    done(&page, &actor, &address, notice_of(&answer))
}

/// The message about a command's answer.
pub fn notice_of(answer: &Answer) -> Notice {
    let words = answer.reason.clone();

    match answer.status {
        AnswerStatus::Done => Notice::done(words.unwrap_or_else(|| "done".to_owned())),
        AnswerStatus::Rejected => {
            Notice::refused(words.unwrap_or_else(|| "it was refused".to_owned()))
        }

        AnswerStatus::Accepted | AnswerStatus::Progress => {
            Notice::begun(words.unwrap_or_else(|| "the line is at it".to_owned()))
        }
    }
}
