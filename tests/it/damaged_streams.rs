//! Coded streams with missing and wrong data, through a camera: no picture that differs from what was
//! sent goes on as whole, and no whole stream is doubted.

use crate::harness::broker::Broker;
use crate::harness::golden::imported;
use crate::harness::line::LineConfig;
use crate::harness::plc::Listener;
use crate::harness::program::Running;
use crate::harness::stream::{
    Coded, Outcome, Route, compared, kind_of, live_kind_of, played, recorded,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const H264_CAPS: &str =
    "h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au";
const H265_CAPS: &str =
    "h265parse config-interval=-1 ! video/x-h265,stream-format=byte-stream,alignment=au";

fn h264(options: &str) -> Coded {
    let encoder = format!("x264enc speed-preset=ultrafast {options}");
    recorded(&encoder, H264_CAPS)
}

fn h265(options: &str) -> Coded {
    let encoder = format!("x265enc speed-preset=ultrafast log-level=error {options}");
    recorded(&encoder, H265_CAPS)
}

fn mjpeg() -> Coded {
    recorded("jpegenc", "image/jpeg")
}

/// Names of H.264 streams, and the encoder's options.
const STREAMS: [(&str, &str); 10] = [
    ("one slice", "tune=zerolatency key-int-max=10"),
    (
        "four slices",
        "tune=zerolatency key-int-max=10 sliced-threads=true threads=4",
    ),
    (
        "slices of bytes",
        "tune=zerolatency key-int-max=10 option-string=slice-max-size=300",
    ),
    ("B-frames", "bframes=3 b-adapt=false key-int-max=15"),
    (
        "pyramid",
        "bframes=3 b-adapt=false b-pyramid=true key-int-max=15",
    ),
    (
        "intra refresh",
        "tune=zerolatency intra-refresh=true key-int-max=10",
    ),
    (
        "open GOP",
        "bframes=2 b-adapt=false key-int-max=10 option-string=open-gop=1",
    ),
    (
        "CABAC, B-frames",
        "cabac=true dct8x8=true bframes=2 key-int-max=20",
    ),
    ("CABAC", "tune=zerolatency cabac=true key-int-max=10"),
    ("intra only", "tune=zerolatency key-int-max=1"),
];

const H265_STREAMS: [(&str, &str); 3] = [
    ("H.265", "tune=zerolatency key-int-max=10"),
    ("H.265, B-frames", "key-int-max=12 option-string=bframes=3"),
    (
        "H.265, slices",
        "tune=zerolatency key-int-max=10 option-string=slices=3",
    ),
];

/// All frames of a whole stream, after a look that none is doubted.
fn undoubted(name: &str, stream: &Coded, route: Route) {
    let frames = played(stream, route);
    let doubted = frames.iter().find_map(|frame| frame.damage.clone());
    assert_eq!(doubted, None, "{name}");
    assert!(frames.len() >= 55, "{name}: {} frames", frames.len());
}

#[test]
fn whole_streams_are_never_doubted() {
    for (name, options) in STREAMS {
        let stream = h264(options);
        undoubted(name, &stream, Route::Rtp("h264"));
        undoubted(name, &stream, Route::Lengths("h264"));
    }

    for (name, options) in H265_STREAMS {
        let stream = h265(options);
        undoubted(name, &stream, Route::Rtp("h265"));
        undoubted(name, &stream, Route::Lengths("h265"));
    }

    undoubted("MJPEG", &mjpeg(), Route::Jpeg);
    undoubted("MJPEG", &mjpeg(), Route::JpegDecoder);
}

/// Temporal layers: every second picture is no reference, and a stage before the camera dropped them all.
#[test]
fn a_stream_without_its_upper_temporal_layer_is_whole() {
    let mut stream = h264("bframes=1 b-adapt=false key-int-max=20");
    let is_reference = |bytes: &[u8]| {
        let slice = bytes
            .windows(4)
            .find(|four| four[..3] == [0, 0, 1] && matches!(four[3] & 31, 1 | 5));

        slice.is_some_and(|four| four[3] & 0x60 != 0)
    };

    let before = stream.units.len();
    stream.units.retain(|unit| is_reference(&unit.bytes));
    assert!(stream.units.len() < before);
    let frames = played(&stream, Route::Rtp("h264"));
    assert!(frames.iter().all(|frame| frame.damage.is_none()));
    assert!(frames.len() >= 28, "{} frames", frames.len());
}

#[test]
fn a_stream_that_is_joined_in_its_middle_is_doubted_up_to_its_first_key_frame() {
    for (name, options) in STREAMS {
        let whole = h264(options);
        let mut cut = whole.clone();
        cut.units.drain(..7);
        let expected = played(&whole, Route::Rtp("h264"));
        let outcome = compared(played(&cut, Route::Rtp("h264")), &expected);
        assert_eq!(outcome.missed, 0, "{name}: {outcome:?}");
        assert!(outcome.whole >= 35, "{name}: {outcome:?}");
    }
}

/// Runs of each kind of damage. `WINSPECT_DAMAGE_RUNS` makes the figures of docs/reliability.md.
fn runs() -> u64 {
    let runs = std::env::var("WINSPECT_DAMAGE_RUNS").ok();
    runs.and_then(|runs| runs.parse().ok()).unwrap_or(3)
}

/// Units at the end of a stream that stay whole: they hold a key frame.
const SPARED: usize = 22;

/// The sum over all runs of a kind of damage. The last pictures of each run are whole again.
fn damaged(
    name: &str,
    whole: &Coded,
    route: Route,
    damage: impl Fn(&mut Coded, &mut StdRng),
) -> Outcome {
    let expected = played(whole, route);
    let mut sum = Outcome::default();
    for seed in 0..runs() {
        let mut stream = whole.clone();
        damage(&mut stream, &mut StdRng::seed_from_u64(seed));
        let frames = played(&stream, route);
        let last = frames.last().and_then(|frame| frame.damage.clone());
        assert_eq!(last, None, "{name}, run {seed}: after the damage");
        sum.add(compared(frames, &expected));
    }

    let Outcome {
        pictures,
        damaged,
        missed,
        far,
        flagged,
        ..
    } = sum;
    println!(
        "{name}: {pictures} pictures, {damaged} damaged, {flagged} flagged, {missed} missed, {far} of them far"
    );
    sum
}

fn lose_slices(is_h264: bool, stream: &mut Coded, random: &mut StdRng) {
    // Where nobody but the layout tells of a slice, the layout has to be known.
    let first = if is_h264 { 1 } else { 6 };
    let last = stream.units.len() - SPARED;
    for unit in &mut stream.units[first..last] {
        unit.retain_slices(is_h264, || !random.random_bool(0.03));
    }

    stream.units.retain(|unit| !unit.bytes.is_empty());
}

fn lose_pictures(stream: &mut Coded, random: &mut StdRng) {
    let last = stream.units.len() - SPARED;
    let mut at = 0;
    stream.units.retain(|_| {
        at += 1;
        at == 1 || at > last || !random.random_bool(0.05)
    });
}

/// One wrong byte in the slices of every twentieth unit.
fn spoil_bytes(is_h264: bool, stream: &mut Coded, random: &mut StdRng) {
    let last = stream.units.len() - SPARED;
    for unit in &mut stream.units[1..last] {
        let begin = unit.slices_begin(is_h264) + 6;
        if random.random_bool(0.05) && begin < unit.bytes.len() {
            let at = random.random_range(begin..unit.bytes.len());
            unit.bytes[at] ^= random.random_range(1..=255);
        }
    }
}

/// The streams that are damaged: one and four slices, B-frames, intra refresh, CABAC.
const DAMAGED: [usize; 6] = [0, 1, 3, 5, 7, 8];

#[test]
fn lost_slices_are_told() {
    for at in DAMAGED {
        let (name, options) = STREAMS[at];
        let name = format!("slices lost, {name}");
        let lose = |stream: &mut Coded, random: &mut StdRng| lose_slices(true, stream, random);
        let sum = damaged(&name, &h264(options), Route::Rtp("h264"), lose);
        assert_eq!(sum.missed, 0, "{name}: {sum:?}");
    }
}

#[test]
fn lost_pictures_are_told() {
    for at in DAMAGED {
        let (name, options) = STREAMS[at];
        let name = format!("pictures lost, {name}");
        let sum = damaged(&name, &h264(options), Route::Rtp("h264"), lose_pictures);
        assert_eq!(sum.missed, 0, "{name}: {sum:?}");
    }
}

/// Wrong bytes within a slice's data are found where they break its code. CABAC breaks at once; CAVLC may
/// go on with other values.
#[test]
fn wrong_bytes_are_told() {
    for at in DAMAGED {
        let (name, options) = STREAMS[at];
        let name = format!("bytes wrong, {name}");
        let spoil = |stream: &mut Coded, random: &mut StdRng| spoil_bytes(true, stream, random);
        let sum = damaged(&name, &h264(options), Route::Rtp("h264"), spoil);
        assert!(sum.flagged > 0, "{name}: {sum:?}");
        if options.contains("cabac=true") {
            assert_eq!(sum.far, 0, "{name}: {sum:?}");
        }
    }
}

#[test]
fn lost_slices_and_pictures_of_h265_are_told() {
    for (name, options) in H265_STREAMS {
        let lose = |stream: &mut Coded, random: &mut StdRng| lose_slices(false, stream, random);
        let stream = h265(options);
        let slices = format!("slices lost, {name}");
        let sum = damaged(&slices, &stream, Route::Rtp("h265"), lose);
        assert_eq!(sum.missed, 0, "{slices}: {sum:?}");
        let pictures = format!("pictures lost, {name}");
        let sum = damaged(&pictures, &stream, Route::Rtp("h265"), lose_pictures);
        assert_eq!(sum.missed, 0, "{pictures}: {sum:?}");
    }
}

/// FFmpeg's decoder of H.265 says nothing of wrong values (docs/bad-image.md); they end with a key frame.
#[test]
fn h265_is_whole_again_after_wrong_bytes() {
    for (name, options) in H265_STREAMS {
        let name = format!("bytes wrong, {name}");
        let spoil = |stream: &mut Coded, random: &mut StdRng| spoil_bytes(false, stream, random);
        let sum = damaged(&name, &h265(options), Route::Rtp("h265"), spoil);
        assert!(sum.whole > 0, "{name}: {sum:?}");
    }
}

/// Damage that is in no words and that no check finds is the line's to tell, before it happens.
#[test]
fn a_stream_in_which_some_damage_is_not_seen_is_told() {
    let cavlc = h264("tune=zerolatency cabac=false key-int-max=10");
    let cabac = h264("tune=zerolatency cabac=true key-int-max=10");
    let h265 = h265("tune=zerolatency key-int-max=10");
    for (mut stream, route, words) in [
        (cavlc, Route::Rtp("h264"), Some("H.264 with CAVLC")),
        (h265, Route::Rtp("h265"), Some("H.265")),
        (cabac, Route::Rtp("h264"), None),
    ] {
        let (folder, _model) = imported("dinov2-tiny");
        stream.slow_down(4);
        let kind = live_kind_of(&stream, route, folder.path());
        let broker = Broker::anywhere();
        let plc = Listener::station(broker.port);
        LineConfig::new(broker.port, &format!("kind = {kind:?}")).write(folder.path());
        let line = Running::line(folder.path());
        plc.until("box/camera/top/status", "state", "online");
        let state = plc.until_fits("box/state", |state| {
            words.is_none() || state["health"] == "MAINTENANCE_REQUIRED"
        });

        let told = state["causes"].to_string();
        let expected = words.map(|words| format!("stream of top: it sends {words}"));
        assert_eq!(
            told.contains("stream of top"),
            expected.is_some(),
            "{state}"
        );
        assert!(told.contains(expected.as_deref().unwrap_or("")), "{state}");
        line.summary();
    }
}

/// Takes out a part of the scan, and leaves the end marker.
fn lose_half(bytes: &mut Vec<u8>, random: &mut StdRng) {
    let scan = bytes.windows(2).position(|two| two == [0xff, 0xda]);
    let begin = scan.expect("a JPEG") + 20;
    let end = bytes.len() - 2;
    let from = random.random_range(begin..end - 100);
    bytes.drain(from..end);
}

#[test]
fn jpegs_that_lack_data_are_told_whoever_decodes_them() {
    let whole = mjpeg();
    for route in [Route::Jpeg, Route::JpegDecoder] {
        let expected = played(&whole, route);
        let mut stream = whole.clone();
        let mut random = StdRng::seed_from_u64(1);
        for unit in stream.units.iter_mut().step_by(3) {
            lose_half(&mut unit.bytes, &mut random);
        }

        let outcome = compared(played(&stream, route), &expected);
        assert_eq!((outcome.missed, outcome.flagged), (0, 20), "{outcome:?}");
        assert_eq!((outcome.pictures, outcome.whole), (60, 40), "{outcome:?}");
    }
}

#[test]
fn a_jpeg_without_any_picture_is_a_damaged_frame_and_not_a_lost_camera() {
    let mut stream = mjpeg();
    stream.units[5].bytes.truncate(40);
    stream.units[9].bytes[2..30].fill(0);
    let frames = played(&stream, Route::Jpeg);
    assert_eq!(frames.len(), 60);
    let damaged: Vec<usize> = frames
        .iter()
        .enumerate()
        .filter(|(_, frame)| frame.damage.is_some())
        .map(|(at, _)| at)
        .collect();

    assert_eq!(damaged, [5, 9]);
    assert_eq!(frames[5].picture.width(), 320);
}

/// Verdicts and details of a line whose camera plays the stream.
fn verdicts(stream: &Coded, route: Route) -> Vec<(String, String)> {
    let (folder, _model) = imported("dinov2-tiny");
    let kind = kind_of(stream, route, folder.path());
    let broker = Broker::anywhere();
    let listener = Listener::start(broker.port, "plant/box/result");
    let camera = format!("kind = {kind:?}\ndeadline_ms = 60000");
    let gate = "[recipe.bad_image]\nblurred = 0\nsaturated = 0\nblack = 0\nfrozen_frames = 0";
    LineConfig::new(broker.port, &camera)
        .tables(gate)
        .write(folder.path());

    let line = Running::line(folder.path());
    let mut told = vec![];
    for _ in 0..stream.units.len() {
        let result = listener.next("result");
        let word = |key: &str| result[key].as_str().unwrap_or_default().to_owned();
        let verdict = format!("{} {}", word("verdict"), word("reason"));
        told.push((verdict, word("detail")));
    }

    line.summary();
    told
}

#[test]
fn a_line_is_undecided_about_damaged_pictures_and_names_the_cause() {
    let mut stream = h264("tune=zerolatency key-int-max=10 sliced-threads=true threads=4");
    let mut slice = 0;
    stream.units[13].retain_slices(true, || {
        slice += 1;
        slice != 3
    });

    for (at, (verdict, detail)) in verdicts(&stream, Route::Rtp("h264")).iter().enumerate() {
        let is_damaged = (13..20).contains(&at);
        assert_eq!(
            verdict == "undecided bad_image",
            is_damaged,
            "{at}: {verdict} {detail}"
        );
        let is_first = detail.starts_with("corrupt: the slice from macroblock 200 on is missing");
        let is_later = detail.starts_with("corrupt: it follows a damaged picture");
        assert_eq!(
            (is_first, is_later),
            (at == 13, is_damaged && at > 13),
            "{detail}"
        );
    }

    let mut jpegs = mjpeg();
    lose_half(&mut jpegs.units[7].bytes, &mut StdRng::seed_from_u64(3));
    for (at, (verdict, detail)) in verdicts(&jpegs, Route::Jpeg).iter().enumerate() {
        assert_eq!(
            verdict == "undecided bad_image",
            at == 7,
            "{at}: {verdict} {detail}"
        );
        assert_eq!(
            detail.starts_with("corrupt: a damaged JPEG"),
            at == 7,
            "{detail}"
        );
    }
}
