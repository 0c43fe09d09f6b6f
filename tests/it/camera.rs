//! Cameras against real pipelines, files and an RTSP server of our own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use winspect::base::backoff::Backoff;
use winspect::base::problems::Problems;
use winspect::base::stop::{Stopper, stop_pair};
use winspect::camera::{
    self, CameraError, CameraSettings, CameraState, CameraStatus, Sink, pipelines,
};
use winspect::data::frame::Frame;

/// All that a camera gave.
#[derive(Default)]
struct Seen {
    frames: Vec<Frame>,
    states: Vec<CameraState>,
    reasons: Vec<String>,
}

/// Stops the camera when `enough` says so, which is asked after every frame and change of state.
struct Collector<E> {
    seen: Seen,
    enough: E,
    /// Nothing after the stop.
    stopper: Arc<Mutex<Option<Stopper>>>,
}

impl<E: FnMut(&Seen) -> bool> Collector<E> {
    fn ask(&mut self) {
        if (self.enough)(&self.seen) {
            stop_now(&self.stopper);
        }
    }
}

impl<E: FnMut(&Seen) -> bool> Sink for Collector<E> {
    fn frame(&mut self, frame: Frame) {
        self.seen.frames.push(frame);
        self.ask();
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn status(&mut self, status: CameraStatus) {
        // A clock that was learned is told with the state that it already has.
        let is_of_clock = status.clock_offset.is_some();
        if !is_of_clock || self.seen.states.last() != Some(&status.state) {
            self.seen.states.push(status.state);
        }

        self.seen.reasons.extend(status.last_reason);
        self.ask();
    }
}

fn stop_now(stopper: &Mutex<Option<Stopper>>) {
    drop(
        stopper
            .lock()
            .expect("nobody panics while holding it")
            .take(),
    );
}

/// A camera that never gives enough is stopped then, and the test sees what it gave.
const PATIENCE: Duration = Duration::from_secs(60);

fn until_its_end(_: &Seen) -> bool {
    false
}

/// Checks, opens and watches a camera of these values until it ends or there is enough.
fn watched(
    kind: &str,
    values: &[(&str, &str)],
    enough: impl FnMut(&Seen) -> bool,
) -> (Seen, Result<(), CameraError>) {
    watched_as(settings(kind, values), enough)
}

fn settings(kind: &str, values: &[(&str, &str)]) -> CameraSettings {
    let values: BTreeMap<_, _> = values
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();

    CameraSettings {
        name: "top".into(),
        kind: kind.to_owned(),
        values,
        stall: Duration::from_secs(5),
        triggered: false,
        keeps_frames: false,
        needs_times: false,
        delay: Duration::ZERO,
        credentials: None,
    }
}

fn watched_as(
    mut settings: CameraSettings,
    enough: impl FnMut(&Seen) -> bool,
) -> (Seen, Result<(), CameraError>) {
    let mut problems = Problems::new();
    pipelines::check(&mut settings, Path::new("/"), "camera[0]", &mut problems);
    assert!(problems.is_empty(), "{problems}");
    let (stopper, stop) = stop_pair();
    let stopper = Arc::new(Mutex::new(Some(stopper)));
    let overdue = stopper.clone();
    std::thread::spawn(move || {
        std::thread::sleep(PATIENCE);
        stop_now(&overdue);
    });

    let mut collector = Collector {
        seen: Seen::default(),
        enough,
        stopper,
    };

    let backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
    let ended = camera::open(&settings).and_then(|mut source| {
        camera::supervise(source.as_mut(), "top", &stop, backoff, &mut collector)
    });

    (collector.seen, ended)
}

fn solid(path: &Path, grey: u8) {
    image::RgbImage::from_pixel(64, 48, image::Rgb([grey; 3]))
        .save(path)
        .expect("written");
}

#[test]
fn a_folder_is_played_once_in_natural_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["10.png", "2.png"] {
        solid(&folder.path().join(name), 7);
    }

    std::fs::write(folder.path().join("3.png"), b"no picture").expect("written");
    let location = folder.path().display().to_string();
    let (seen, ended) = watched(
        "folder",
        &[("location", &location), ("fps", "0")],
        until_its_end,
    );

    ended.expect("a finite source ends in order");
    let parts: Vec<_> = seen
        .frames
        .iter()
        .filter_map(|f| f.part_id.as_deref())
        .collect();

    // The file that is no picture is a part all the same, which nothing judges.
    assert_eq!(parts, ["2.png", "3.png", "10.png"]);
    let damaged: Vec<bool> = seen.frames.iter().map(|f| f.damage.is_some()).collect();
    assert_eq!(damaged, [false, true, false]);
    assert_eq!(seen.states, [CameraState::Online, CameraState::Disabled]);
}

#[cfg(feature = "gstreamer")]
mod gstreamer {
    use super::*;
    use crate::harness::broker::Broker;
    use crate::harness::golden::{golden, imported, runtime};
    use crate::harness::json;
    use crate::harness::line::{assert_refused, run_to_its_end, write_line};
    use crate::harness::program::winspect;
    use crate::harness::stream::{Route, live_kind_of, recorded};
    use std::process::Command;
    use std::time::Instant;
    use winspect::data::frame::CapturedBy;
    use winspect::engine::onnx::OnnxEncoder;
    use winspect::image::file as image_file;
    use winspect::winclip::{Inspector, Recipe};

    /// A plant's own pipeline file; its path is the kind.
    fn own_pipeline(folder: &Path, live: bool, launch: &str) -> String {
        let path = folder.join("own.toml");
        std::fs::write(
            &path,
            format!("live = {live}\nendless = {live}\nlaunch = {launch:?}\n"),
        )
        .expect("written");

        path.display().to_string()
    }

    /// An H.264 video of so many frames, with B-frames, so that they are decoded in another order than shown.
    fn record(file: &Path, frames: u32) {
        let launch = format!(
            "videotestsrc num-buffers={frames} ! video/x-raw,width=64,height=48,framerate=30/1 ! x264enc bframes=2 \
             ! matroskamux ! filesink location={}",
            file.display()
        );

        let made = Command::new("gst-launch-1.0")
            .args(launch.split_whitespace())
            .output();

        assert!(
            made.expect("tools/setup installs gst-launch-1.0")
                .status
                .success()
        );
    }

    #[test]
    fn frames_that_the_decoder_lacked_data_for_are_marked() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Packets are lost on the way, as from a network camera over UDP.
        let launch = "videotestsrc is-live=true pattern=ball num-buffers=60 ! video/x-raw,width=320,height=240,framerate=30/1 \
                      ! x264enc key-int-max=30 tune=zerolatency ! rtph264pay mtu=400 ! identity drop-probability=0.05 \
                      ! rtpjitterbuffer latency=50 do-lost=true ! rtph264depay ! h264parse \
                      ! avdec_h264 max-threads=1 automatic-request-sync-points=true ! videoconvert";

        let (seen, ended) = watched(
            &own_pipeline(folder.path(), false, launch),
            &[],
            until_its_end,
        );

        ended.expect("it ends");
        let corrupt = seen
            .frames
            .iter()
            .filter(|frame| frame.damage.is_some())
            .count();
        assert!(corrupt > 0, "none of {} frames", seen.frames.len());
    }

    /// One key frame for each connection, and a picture that is lost after a second of it.
    #[test]
    fn a_camera_that_sends_no_key_frame_after_damage_is_opened_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let caps =
            "h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au";
        let mut stream = recorded(
            "x264enc tune=zerolatency key-int-max=1000 option-string=scenecut=0",
            caps,
        );
        stream.slow_down(8);
        stream.units.remove(4);
        let kind = live_kind_of(&stream, Route::Rtp("h264"), folder.path());
        let (seen, ended) = watched(&kind, &[], |seen| {
            seen.states.len() == 3 && seen.frames.last().is_some_and(|f| f.damage.is_none())
        });

        ended.expect("stopped with enough");
        let online = CameraState::Online;
        let states = [online, CameraState::Offline, online, CameraState::Disabled];
        assert_eq!(seen.states, states, "{:?}", seen.reasons);
        let said = &seen.reasons[0];
        assert!(said.starts_with("no picture was whole for 1"), "{said}");
        assert!(
            said.contains("reference pictures before it were lost"),
            "{said}"
        );
        let last = seen.frames.len() - 1;
        let damaged: Vec<bool> = seen.frames.iter().map(|f| f.damage.is_some()).collect();
        // Four whole pictures, ten seconds of blindness, and the first picture after them.
        assert_eq!(damaged[..4], [false; 4]);
        assert!(damaged[4..last].iter().all(|is_damaged| *is_damaged));
        assert!((30..=50).contains(&last), "{last} frames");
    }

    #[test]
    fn the_test_source_gives_whole_frames_although_rows_are_padded() {
        let values = [
            ("width", "322"),
            ("height", "241"),
            ("frames", "3"),
            ("fps", "100"),
            ("pattern", "white"),
        ];

        let (seen, ended) = watched("test", &values, until_its_end);
        ended.expect("it ends after its frames");
        assert!(!seen.frames.is_empty());
        for frame in &seen.frames {
            assert_eq!((frame.picture.width(), frame.picture.height()), (322, 241));
            assert!(
                frame.picture.rgb().iter().all(|v| *v >= 254),
                "white to the last row"
            );

            assert_eq!(frame.captured_by, CapturedBy::Arrival);
        }

        assert_eq!(seen.states, [CameraState::Online, CameraState::Disabled]);
    }

    #[test]
    fn frames_have_the_size_that_the_camera_has_now() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, width, height) in [("p0.png", 64, 48), ("p1.png", 33, 21)] {
            image::RgbImage::from_pixel(width, height, image::Rgb([200, 10, 10]))
                .save(folder.path().join(name))
                .expect("written");
        }

        let launch = format!(
            "multifilesrc location={}/p%d.png ! pngdec ! videoconvert",
            folder.path().display()
        );

        let (seen, ended) = watched(
            &own_pipeline(folder.path(), false, &launch),
            &[],
            until_its_end,
        );

        ended.expect("the pictures end");
        let sizes: Vec<_> = seen
            .frames
            .iter()
            .map(|f| (f.picture.width(), f.picture.height()))
            .collect();

        assert_eq!(sizes, [(64, 48), (33, 21)]);
        assert!(
            seen.frames
                .iter()
                .all(|f| f.picture.rgb().chunks(3).all(|rgb| rgb == [200, 10, 10]))
        );
    }

    #[test]
    fn an_offline_server_keeps_its_password_secret() {
        let gone = |seen: &Seen| seen.states.contains(&CameraState::Offline);
        let (seen, ended) = watched(
            "rtsp",
            &[("location", "rtsp://me:secret@127.0.0.1:9/x")],
            gone,
        );

        ended.expect("stopped at the first report");
        assert_eq!(seen.states, [CameraState::Offline, CameraState::Disabled]);
        assert!(
            seen.reasons.iter().all(|said| !said.contains("secret")),
            "{:?}",
            seen.reasons
        );
    }

    #[test]
    fn a_triggered_camera_is_idle_while_the_line_stands() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let launch = "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=1/3 ! videoconvert";
        let own = settings(&own_pipeline(folder.path(), true, launch), &[]);
        let triggered = CameraSettings {
            triggered: true,
            keeps_frames: true,
            needs_times: true,
            stall: Duration::from_millis(500),
            ..own
        };

        // The first frame may take longer than the stall time.
        let (seen, ended) = watched_as(triggered, |seen| seen.states.len() >= 4);
        ended.expect("stopped with enough");
        let [first, rest @ ..] = &seen.states[..] else {
            panic!("no state")
        };

        assert_eq!(
            (first, &rest[..3]),
            (
                &CameraState::Online,
                &[CameraState::Idle, CameraState::Online, CameraState::Idle][..]
            )
        );

        assert!(seen.reasons.is_empty(), "{:?}", seen.reasons);
    }

    #[test]
    fn a_frame_is_captured_its_delay_before_it_arrives() {
        let settings = settings("test", &[("frames", "2"), ("fps", "20")]);
        let (seen, ended) = watched_as(
            CameraSettings {
                delay: Duration::from_secs(3),
                ..settings
            },
            until_its_end,
        );

        ended.expect("it ends");
        for frame in seen.frames {
            let captured = jiff::Timestamp::now()
                .duration_since(frame.captured_at)
                .as_millis();

            let before = captured - frame.arrived.elapsed().as_millis() as i128;
            assert!(before.abs_diff(3000) < 50, "{before} ms before it arrived");
        }
    }

    #[test]
    fn frames_wait_while_their_reader_is_held_up_where_any_may_be_a_parts() {
        let mut back = None;
        let settings = settings("test", &[("fps", "30")]);
        let (seen, ended) = watched_as(
            CameraSettings {
                keeps_frames: true,
                needs_times: true,
                ..settings
            },
            |seen| {
                if seen.frames.len() == 5 {
                    std::thread::sleep(Duration::from_millis(600));
                    back = Some(Instant::now());
                }

                seen.frames.len() >= 20
            },
        );

        ended.expect("stopped with enough");
        let back = back.expect("held up once");
        // They have the time at which they came, not that at which they were read.
        let waited = seen.frames.iter().skip(5).filter(|f| f.arrived < back);
        let waited = waited.count();
        assert!((4..=9).contains(&waited), "{waited}");
        let arrived: Vec<_> = seen.frames.iter().map(|f| f.arrived).collect();
        assert!(arrived.is_sorted(), "{arrived:?}");
    }

    #[test]
    fn a_stamped_frame_is_captured_when_its_stamp_says() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let kind = own_pipeline(
            folder.path(),
            true,
            "videotestsrc is-live=true num-buffers=3 ! video/x-raw,width=64,height=48,framerate=2/1 \
             ! identity sleep-time=300000",
        );

        let text = std::fs::read_to_string(&kind)
            .expect("just written")
            .replace("endless = true", "endless = false");

        std::fs::write(&kind, format!("stamped = true\n{text}")).expect("written");
        let delay = Duration::from_secs(3);
        let (seen, ended) = watched_as(
            CameraSettings {
                delay,
                ..settings(&kind, &[])
            },
            until_its_end,
        );

        ended.expect("it ends");
        assert!(!seen.frames.is_empty());
        for frame in seen.frames {
            let captured = jiff::Timestamp::now()
                .duration_since(frame.captured_at)
                .as_millis();

            let before = captured - frame.arrived.elapsed().as_millis() as i128;
            assert_eq!(frame.captured_by, CapturedBy::Sender);
            assert!(before.abs_diff(300) < 100, "{before} ms before it arrived");
        }
    }

    /// One picture in every format that cameras send, both standards and ranges: the same colours. A wrong range would
    /// be 16 grey levels away, a wrong matrix 10.
    #[test]
    fn every_format_and_range_gives_the_same_picture() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let shot = |pattern: &str, caps: &str| {
            let launch = format!(
                "videotestsrc pattern={pattern} num-buffers=1 ! video/x-raw,format=RGB,width=320,height=240 \
                 ! videoconvert ! {caps} ! videoconvert"
            );

            let (mut seen, ended) = watched(
                &own_pipeline(folder.path(), false, &launch),
                &[],
                until_its_end,
            );

            ended.expect("it ends");
            seen.frames.remove(0).picture
        };

        // Mean, in grey levels: at the edges of colours, subsampled chroma differs.
        let apart = |pattern: &str, caps: &str| {
            let (plain, got) = (shot(pattern, "video/x-raw,format=RGB"), shot(pattern, caps));
            let sum: u64 = plain
                .rgb()
                .iter()
                .zip(got.rgb())
                .map(|(a, b)| u64::from(a.abs_diff(*b)))
                .sum();

            sum as f64 / plain.rgb().len() as f64
        };

        // SD and HD with video range, and both with full range (MJPEG).
        for colour in ["bt601", "bt709", "1:4:5:1", "1:3:5:1"] {
            for format in ["YUY2", "UYVY", "NV12", "NV21", "I420", "Y42B", "Y444"] {
                let found = apart(
                    "smpte75",
                    &format!("video/x-raw,format={format},colorimetry={colour}"),
                );

                assert!(
                    found < 4.0,
                    "{format} {colour}: {found:.2} grey levels apart"
                );
            }
        }

        for (format, pattern) in [
            ("BGRx", "smpte75"),
            ("RGB16", "smpte75"),
            ("GRAY8", "gradient"),
            ("GRAY16_LE", "gradient"),
        ] {
            let found = apart(pattern, &format!("video/x-raw,format={format}"));
            assert!(found < 4.0, "{format}: {found:.2} grey levels apart");
        }
    }

    /// A good part and a broken one in every format, standard and range: the verdict of the picture itself, by a threshold in
    /// the middle between the two; scores within 0.02.
    #[test]
    fn every_format_and_range_gets_the_same_verdict() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (_guard, model) = imported("dinov2-tiny");
        let file = |name: &str| golden("open-clip-tiny").join(format!("{name}.png"));
        let references =
            ["good_a", "good_b"].map(|name| image_file::read(&file(name)).expect("golden"));

        let recipe = Recipe {
            input_px: Some(70),
            block: Some(4),
            ..Recipe::new(None)
        };

        let plan = recipe.encode_plan(&model.spec, true).expect("fits");
        let encoder = Box::new(OnnxEncoder::open(&runtime(), &model, &plan).expect("opens"));
        let mut inspector = Inspector::prepare(
            &recipe,
            &model.spec,
            &plan,
            encoder,
            None,
            &references,
            &mut |_, _| (),
        )
        .expect("prepares");

        let mut score = |name: &str, caps: &str| {
            let launch = format!(
                "filesrc location={} ! pngdec ! videoconvert ! video/x-raw,format=RGB ! videoconvert ! {caps} ! videoconvert",
                file(name).display()
            );

            let (mut seen, ended) = watched(
                &own_pipeline(folder.path(), false, &launch),
                &[],
                until_its_end,
            );

            ended.expect("it ends");
            inspector
                .inspect(&seen.frames.remove(0).picture)
                .expect("judged")[0]
                .score
        };

        let own = ["good_c", "bad"].map(|name| score(name, "video/x-raw,format=RGB"));
        let threshold = (own[0] + own[1]) / 2.0;
        assert!(own[0] < threshold && threshold < own[1], "{own:?}");
        for colour in ["bt601", "bt709", "1:4:5:1", "1:3:5:1"] {
            for format in ["YUY2", "UYVY", "NV12", "NV21", "I420", "Y42B", "Y444"] {
                let caps = format!("video/x-raw,format={format},colorimetry={colour}");
                let [good, bad] = ["good_c", "bad"].map(|name| score(name, &caps));
                let off = (good - own[0]).abs().max((bad - own[1]).abs());
                assert!(
                    off < 0.02,
                    "{caps}: scores {good} and {bad} instead of {own:?}"
                );

                assert!(
                    good < threshold && threshold < bad,
                    "{caps}: {good} and {bad}, threshold {threshold}"
                );
            }
        }
    }

    /// What we convert ourselves beside GStreamer's own conversion of the same frame: every standard, range, place of
    /// chroma and odd size. In video range GStreamer's is up to 3 levels too dark; of I420 it repeats chroma instead of
    /// interpolating it, so that I420 is held against our NV12.
    #[test]
    fn our_conversion_to_rgb_is_gstreamers() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let shot = |caps: &str, theirs: &str| {
            let launch = format!(
                "videotestsrc pattern=smpte75 num-buffers=1 ! video/x-raw,{caps} ! videoconvert dither=none {theirs}"
            );

            let (mut seen, ended) = watched(
                &own_pipeline(folder.path(), false, &launch),
                &[],
                until_its_end,
            );

            ended.expect("it ends");
            seen.frames.remove(0).picture
        };

        for colour in ["bt601", "bt709", "bt2020", "1:4:5:1", "1:3:5:1"] {
            for site in ["jpeg", "mpeg2", "cosited"] {
                for size in ["width=320,height=240", "width=67,height=35"] {
                    let caps =
                        format!("format=NV12,{size},colorimetry={colour},chroma-site={site}");

                    let (ours, theirs) = (
                        shot(&caps, ""),
                        shot(&caps, "! video/x-raw,format=RGB ! identity"),
                    );

                    let apart = ours
                        .rgb()
                        .iter()
                        .zip(theirs.rgb())
                        .map(|(a, b)| a.abs_diff(*b))
                        .max();

                    assert!(apart <= Some(6), "{caps}: {apart:?} grey levels apart");
                    assert_eq!(shot(&caps.replace("NV12", "I420"), ""), ours, "{caps}");
                }
            }
        }
    }

    #[test]
    fn interlaced_pictures_are_refused_by_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let launch = "videotestsrc num-buffers=9 ! video/x-raw,width=64,height=48,framerate=30/1 ! interlace ! videoconvert";
        let (_, ended) = watched(
            &own_pipeline(folder.path(), false, launch),
            &[],
            until_its_end,
        );

        let said = ended.expect_err("two moments in one picture").to_string();
        assert!(
            said.contains("interlaced") && said.contains("deinterlace"),
            "{said}"
        );
    }

    /// The kinds whose hardware no test machine has: their pipelines are read, and what is missing is named.
    #[test]
    fn kinds_without_their_hardware_say_what_is_missing() {
        let size = [("width", "640"), ("height", "480")];
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);
        let cases: [Case; 5] = [
            ("v4l2", &size, &["/dev/video0"]),
            ("v4l2-mjpeg", &size, &["/dev/video0"]),
            (
                "csi",
                &[],
                &["nvarguscamerasrc", "JetPack", "no such device"],
            ),
            (
                "genicam",
                &[("camera", "Nobody-1")],
                &["Nobody-1", "libaravis-0.8-0"],
            ),
            (
                "genicam-bayer",
                &[("camera", "Nobody-1")],
                &["Nobody-1", "libaravis-0.8-0"],
            ),
        ];

        for (kind, values, words) in cases {
            let (seen, ended) = watched(kind, values, |seen| !seen.reasons.is_empty());
            let said = ended
                .err()
                .map_or_else(|| seen.reasons.join("\n"), |error| error.to_string());

            assert!(
                words.iter().any(|word| said.contains(word)),
                "{kind}: {said}"
            );
        }
    }

    #[test]
    fn every_frame_of_a_video_file_is_judged() {
        let (folder, _model) = imported("dinov2-tiny");
        record(&folder.path().join("video.mkv"), 30);
        let broker = Broker::anywhere();
        let camera = "kind = \"file\"\nlocation = \"video.mkv\"\nrealtime = \"false\"";
        write_line(folder.path(), broker.port, camera);
        let summary = run_to_its_end(folder.path());
        let top = &summary["cameras"]["top"];
        assert_eq!(top["captured"], 30, "{summary}");
        assert_eq!(top["judged"], 30, "{summary}");
        assert_eq!(summary["balanced"], true, "{summary}");
        assert_eq!(summary["acknowledged"], 30, "{summary}");
    }

    #[test]
    fn the_bench_of_cameras_accounts_for_every_frame() {
        let words = "bench cameras --cameras 3 --fps 20 --seconds 1 --width 64 --height 48";
        let output = winspect().args(words.split(' ')).output().expect("runs");
        let said = json(&String::from_utf8_lossy(&output.stdout));
        let count = |key: &str| {
            said[key]
                .as_u64()
                .unwrap_or_else(|| panic!("{key} in {said}"))
        };

        assert_eq!(
            (count("sent"), &said["balanced"]),
            (60, &true.into()),
            "{said}"
        );

        assert_eq!(count("captured") + count("missed"), 60, "{said}");
        assert_eq!(
            count("judged") + count("replaced"),
            count("captured"),
            "{said}"
        );

        for stage in ["gstreamer", "camera", "put", "take", "pixels"] {
            let ms = said["cpu_ms"][stage].as_f64().expect("a number");
            // A frame of 64 x 48 pixels costs something, and far less than a second.
            assert!(ms > 0.0 && ms < 1000.0, "{stage} in {said}");
        }

        let wrong = winspect()
            .args(["bench", "cameras", "--format", "NV99"])
            .output();

        assert_eq!(wrong.expect("runs").status.code(), Some(64));
    }

    #[test]
    fn a_file_that_is_no_video_is_told_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("video.mkv");
        std::fs::write(&file, "no video").expect("written");
        let (seen, ended) = watched(
            "file",
            &[("location", &file.display().to_string())],
            until_its_end,
        );

        assert!(matches!(ended, Err(CameraError::Lost(_))), "{ended:?}");
        assert_eq!(seen.states, [CameraState::Offline]);
    }

    #[test]
    fn a_pipeline_that_cannot_work_is_refused_with_advice() {
        let (folder, _model) = imported("dinov2-tiny");
        let broker = Broker::anywhere();
        let cases = [
            (
                "videotestsrc ! nosuchelement",
                ["no element \"nosuchelement\"", "correct its name"],
            ),
            (
                "videotestsrc ! avdec_nosuch",
                [
                    "no element \"avdec_nosuch\"",
                    "Debian package gstreamer1.0-libav",
                ],
            ),
            (
                "videotestsrc ! ! videoconvert",
                ["syntax error", "videotestsrc ! ! videoconvert"],
            ),
            (
                "videotestsrc colour=red",
                ["no property \"colour\"", "videotestsrc colour=red"],
            ),
        ];

        for (launch, words) in cases {
            own_pipeline(folder.path(), true, launch);
            write_line(folder.path(), broker.port, "kind = \"own.toml\"");
            assert_refused(folder.path(), 78, &words);
        }
    }
}

#[cfg(feature = "conveyor")]
mod rtsp {
    use super::*;
    use crate::harness::broker::{Broker, free_port};
    use crate::harness::golden::imported;
    use crate::harness::line::{self, write_line};
    use crate::harness::plc::{Listener, publish};
    use crate::harness::program::Running;
    use jiff::Timestamp;
    use std::io::{BufRead, BufReader};
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};
    use winspect::data::frame::CapturedBy;

    /// `examples/conveyor.rs` on pictures of one grey each, which is their name.
    struct Conveyor {
        child: Child,
        url: String,
    }

    impl Drop for Conveyor {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    impl Conveyor {
        fn start(folder: &Path, port: u16) -> Self {
            Self::coded(folder, port, "h264")
        }

        /// A camera whose clock is so far ahead of ours.
        fn with_clock(folder: &Path, off_ms: i64) -> Self {
            Self::with(folder, 0, &["--clock-off-ms", &off_ms.to_string()])
        }

        fn coded(folder: &Path, port: u16, codec: &str) -> Self {
            Self::with(folder, port, &["--codec", codec])
        }

        fn with(folder: &Path, port: u16, arguments: &[&str]) -> Self {
            Self::shown_for(4, folder, port, arguments)
        }

        /// A camera that sees each picture in so many frames.
        fn shown_for(frames: u32, folder: &Path, port: u16, arguments: &[&str]) -> Self {
            let here = std::env::current_exe().expect("a test is a file");
            let program = here
                .parent()
                .and_then(Path::parent)
                .expect("target/<profile>/deps")
                .join("examples/conveyor");

            let mut child = Command::new(&program)
                .arg(pictures(folder))
                .args([
                    "--port",
                    &port.to_string(),
                    "--loop",
                    "--fps",
                    "20",
                    "--frames-per-picture",
                    &frames.to_string(),
                ])
                .args(arguments)
                .args(["--size", "64x48", "--schedule"])
                .arg(schedule(folder))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap_or_else(|error| {
                    panic!(
                        "{}: {error}; cargo build --example conveyor",
                        program.display()
                    )
                });

            let mut url = String::new();
            BufReader::new(child.stdout.take().expect("piped"))
                .read_line(&mut url)
                .expect("the URL");

            Conveyor {
                child,
                url: url.trim().to_owned(),
            }
        }
    }

    fn pictures(folder: &Path) -> PathBuf {
        let pictures = folder.join("pictures");
        if !pictures.exists() {
            std::fs::create_dir(&pictures).expect("made");
            [20, 60, 100, 140, 180, 220]
                .iter()
                .for_each(|grey| solid(&pictures.join(format!("{grey}.png")), *grey));
        }

        pictures
    }

    fn schedule(folder: &Path) -> PathBuf {
        folder.join("schedule.jsonl")
    }

    struct Shown {
        grey: u8,
        from: Timestamp,
        until: Timestamp,
    }

    fn shown(folder: &Path) -> Vec<Shown> {
        let text = std::fs::read_to_string(schedule(folder)).expect("the conveyor writes it");
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));

        let time = |value: &serde_json::Value| {
            value
                .as_str()
                .and_then(|s| s.parse().ok())
                .expect("RFC 3339")
        };

        let grey = |value: &serde_json::Value| {
            let stem = Path::new(value.as_str().expect("a path"))
                .file_stem()
                .expect("a name")
                .to_owned();

            stem.to_string_lossy().parse().expect("named by its grey")
        };

        lines
            .map(|v| Shown {
                grey: grey(&v["picture"]),
                from: time(&v["from"]),
                until: time(&v["until"]),
            })
            .collect()
    }

    #[test]
    fn an_rtsp_frame_is_captured_when_its_sender_says_so() {
        assert_times(0);
    }

    #[test]
    fn a_camera_whose_clock_is_off_is_timed_by_ours() {
        // Ahead, behind, and never set.
        for off_ms in [2000, -2000, -20_000_000_000] {
            assert_times(off_ms);
        }
    }

    /// Asserts that frames show what the camera showed at their time by our clock, whatever its own
    /// says.
    #[track_caller]
    fn assert_times(off_ms: i64) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let conveyor = Conveyor::with_clock(folder.path(), off_ms);
        // The first sender report comes within about 5 s.
        let sent = |seen: &Seen| {
            seen.frames
                .iter()
                .filter(|f| f.captured_by == CapturedBy::Sender)
                .count()
        };

        let (seen, ended) = watched("rtsp", &[("location", &conveyor.url)], |seen| {
            sent(seen) >= 60 || seen.frames.len() >= 400
        });

        ended.expect("stopped with enough");
        drop(conveyor);
        assert_eq!(sent(&seen), 60, "of {} frames", seen.frames.len());
        let shown = shown(folder.path());
        for frame in seen
            .frames
            .iter()
            .filter(|f| f.captured_by == CapturedBy::Sender)
        {
            let offset = frame.clock_offset.expect("its clock is known");
            let off = offset.as_millis() as i64 - off_ms;
            assert!(
                (-500..=5).contains(&off),
                "{off_ms} ms off, found {offset:?}"
            );
            // The quickest picture took so long on its way, which nothing but the truth can tell.
            let at = frame.captured_at + jiff::SignedDuration::from_millis(off);
            let named = shown.iter().find(|s| s.from <= at && at < s.until);
            let grey = named
                .unwrap_or_else(|| panic!("nothing was shown at {at}"))
                .grey;

            let found = frame.picture.rgb()[0];
            assert!(
                found.abs_diff(grey) <= 12,
                "at {at} {grey} was shown, the frame has {found}"
            );

            assert!(frame.decode.is_some());
        }
    }

    #[test]
    fn parts_of_a_camera_whose_clock_is_off_find_their_frames() {
        let (folder, _model) = imported("dinov2-tiny");
        let conveyor = Conveyor::with_clock(folder.path(), 2000);
        let broker = Broker::anywhere();
        let plc = Listener::station(broker.port);
        let camera = format!(
            "kind = \"rtsp\"\nlocation = {:?}\ntrigger = \"command\"\ndeadline_ms = 3000",
            conveyor.url
        );

        write_line(folder.path(), broker.port, &camera);
        let line = Running::line(folder.path());
        // Its clock is known with its first report.
        let status = plc.until_fits("camera/top/status", |status| {
            status["clock_offset_ms"].is_i64()
        });
        let off = status["clock_offset_ms"].as_i64().expect("a number");
        assert!((1500..=2010).contains(&off), "{status}");
        assert_eq!(status["state"], "online", "{status}");
        for number in 0..10 {
            let id = format!("{{\"id\":\"{number}\"}}");
            publish(broker.port, "cmd/trigger", &id, &[]);
            let result = plc.next("box/result");
            assert_eq!(result["captured_by"], "sender", "{result}");
            let offset = result["frame_offset_ms"].as_i64().expect("a number");
            assert!((-100..=100).contains(&offset), "{result}");
            std::thread::sleep(Duration::from_millis(100)); // the belt's own time: a frame serves one part
        }

        let metrics = plc.until_fits("box/metrics", |metrics| {
            metrics["cameras"]["top"].is_object()
        });
        assert!(
            metrics["cameras"]["top"]["clock_offset_ms"].is_i64(),
            "{metrics}"
        );
        line.summary();
    }

    /// Debian's library that moves the clock of one process.
    fn library_of_faketime() -> PathBuf {
        let folders = std::fs::read_dir("/usr/lib").expect("a folder");
        let libraries = folders.map_while(Result::ok).map(|folder| {
            let library = "faketime/libfaketime.so.1";
            folder.path().join(library)
        });

        let mut there = libraries.filter(|library| library.exists());
        there.next().expect("tools/setup installs faketime")
    }

    /// Sets the clock of the line: so many seconds ahead of ours.
    fn set_clock(folder: &Path, seconds: f64) {
        // The library reads the file again and again: it is never half written.
        let new = folder.join("clock.new");
        std::fs::write(&new, format!("{seconds:+}\n")).expect("written");
        std::fs::rename(new, folder.join("clock")).expect("renamed");
    }

    /// The grey that a result tells of: black, grey and white pictures differ by their flaws.
    fn grey_of(result: &serde_json::Value) -> Option<u8> {
        let detail = result["detail"].as_str().unwrap_or_default();
        match result["reason"].as_str() {
            None => Some(128),
            Some("bad_image") if detail.starts_with("black") => Some(0),
            Some("bad_image") if detail.starts_with("saturated") => Some(255),
            _ => None,
        }
    }

    #[test]
    fn verdicts_stay_about_their_parts_when_the_clock_of_the_line_is_set() {
        let (folder, _model) = imported("dinov2-tiny");
        let folder = folder.path();
        std::fs::create_dir(folder.join("pictures")).expect("made");
        for grey in [0, 128, 255] {
            solid(&folder.join(format!("pictures/{grey}.png")), grey);
        }

        let conveyor = Conveyor::shown_for(12, folder, 0, &[]);
        let broker = Broker::anywhere();
        let plc = Listener::station(broker.port);
        let camera = format!(
            "kind = \"rtsp\"\nlocation = {:?}\ntrigger = \"command\"\ndeadline_ms = 3000\nqueue = 64",
            conveyor.url
        );

        write_line(folder, broker.port, &camera);
        set_clock(folder, 0.0);
        let mut command = line::command(folder);
        command
            .env("LD_PRELOAD", library_of_faketime())
            .env("FAKETIME_TIMESTAMP_FILE", folder.join("clock"))
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");

        let line = Running::start(&mut command);
        plc.until_fits("camera/top/status", |status| {
            status["clock_offset_ms"].is_i64()
        });

        // Steps back bring the times of pictures that are still kept, to parts that are new.
        let steps = [0.0, -3.0, 0.0, -0.7, 0.0, -3600.0, 0.0];
        let mut sent = vec![];
        for seconds in steps {
            set_clock(folder, seconds);
            for _ in 0..25 {
                let id = format!("{{\"id\":\"{}\"}}", sent.len());
                let before = Timestamp::now();
                publish(broker.port, "cmd/trigger", &id, &[]);
                sent.push((before, Timestamp::now()));
                std::thread::sleep(Duration::from_millis(80)); // the belt's own time
            }
        }

        let results: Vec<_> = sent.iter().map(|_| plc.next("box/result")).collect();
        line.summary();
        drop(conveyor);
        let shown = shown(folder);
        let mut undecided = 0;
        for ((before, after), result) in sent.iter().zip(&results) {
            let Some(grey) = grey_of(result) else {
                assert_eq!(result["reason"], "camera_lost", "{result}");
                undecided += 1;
                continue;
            };

            // A picture counts as captured when the quickest one would have arrived, which is later.
            let from = *before - jiff::SignedDuration::from_millis(350);
            let until = *after + jiff::SignedDuration::from_millis(150);
            let mut seen = shown
                .iter()
                .filter(|shown| shown.from <= until && from < shown.until);

            let is_right = seen.any(|shown| shown.grey == grey);
            assert!(
                is_right,
                "{grey} is not what was seen at {before}: {result}"
            );
        }

        // Parts that came between a step and the next frame.
        assert!(
            undecided <= 3 * steps.len(),
            "{undecided} of {}",
            sent.len()
        );
    }

    #[test]
    fn h265_gives_the_pictures_that_h264_gives() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let greys = |codec: &str| {
            let conveyor = Conveyor::coded(folder.path(), 0, codec);
            let values = [("location", conveyor.url.as_str()), ("codec", codec)];
            let (seen, ended) = watched("rtsp", &values, |seen| seen.frames.len() >= 60);
            ended.expect("stopped with enough");
            assert!(
                seen.frames
                    .iter()
                    .all(|frame| frame.damage.is_none() && frame.decode.is_some()),
                "{codec}"
            );

            let means = seen.frames.iter().map(|frame| {
                let rgb = frame.picture.rgb();
                let mean = rgb.iter().map(|v| u64::from(*v)).sum::<u64>() / rgb.len() as u64;
                assert!(
                    rgb.iter().all(|v| u64::from(*v).abs_diff(mean) <= 3),
                    "{codec}: one grey each"
                );

                mean
            });

            means.collect::<std::collections::BTreeSet<_>>()
        };

        let (h264, h265) = (greys("h264"), greys("h265"));
        for (codec, found) in [("h264", &h264), ("h265", &h265)] {
            for grey in [20, 60, 100, 140, 180, 220] {
                assert!(
                    found.iter().any(|mean| mean.abs_diff(grey) <= 2),
                    "{codec}: no {grey} among {found:?}"
                );
            }
        }
    }

    #[test]
    fn a_server_that_comes_back_is_told_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let mut server = Some(Conveyor::start(folder.path(), port));
        let url = server.as_ref().expect("just started").url.clone();
        let (seen, ended) = watched("rtsp", &[("location", &url)], |seen| {
            match seen.states[..] {
                [CameraState::Online] if seen.frames.len() == 20 => server = None,
                [CameraState::Online, CameraState::Offline] => {
                    server = Some(Conveyor::start(folder.path(), port))
                }
                [
                    CameraState::Online,
                    CameraState::Offline,
                    CameraState::Online,
                ] => return seen.frames.len() >= 60,
                _ => {}
            }

            false
        });

        ended.expect("stopped with enough");
        assert_eq!(
            seen.states,
            [
                CameraState::Online,
                CameraState::Offline,
                CameraState::Online,
                CameraState::Disabled
            ],
            "{:?}",
            seen.reasons
        );
    }
}
