//! Screens as lists of fragments, each rendered once for all viewers, and what is new for a viewer.

use super::album::Album;
use super::board::Board;
use super::now::{DiskRoom, LineNow};
use super::shift::ShiftBase;
use askama::Template;
use jiff::Timestamp;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Shortest time between two renderings of a screen.
pub const RENDER_EVERY: Duration = Duration::from_millis(200);

/// The screens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScreenName {
    /// The newest parts.
    Live,
    /// Causes, cameras, broker, disk, events.
    Health,
    /// Verdicts by hour and day.
    Counters,
}

/// All of them, in the order of the tabs.
pub const SCREENS: [ScreenName; 3] = [ScreenName::Live, ScreenName::Health, ScreenName::Counters];

/// What the screens are made of.
pub struct Facts<'a> {
    /// The line.
    pub now: LineNow,
    /// The page's memory.
    pub board: &'a Board,
    /// Pictures.
    pub album: &'a Album,
    /// The counters at the beginning of the shift.
    pub shift: ShiftBase,
    /// The disk of the store.
    pub disk: Option<DiskRoom>,
    /// The moment.
    pub at: Timestamp,
}

/// One part of a screen that changes by itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fragment {
    /// Id of its element.
    pub id: String,
    /// Classes of its element.
    pub class: String,
    /// Content, in HTML.
    pub html: String,
    /// Parts so far at its place: a viewer counts those between two of them as not shown.
    pub parts: Option<u64>,
}

/// One screen as all viewers get it.
#[derive(Default)]
pub struct Screen {
    /// Version of the newest change; 0 before the first rendering.
    version: u64,
    fragments: Vec<(u64, Fragment)>,
    rendered: Option<Instant>,
}

/// What is new for a viewer.
#[derive(Debug, Serialize)]
pub struct Update<'a> {
    /// The version that the viewer has with it.
    pub version: u64,
    /// Hash of style and script: a viewer with another one loads the page anew.
    pub build: &'a str,
    /// Fragments that changed.
    pub fragments: Vec<&'a Fragment>,
}

impl ScreenName {
    /// The screen of an address' last level.
    pub fn of(name: &str) -> Option<Self> {
        SCREENS.into_iter().find(|screen| screen.name() == name)
    }

    /// Its name in addresses.
    pub fn name(self) -> &'static str {
        match self {
            ScreenName::Live => "live",
            ScreenName::Health => "health",
            ScreenName::Counters => "counters",
        }
    }

    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            ScreenName::Live => "Live",
            ScreenName::Health => "Health",
            ScreenName::Counters => "Counters",
        }
    }
}

impl Fragment {
    /// A fragment out of its template.
    ///
    /// # Errors
    /// When the template cannot be filled, which a string never refuses.
    pub fn new(id: &str, class: &str, content: &impl Template) -> Result<Self, askama::Error> {
        Ok(Fragment {
            id: id.to_owned(),
            class: class.to_owned(),
            html: content.render()?,
            parts: None,
        })
    }
}

impl Screen {
    /// True if a rendering would be newer by at least [`RENDER_EVERY`].
    pub fn is_old(&self, now: Instant) -> bool {
        self.rendered
            .is_none_or(|rendered| now.saturating_duration_since(rendered) >= RENDER_EVERY)
    }

    /// Takes fragments over that were rendered at that time; those that changed get the next version.
    pub fn take(&mut self, fragments: Vec<Fragment>, at: Timestamp) {
        self.rendered = Some(Instant::now());
        // The first version is the time in milliseconds, and each later one is larger by one at most
        // five times a second: a viewer of an earlier run has a smaller version, and gets everything.
        let first = u64::try_from(at.as_millisecond()).unwrap_or(1).max(1);
        let next = (self.version + 1).max(if self.version == 0 { first } else { 0 });
        let before = std::mem::take(&mut self.fragments);
        for fragment in fragments {
            let same = before.iter().find(|(_, known)| *known == fragment);
            let version = same.map_or(next, |(version, _)| *version);
            self.version = self.version.max(version);
            self.fragments.push((version, fragment));
        }
    }

    /// What changed after `since`; everything for a viewer who has a version that never was.
    pub fn update<'a>(&'a self, since: u64, build: &'a str) -> Update<'a> {
        let since = if since > self.version { 0 } else { since };
        let changed = self
            .fragments
            .iter()
            .filter(|(version, _)| *version > since);
        Update {
            version: self.version,
            build,
            fragments: changed.map(|(_, fragment)| fragment).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(id: &str, html: &str) -> Fragment {
        Fragment {
            id: id.to_owned(),
            class: String::new(),
            html: html.to_owned(),
            parts: None,
        }
    }

    #[test]
    fn a_viewer_gets_what_changed_since_its_version_and_the_newest_alone() {
        let mut screen = Screen::default();
        let at = Timestamp::from_millisecond(1000).expect("in range");
        let ids = |screen: &Screen, since| -> Vec<String> {
            let update = screen.update(since, "");
            update
                .fragments
                .iter()
                .map(|found| found.html.clone())
                .collect()
        };

        screen.take(vec![fragment("bar", "a"), fragment("top", "1")], at);
        let first = screen.update(0, "").version;
        assert_eq!(first, 1000);
        assert_eq!(ids(&screen, 0), ["a", "1"]);
        screen.take(vec![fragment("bar", "a"), fragment("top", "2")], at);
        screen.take(vec![fragment("bar", "a"), fragment("top", "3")], at);
        assert_eq!(ids(&screen, first), ["3"], "2 was never shown");
        assert!(ids(&screen, first + 2).is_empty());
        screen.take(vec![fragment("bar", "a"), fragment("top", "3")], at);
        assert_eq!(screen.update(0, "").version, first + 2, "nothing changed");
        assert_eq!(
            ids(&screen, u64::MAX),
            ["a", "3"],
            "a version that never was"
        );
    }
}
