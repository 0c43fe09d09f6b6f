//! The cameras of a line: each with its source, its trigger and its place in the queue of frames.

use crate::base::exit::{Exit, Failure};
use crate::camera::{self, CameraError, Source};
use crate::config::{CameraConfig, LineConfig};
use crate::line::admission::{Admission, CameraSink, PartSource};
use crate::line::camera_group::CameraGroup;
use crate::line::events::Events;
use crate::line::inspect::InspectedCamera;
use crate::line::live_settings::LiveSettings;
use crate::line::queue::{FrameSender, Overflow};
use crate::line::shared::Shared;
use crate::line::views::ViewJoiner;
use crate::trigger::Trigger;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A camera that can be started.
pub struct OpenCamera {
    /// The frames' origin.
    pub source: Box<dyn Source>,
    /// The frames' way into the line.
    pub sink: CameraSink,
    /// The parts that its frames become.
    parts: PartSource,
    /// True for a camera that drops frames instead of waiting for the inspector.
    is_live: bool,
}

/// Opens all cameras; none is started before all can be.
///
/// # Errors
/// When a camera's description cannot work.
pub fn open_cameras(
    config: &LineConfig,
    shared: &Shared,
    queue: Vec<FrameSender>,
    settings: &LiveSettings,
    events: &Events,
) -> Result<Vec<OpenCamera>, Failure> {
    let mut cameras = vec![];
    for (camera, frames) in config.cameras.iter().zip(queue) {
        // A kind that is unknown, or that needs a GStreamer which is not here, is a fault of the
        // configuration, told before the line starts. The pipeline is built later, by the camera's
        // thread.
        let source =
            camera::open(&camera.camera).map_err(|error| Failure::new(Exit::Config, error))?;

        let parts = PartSource {
            camera: camera.camera.name.clone(),
            timing: settings.timing_of(&camera.camera.name),
            control: shared.control.clone(),
        };

        let admission = Arc::new(Admission::new(
            shared,
            parts.clone(),
            &camera.trigger,
            frames,
        ));

        let sink = CameraSink::new(shared, admission, events.clone());
        cameras.push(OpenCamera {
            source,
            sink,
            parts,
            is_live: camera::is_live(&camera.camera),
        });
    }

    Ok(cameras)
}

/// Returns the way into the line of each camera, by its name.
pub fn admissions_of(cameras: &[OpenCamera]) -> BTreeMap<Arc<str>, Arc<Admission>> {
    let mut admissions = BTreeMap::new();
    for camera in cameras {
        let admission = &camera.sink.admission;
        admissions.insert(admission.camera.clone(), admission.clone());
    }

    admissions
}

/// Returns what the inspector needs to know of each camera, by its name.
pub fn inspected_cameras(cameras: &[OpenCamera]) -> HashMap<Arc<str>, InspectedCamera> {
    let mut inspected = HashMap::new();
    for camera in cameras {
        let name = camera.parts.camera.clone();
        let camera = InspectedCamera::new(camera.parts.clone(), camera.is_live);
        inspected.insert(name, camera);
    }

    inspected
}

/// Returns the cameras that wait for commands: alone, or in groups that share a name.
pub fn groups_of(config: &LineConfig, cameras: &[OpenCamera]) -> Vec<CameraGroup> {
    let mut groups: Vec<CameraGroup> = vec![];
    for (config, camera) in config.cameras.iter().zip(cameras) {
        if !matches!(config.trigger, Trigger::Command(_)) {
            continue;
        }

        let name: Arc<str> = match &config.join {
            Some(join) => join.as_str().into(),
            None => camera.parts.camera.clone(),
        };

        let admission = camera.sink.admission.clone();
        if let Some(group) = groups.iter_mut().find(|group| group.source.camera == name) {
            group.cameras.push(admission);
            group.requires_at |= config.requires_at;
            continue;
        }

        let parts = PartSource {
            camera: name,
            ..camera.parts.clone()
        };

        groups.push(CameraGroup {
            source: parts,
            cameras: vec![admission],
            requires_at: config.requires_at,
        });
    }

    groups
}

/// Returns the joiner of the views of all cameras that share a name.
pub fn joiner_of(config: &LineConfig) -> ViewJoiner {
    let mut groups: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
    for camera in &config.cameras {
        if let Some(join) = &camera.join {
            let group = groups.entry(join.as_str().into()).or_default();
            group.push(camera.camera.name.clone());
        }
    }

    ViewJoiner::new(groups)
}

/// Returns the effect of an inspector that is behind, for each camera.
pub fn overflows_of(config: &LineConfig) -> Vec<Overflow> {
    config.cameras.iter().map(overflow_of).collect()
}

fn overflow_of(camera: &CameraConfig) -> Overflow {
    match camera.trigger {
        Trigger::Continuous => Overflow::DropOldest,
        _ => Overflow::Refuse {
            capacity: camera.queue,
        },
    }
}

/// The end of a camera as the end of a line.
pub fn camera_failure(error: CameraError) -> Failure {
    match error {
        CameraError::Pipeline(_) => Failure::new(Exit::Config, error),
        // An endless source is tried again; a finite one cannot be read to its end.
        CameraError::Lost(_) | CameraError::Stalled(_) => Failure::new(Exit::Data, error),
    }
}
