//! A whole station that works: a broker, a line whose camera `top` is online, and a PLC that hears
//! all its messages.

use super::broker::Broker;
use super::golden::imported;
use super::line::LineConfig;
use super::plc::Listener;
use super::program::Running;
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

/// The station `plant/box`. It ends when it is dropped.
pub struct Station {
    /// `winspect run`.
    pub line: Running,
    /// Hears everything, and sends commands.
    pub plc: Listener,
    /// The broker between both.
    pub broker: Broker,
    /// Folder of the line, its model and its store.
    pub folder: TempDir,
}

impl Station {
    /// A station with nothing special but its camera.
    #[track_caller]
    pub fn start(camera: &str) -> Self {
        Self::configured(camera, |config, _| config)
    }

    /// A station whose configuration `change` has changed, for the line's folder.
    #[track_caller]
    pub fn configured(camera: &str, change: impl FnOnce(LineConfig, &Path) -> LineConfig) -> Self {
        Self::seeing(|_| camera.to_owned(), change)
    }

    /// As [`Station::configured`], with a camera that has files in the line's folder.
    #[track_caller]
    pub fn seeing(
        camera: impl FnOnce(&Path) -> String,
        change: impl FnOnce(LineConfig, &Path) -> LineConfig,
    ) -> Self {
        let (folder, _model) = imported("dinov2-tiny");
        let broker = Broker::anywhere();
        let plc = Listener::station(broker.port);
        let config = LineConfig::new(broker.port, &camera(folder.path()));
        change(config, folder.path()).write(folder.path());
        let line = Running::line(folder.path());
        plc.until("camera/top/status", "state", "online");
        Station {
            line,
            plc,
            broker,
            folder,
        }
    }

    /// A PLC that hears one topic of the station.
    #[track_caller]
    pub fn listen(&self, topic: &str) -> Listener {
        Listener::start(self.broker.port, &format!("plant/box/{topic}"))
    }

    /// Stops the line in order and starts it again; returns the summary of before and the birth of after too.
    #[track_caller]
    pub fn restarted(self) -> (Self, Value, Value) {
        let Station {
            line,
            plc,
            broker,
            folder,
        } = self;

        let summary = line.summary();
        let births = Listener::start(broker.port, "plant/box/birth");
        let before = births.next("box/birth")["run_id"].clone();
        let line = Running::line(folder.path());
        let birth = births.until_fits("box/birth", |birth| birth["run_id"] != before);
        let station = Station {
            line,
            plc,
            broker,
            folder,
        };

        (station, summary, birth)
    }

    /// Stops the line in order, and returns its summary.
    #[track_caller]
    pub fn summary(self) -> Value {
        self.line.summary()
    }
}
