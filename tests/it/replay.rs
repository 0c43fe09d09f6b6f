//! Stored parts judged again: the same bytes by the same recipe, and exactly the changed verdicts by another one.

use crate::harness::assert_said;
use crate::harness::broker::Broker;
use crate::harness::golden::imported;
use crate::harness::line::{LineConfig, all_arrived, run_to_its_end};
use crate::harness::program::winspect;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Output;
use winspect::data::picture::Picture;
use winspect::evidence::kept::{read, stems};
use winspect::image::overlay::png;

/// Number of parts of the line.
const PARTS: usize = 200;
/// Pictures of a run, each of which two cameras show.
const SHOWN: usize = 12;
/// Runs in which they come, at most.
const RUNS_MAX: usize = 60;
/// A line that keeps each part in `evidence`.
const EACH: &str = "[evidence]\nfolder = \"evidence\"\npass_every = 1";

/// Pictures that all differ: stripes, whose width and phase go with the number, over noise.
fn draw_pictures(folder: &Path, numbers: Range<usize>) {
    const WIDTH: usize = 96;
    const HEIGHT: usize = 72;
    let _ = fs::remove_dir_all(folder); // those of the run before
    fs::create_dir(folder).expect("made");

    for number in numbers {
        let mut noise = number as u32 + 1;
        let mut rgb = vec![];
        for place in 0..WIDTH * HEIGHT {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let stripe = (place % WIDTH + number) / (3 + number % 7) % 2 * 120;
            let value = (noise >> 26) as u8 + stripe as u8 + 30;
            rgb.extend([value, value, 255 - value]);
        }

        let picture = Picture::new(WIDTH, HEIGHT, rgb).expect("its bytes");
        let bytes = png::encode::<&str>(&picture, &[]);
        fs::write(folder.join(format!("{number:03}.png")), bytes).expect("written");
    }
}

fn replay(line: &Path, arguments: &[&str]) -> Output {
    let mut command = winspect();
    command.arg("replay").arg(line).args(arguments);
    command.output().expect("it runs")
}

fn rows(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let rows = text.lines().map(|line| serde_json::from_str(line));

    rows.collect::<Result<_, _>>().expect("rows of JSON")
}

fn words(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();

    (text(&output.stdout), text(&output.stderr))
}

/// A line that has judged and kept all of its pictures, several at once; and the folder of the evidence.
fn kept_line(folder: &Path) -> (PathBuf, PathBuf) {
    let broker = Broker::anywhere();
    let pictures = folder.join("pictures");
    let camera =
        format!("kind = \"folder\"\nlocation = {pictures:?}\nfps = 0\ndeadline_ms = 60000");

    // Two cameras show them, and a picture of each is judged at once.
    let line = LineConfig::new(broker.port, &camera)
        .camera("side", &camera)
        .mqtt("heatmaps = \"none\"")
        .head("batch = 4")
        .recipe("threshold = 0.3")
        .tables(EACH)
        .write(folder);

    // In several runs, and more on a busy machine: a folder of pictures comes faster than evidence is
    // written, and a line that ends waits for it 10 s.
    let evidence = folder.join("evidence");
    for run in 0..RUNS_MAX {
        draw_pictures(&pictures, run * SHOWN..(run + 1) * SHOWN);
        all_arrived(&run_to_its_end(folder));
        if stems(&evidence).expect("read").len() >= PARTS {
            break;
        }
    }

    (line, evidence)
}

#[test]
fn two_hundred_stored_parts_are_judged_again_bit_for_bit() {
    let (folder, _model) = imported("dinov2-tiny");
    let (line, evidence) = kept_line(folder.path());
    let mut stems = stems(&evidence).expect("read");
    assert!(stems.len() >= PARTS, "only {} were kept", stems.len());
    let stems = stems.split_off(stems.len() - PARTS);

    for recipe in [&[][..], &["--recipe", "as-judged"], &["--recipe", "nut"]] {
        let output = replay(&line, &[&["--json"], recipe].concat());
        let rows = rows(&output);
        let (_, told) = words(&output);
        assert!(output.status.success(), "{told}");
        assert_eq!(rows.len(), PARTS);
        assert!(rows.iter().all(|row| row["bytes"] == "same"), "{told}");
        assert_said(
            &told,
            &[
                "200 parts: 200 the same, 0 would pass that failed, 0 would fail that passed",
                "score and map of 200 of 200 are the same bit for bit",
            ],
        );
    }

    // Exactly those change whose score lies between both thresholds.
    let mut scores = vec![];
    let mut together = 0;
    for stem in &stems {
        let facts = read(&evidence, stem).expect("whole").facts;
        let part = format!("{}/{}/{}", facts.run_id, facts.camera, facts.seq);
        together = together.max(facts.judged_by.expect("said").batch.pictures);
        scores.push((part, facts.score.expect("scored")));
    }

    scores.sort_by(|a, b| a.1.total_cmp(&b.1));
    let threshold = scores[PARTS / 3].1;
    let between = |score: f32| (score < 0.3) != (score < threshold);
    let changed = scores.iter().filter(|(_, score)| between(*score));
    let changed: BTreeSet<String> = changed.map(|(part, _)| part.clone()).collect();
    assert!(!changed.is_empty(), "{scores:?}");
    assert!(together > 1, "no two pictures were judged at once");
    let (text, _) = words(&replay(&line, &["--threshold", &threshold.to_string()]));
    let named = text.lines().filter(|line| line.contains(" -> "));
    let named = named.map(|line| line.split([' ', ':']).next().expect("a part").to_owned());

    assert_eq!(named.collect::<BTreeSet<String>>(), changed, "{text}");

    // A last bit that differs is seen, of a score or of a map; and so is a damaged picture.
    let edit = |stem: &str, key: &str| {
        let file = evidence.join(format!("{stem}.json"));
        let text = fs::read_to_string(&file).expect("read");
        let mut facts: Value = serde_json::from_str(&text).expect("facts");
        let value = facts.pointer_mut(key).expect("there");
        let old = value.as_f64().expect("a number") as f32;
        *value = f32::from_bits(old.to_bits() ^ 1).into();
        fs::write(&file, facts.to_string()).expect("written");
    };

    edit(&stems[3], "/score");
    edit(&stems[5], "/map/values/7");
    let picture = evidence.join(format!("{}.png", stems[9]));
    fs::write(picture, b"no picture").expect("written");
    let output = replay(&line, &["--json"]);
    let others = rows(&output)
        .iter()
        .filter(|row| row["bytes"] == "other")
        .count();
    assert_eq!((others, output.status.code()), (2, Some(65)));
    assert_said(
        &words(&output).1,
        &["their files are damaged (1)", &stems[9]],
    );
}
