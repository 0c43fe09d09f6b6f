//! A camera that has drifted from what it was taught is told by the line's health, and by the log.

use crate::base::health::Health;
use crate::data::report::Report;
use crate::data::verdict::Verdict;
use crate::line::control::DRIFT_OF;
use crate::line::lens::{CameraLens, PassedPicture};
use crate::line::shared::Shared;
use crate::recipe::drift::{DriftLimits, DriftWatch, PassedPart};
use crate::recipe::quality::Measures;
use std::sync::Arc;

/// The last passed parts of a camera, and whether it was told that they have drifted.
pub struct CameraDrift {
    /// Source of the diagnostics.
    source: String,
    /// The camera.
    name: Arc<str>,
    watch: DriftWatch,
    /// The same parts, for people.
    lens: CameraLens,
    is_told: bool,
}

impl CameraDrift {
    /// Of the camera of that name.
    pub fn new(camera: &Arc<str>) -> Self {
        CameraDrift {
            source: format!("{DRIFT_OF}{camera}"),
            name: camera.clone(),
            lens: CameraLens::default(),
            watch: DriftWatch::default(),
            is_told: false,
        }
    }

    /// Forgets all parts: another recipe judges.
    pub fn begin(&mut self, shared: &Shared) {
        let name = &self.name;

        shared
            .cleanings
            .cut(Some(name), "another recipe judges now");
        self.forget(shared);
    }

    fn forget(&mut self, shared: &Shared) {
        shared.diagnostics.clear(&self.source);
        shared.lenses.forget(&self.name);
        self.watch = DriftWatch::default();
        self.lens = CameraLens::default();

        self.is_told = false;
    }

    /// Takes a passed part in, and tells what has changed with it.
    pub fn see(
        &mut self,
        limits: &DriftLimits,
        part: &PassedPart,
        picture: PassedPicture,
        shared: &Shared,
    ) {
        // A person has confirmed it with `reset`, or said that the lens was cleaned: parts of before say
        // nothing of it.
        let is_confirmed = self.is_told && !shared.diagnostics.any(|source| source == self.source);

        if shared.cleanings.takes_over(&self.name) || is_confirmed {
            self.forget(shared);
        }

        let has_changed = self.watch.see(limits, part);

        self.lens
            .see(&self.name, &self.watch, limits, part, picture, shared);

        if has_changed {
            self.tell(shared);
        }
    }

    /// Tells what is drift at the newest part.
    fn tell(&mut self, shared: &Shared) {
        let words: Vec<String> = self
            .watch
            .present()
            .iter()
            .map(ToString::to_string)
            .collect();
        self.is_told = !words.is_empty();

        if words.is_empty() {
            tracing::info!("{}: over", self.source);
            shared.diagnostics.clear(&self.source);

            return;
        }

        let words = words.join("; ");

        tracing::warn!("{}: {words}", self.source);
        shared.store.audit(format!("{}: {words}", self.source));
        shared
            .diagnostics
            .set(self.source.as_str(), Health::MaintenanceRequired, words);
    }
}

/// What the parts of one frame show that passed; `None` where none did. `regions` are the recipe's.
pub fn passed<'a>(
    reports: &'a [Report],
    regions: &[Option<Arc<str>>],
    size: (usize, usize),
    measures: &'a Measures,
) -> Option<PassedPart<'a>> {
    let mut maps = vec![];

    for report in reports {
        if report.verdict != Verdict::Pass {
            continue;
        }

        let region = &report.part.request.region;
        let number = regions.iter().position(|known| known == region);

        if let (Some(number), Some(map), Some(area)) = (number, &report.map, report.area) {
            maps.push((number, map, area));
        }
    }

    (!maps.is_empty()).then_some(PassedPart {
        size,
        measures,
        maps,
    })
}
