//! The counters of the shift: verdicts since somebody reset them, who that was, and the screen that does it.
//!
//! They are the line's own counters less those at the reset, so that nothing is counted twice or lost. Both begin anew
//! when the line starts.

use super::access::{Act, Notice, Right, Viewer};
use super::form_page::{Layout, answer, done, refusal};
use super::state::Page;
use super::words::percent;
use crate::data::part_counts::{PartTotals, VerdictCount};
use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The line's counters at the beginning of the shift.
#[derive(Debug, Clone, Default)]
pub struct ShiftBase {
    /// Time, and who reset them; `None` while nobody has since the start.
    begun: Option<(Timestamp, String)>,
    places: BTreeMap<String, VerdictCount>,
}

impl ShiftBase {
    /// A shift that begins now.
    pub fn new(now: Timestamp, who: String, parts: &PartTotals) -> Self {
        ShiftBase {
            begun: Some((now, who)),
            places: parts.places.clone(),
        }
    }

    /// Verdicts by place since then; places without one are left out.
    pub fn since(&self, parts: &PartTotals) -> BTreeMap<String, VerdictCount> {
        let mut counted = BTreeMap::new();
        for (place, counts) in &parts.places {
            let before = self.places.get(place).copied().unwrap_or_default();
            let since = *counts - before;
            if since != VerdictCount::default() {
                counted.insert(place.clone(), since);
            }
        }

        counted
    }

    /// Since when the shift counts, and by whom.
    pub fn words(&self) -> String {
        let Some((at, who)) = &self.begun else {
            return "Counted since the line started.".to_owned();
        };

        let local = at.to_zoned_datetime(TimeZone::system());
        let at = local.strftime("%a %H:%M:%S");
        format!("Reset {at} by {who}.")
    }
}

#[derive(Template)]
#[template(path = "templates/shift.html")]
struct ShiftScreen {
    layout: Layout,
    hindrance: Option<String>,
    since: String,
    parts: u64,
    failed: u64,
    pass_share: String,
}

#[derive(Deserialize)]
struct NoFields {}

/// The addresses of this file.
pub fn routes() -> Router<Page> {
    Router::new().route("/counters/reset", get(screen).post(reset))
}

async fn screen(State(page): State<Page>, viewer: Viewer) -> Response {
    let shift = page.shift();
    let all = shift
        .since(&page.now().parts)
        .values()
        .copied()
        .sum::<VerdictCount>();
    let hindrance = viewer.hindrance(Right::Operate);
    let screen = ShiftScreen {
        layout: Layout::new(&page, viewer, "Counters"),
        hindrance,
        since: shift.words(),
        parts: all.parts(),
        failed: all.fail,
        pass_share: percent(all.pass_share()),
    };

    answer(StatusCode::OK, &screen)
}

async fn reset(State(page): State<Page>, viewer: Viewer, act: Act<NoFields>) -> Response {
    if let Some(words) = viewer.hindrance(Right::Operate) {
        return refusal(&page, viewer, StatusCode::FORBIDDEN, words);
    }

    let parts = page.now().parts;
    let all = page
        .shift()
        .since(&parts)
        .values()
        .copied()
        .sum::<VerdictCount>();
    let who = act.actor.who();
    page.access.note(format!(
        "counters of the shift reset by {who}: {} parts, {} failed, {} undecided until then",
        all.parts(),
        all.fail,
        all.undecided
    ));

    page.begin_shift(ShiftBase::new(
        Timestamp::now(),
        act.actor.name.to_string(),
        &parts,
    ));
    let notice = Notice::done("The shift's counters begin at 0.");
    done(&page, &act.actor, "/counters", notice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(places: &[(&str, u64)]) -> PartTotals {
        let places = places.iter().map(|(place, pass)| {
            let counts = VerdictCount {
                pass: *pass,
                ..VerdictCount::default()
            };

            ((*place).to_owned(), counts)
        });

        PartTotals {
            places: places.collect(),
            ..PartTotals::default()
        }
    }

    #[test]
    fn a_shift_counts_what_came_since_its_reset() {
        let start = ShiftBase::default();
        let before = totals(&[("side", 3), ("top", 5)]);
        assert_eq!(start.since(&before), before.places);
        let shift = ShiftBase::new(Timestamp::UNIX_EPOCH, "anna".to_owned(), &before);
        assert!(shift.since(&before).is_empty());
        let later = totals(&[("new", 1), ("side", 3), ("top", 7)]);
        let since: Vec<(String, u64)> = shift
            .since(&later)
            .into_iter()
            .map(|(place, counts)| (place, counts.pass))
            .collect();

        assert_eq!(since, [("new".to_owned(), 1), ("top".to_owned(), 2)]);
        assert!(shift.words().ends_with("by anna."), "{}", shift.words());
    }
}
