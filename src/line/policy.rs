//! The line's answers to the store: how a part is judged, what its result says, and what the gate hears.

use crate::data::part::Part;
use crate::data::part_counts::PartCounts;
use crate::data::report::{DecisionPolicy, Report};
use crate::data::shown_part::ShownPicture;
use crate::line::control::LineControl;
use crate::line::events::Watchers;
use crate::line::evidence::EvidenceSender;
use crate::line::misses::TriggerMisses;
use crate::line::shared::{NewestFrames, Shared};
use crate::line::views::ViewJoiner;
use crate::protocol::birth::Identity;
use crate::protocol::reject::reject;
use crate::protocol::result::{self, ResultRow};
use crate::store::{KeyValue, Reject, ResultPolicy};
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};

/// The policy of a line; its `control` decides, its `views` know what other cameras saw.
pub struct LinePolicy {
    /// Thresholds and challenges.
    control: LineControl,
    /// Views of parts that several cameras see.
    views: Arc<Mutex<ViewJoiner>>,
    /// Triggers without a frame.
    misses: TriggerMisses,
    /// Pictures of parts that the inspector has not seen; `None` where none are kept.
    evidence: Option<EvidenceSender>,
    /// The cameras' newest frames.
    newest: NewestFrames,
    /// The names that results carry.
    identity: Identity,
    /// Told of every result that is committed.
    watchers: Watchers,
    /// Counts every result that is committed.
    part_counts: Arc<PartCounts>,
    /// True when the gate is told of each rejected part (`mqtt.timed_reject`).
    timed_reject: bool,
}

impl LinePolicy {
    /// The policy of a line; `evidence` takes the parts that are kept, `timed_reject` says whether the gate is told.
    pub fn new(
        shared: &Shared,
        evidence: Option<EvidenceSender>,
        watchers: Watchers,
        timed_reject: bool,
    ) -> Self {
        LinePolicy {
            control: shared.control.clone(),
            views: shared.views.clone(),
            misses: TriggerMisses::new(shared),
            evidence,
            newest: shared.newest_frames.clone(),
            identity: shared.identity(),
            watchers,
            part_counts: shared.part_counts.clone(),
            timed_reject,
        }
    }

    /// The picture that stands for a part of which none came.
    fn newest_of(&self, camera: &Arc<str>) -> ShownPicture {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.get(camera) {
            Some(frame) => ShownPicture::Earlier(frame.picture.clone(), frame.captured_at),
            None => ShownPicture::Missing,
        }
    }
}

impl ResultPolicy for LinePolicy {
    fn policy_for(&self, part: &Part) -> DecisionPolicy {
        self.control.policy_for(part.request.region.as_deref())
    }

    fn at_deadline(&self, undecided: Report) -> Report {
        let undecided = self.misses.explain(undecided);
        self.views
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join_at_deadline(undecided)
    }

    fn on_result(&self, report: &Report) -> Vec<KeyValue> {
        self.misses.note(report);
        if let Some(evidence) = &self.evidence {
            evidence.offer_unseen(report, |camera| self.newest_of(camera));
        }

        self.control.on_result(report)
    }

    fn on_released(&self, row: &ResultRow) {
        self.part_counts.enter(row, Timestamp::now());
        self.watchers.tell(row);
    }

    fn encode(&self, report: &Report) -> ResultRow {
        result::row(report, &self.identity)
    }

    fn reject_message(&self, report: &Report) -> Option<Reject> {
        if !self.timed_reject {
            return None;
        }

        reject(report, &self.identity)
    }
}
