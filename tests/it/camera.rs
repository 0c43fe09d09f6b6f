//! Cameras against real pipelines, files and an RTSP server of our own.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use winspect::base::backoff::Backoff;
use winspect::base::problems::Problems;
use winspect::base::stop::{Stop, Stopper, stop_pair};
use winspect::camera::{self, CameraError, Settings, Sink, State, Status, pipelines};
use winspect::frame::Frame;

/// Keeps what it is given; stops after so many frames or changes to `Offline`.
struct Collector {
    frames: Vec<Frame>,
    states: Vec<State>,
    reasons: Vec<String>,
    enough: usize,
    stopper: Option<Stopper>,
}

impl Collector {
    fn new(enough: usize) -> (Self, Stop) {
        let (stopper, stop) = stop_pair();
        (Collector { frames: vec![], states: vec![], reasons: vec![], enough, stopper: Some(stopper) }, stop)
    }

    fn sizes(&self) -> Vec<(usize, usize)> {
        self.frames.iter().map(|f| (f.picture.width(), f.picture.height())).collect()
    }
}

impl Sink for Collector {
    fn frame(&mut self, frame: Frame) {
        self.frames.push(frame);
        if self.frames.len() >= self.enough {
            self.stopper = None;
        }
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn status(&mut self, status: Status) {
        self.states.push(status.state);
        self.reasons.extend(status.last_reason);
        if status.state == State::Offline {
            self.stopper = None;
        }
    }
}

const FOREVER: usize = usize::MAX;

/// Checks, opens and watches a camera of these values until it ends or the collector has enough.
fn watched(kind: &str, values: &[(&str, &str)], enough: usize) -> (Collector, Result<(), CameraError>) {
    let values: BTreeMap<_, _> = values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let stall = Duration::from_secs(5);
    let mut settings = Settings { name: "top".into(), kind: kind.to_owned(), values, stall };
    let mut problems = Problems::new();
    pipelines::check(&mut settings, Path::new("/"), "camera[0]", &mut problems);
    assert!(problems.is_empty(), "{problems}");
    let (mut collector, stop) = Collector::new(enough);
    let backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
    let ended = camera::open(&settings)
        .and_then(|mut source| camera::watch(source.as_mut(), "top", &stop, backoff, &mut collector));
    (collector, ended)
}

fn own_pipeline(folder: &Path, text: &str) -> String {
    let path = folder.join("own.toml");
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

fn solid(path: &Path, grey: u8) {
    image::RgbImage::from_pixel(64, 48, image::Rgb([grey; 3])).save(path).expect("written");
}

#[test]
fn a_folder_is_played_once_in_natural_order_and_unreadable_pictures_are_left_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["10.png", "2.png"] {
        solid(&folder.path().join(name), 7);
    }
    std::fs::write(folder.path().join("3.png"), b"no picture").expect("written");
    let location = folder.path().display().to_string();
    let (seen, ended) = watched("folder", &[("location", &location), ("fps", "0")], FOREVER);
    ended.expect("a finite source ends in order");
    let parts: Vec<_> = seen.frames.iter().filter_map(|f| f.part_id.as_deref()).collect();
    assert_eq!(parts, ["2.png", "10.png"]);
    assert_eq!(seen.states, [State::Online, State::Disabled]);
}

#[cfg(feature = "gstreamer")]
mod gstreamer {
    use super::*;
    use winspect::frame::CapturedBy;

    #[test]
    fn the_test_source_gives_whole_frames_of_sizes_whose_rows_are_padded() {
        let values = [("width", "322"), ("height", "241"), ("frames", "3"), ("fps", "100"), ("pattern", "white")];
        let (seen, ended) = watched("test", &values, FOREVER);
        ended.expect("it ends after its frames");
        assert!(!seen.frames.is_empty());
        for frame in &seen.frames {
            assert_eq!((frame.picture.width(), frame.picture.height()), (322, 241));
            assert!(frame.picture.rgb().iter().all(|v| *v >= 254), "white to the last row");
            assert_eq!(frame.captured_by, CapturedBy::Arrival);
        }
        assert_eq!(seen.states, [State::Online, State::Disabled]);
    }

    #[test]
    fn descriptions_that_cannot_work_say_why_and_are_not_tried_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (launch, part) in [
            ("videotestsrc ! nosuchelement", "nosuchelement"),
            ("videotestsrc ! ! videoconvert", "syntax error"),
            ("videotestsrc colour=red", "colour"),
        ] {
            let kind = own_pipeline(folder.path(), &format!("live = true\nendless = true\nlaunch = {launch:?}\n"));
            let (_, ended) = watched(&kind, &[], 1);
            match ended {
                Err(CameraError::Pipeline(said)) => assert!(said.contains(part), "{part} in {said}"),
                other => panic!("{launch}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_camera_that_changes_its_size_gives_frames_of_the_new_size() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, width, height) in [("p0.png", 64, 48), ("p1.png", 33, 21)] {
            image::RgbImage::from_pixel(width, height, image::Rgb([200, 10, 10]))
                .save(folder.path().join(name))
                .expect("written");
        }
        let launch = format!("multifilesrc location={}/p%d.png ! pngdec ! videoconvert", folder.path().display());
        let kind = own_pipeline(folder.path(), &format!("live = false\nendless = false\nlaunch = {launch:?}\n"));
        let (seen, ended) = watched(&kind, &[], FOREVER);
        ended.expect("the pictures end");
        assert_eq!(seen.sizes(), [(64, 48), (33, 21)]);
        assert!(seen.frames.iter().all(|f| f.picture.rgb().chunks(3).all(|rgb| rgb == [200, 10, 10])));
    }

    #[test]
    fn a_video_file_gives_every_frame_and_ends() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("video.mkv").display().to_string();
        let record = format!(
            "videotestsrc num-buffers=30 ! video/x-raw,width=64,height=48 ! x264enc ! matroskamux ! filesink location={file}"
        );
        let made = std::process::Command::new("gst-launch-1.0").args(record.split(' ')).output();
        assert!(made.expect("gst-launch-1.0 is installed").status.success());
        let (seen, ended) = watched("file", &[("location", &file), ("realtime", "false")], FOREVER);
        ended.expect("a file ends in order");
        assert_eq!(seen.frames.len(), 30);
    }

    #[test]
    fn a_file_that_is_no_video_is_not_tried_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("text.mkv");
        std::fs::write(&file, "no video").expect("written");
        let (_, ended) = watched("file", &[("location", &file.display().to_string())], FOREVER);
        assert!(matches!(ended, Err(CameraError::Pipeline(_))), "{ended:?}");
    }

    #[test]
    fn a_server_that_is_not_there_is_offline_and_its_password_stays_secret() {
        let (seen, ended) = watched("rtsp", &[("location", "rtsp://me:secret@127.0.0.1:9/x")], FOREVER);
        ended.expect("stopped at the first report");
        assert_eq!(seen.states[0], State::Offline);
        assert!(seen.reasons.iter().all(|said| !said.contains("secret")), "{:?}", seen.reasons);
    }
}

#[cfg(feature = "conveyor")]
mod rtsp {
    use super::*;
    use jiff::Timestamp;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};
    use winspect::frame::CapturedBy;

    struct Conveyor(Child);

    impl Drop for Conveyor {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn conveyor(pictures: &Path, schedule: &Path) -> (Conveyor, String) {
        let here = std::env::current_exe().expect("a test is a file");
        let program = here.parent().and_then(Path::parent).expect("target/<profile>/deps").join("examples/conveyor");
        let mut child = Command::new(&program)
            .arg(pictures)
            .args(["--port", "0", "--loop", "--fps", "20", "--frames-per-picture", "4", "--size", "64x48"])
            .arg("--schedule")
            .arg(schedule)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; cargo build --example conveyor", program.display()));
        let mut url = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut url).expect("the URL");
        (Conveyor(child), url.trim().to_owned())
    }

    struct Shown {
        grey: u8,
        from: Timestamp,
        until: Timestamp,
    }

    fn shown(schedule: &Path) -> Vec<Shown> {
        let text = std::fs::read_to_string(schedule).expect("the conveyor writes it");
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let time = |value: &serde_json::Value| value.as_str().and_then(|s| s.parse().ok()).expect("RFC 3339");
        let grey = |value: &serde_json::Value| {
            let stem = Path::new(value.as_str().expect("a path")).file_stem().expect("a name").to_owned();
            stem.to_string_lossy().parse().expect("named by its grey")
        };
        lines.map(|v| Shown { grey: grey(&v["picture"]), from: time(&v["from"]), until: time(&v["until"]) }).collect()
    }

    #[test]
    fn an_rtsp_frame_is_captured_when_its_sender_says_so() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (pictures, schedule) = (folder.path().join("pictures"), folder.path().join("schedule.jsonl"));
        std::fs::create_dir(&pictures).expect("made");
        for grey in [20, 60, 100, 140, 180, 220] {
            solid(&pictures.join(format!("{grey}.png")), grey);
        }
        let (conveyor, url) = conveyor(&pictures, &schedule);
        // The first sender report comes within about 3 s.
        let (seen, ended) = watched("rtsp", &[("location", &url)], 200);
        ended.expect("stopped with enough");
        drop(conveyor);
        let shown = shown(&schedule);
        let sent: Vec<_> = seen.frames.iter().filter(|f| f.captured_by == CapturedBy::Sender).collect();
        assert!(sent.len() > 60, "{} of {} frames have their sender's time", sent.len(), seen.frames.len());
        for frame in sent {
            let at = frame.captured_at;
            let named = shown.iter().find(|s| s.from <= at && at < s.until);
            let grey = named.unwrap_or_else(|| panic!("nothing was shown at {at}")).grey;
            let found = frame.picture.rgb()[0];
            assert!(found.abs_diff(grey) <= 12, "at {at} {grey} was shown, the frame has {found}");
            assert!(frame.decode.is_some());
        }
    }
}
