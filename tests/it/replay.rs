//! Stored parts judged again: the same bytes by the same recipe, and exactly the changed verdicts by another one.

use crate::harness::assert_said;
use crate::harness::broker::Broker;
use crate::harness::golden::{golden, imported};
use crate::harness::line::{LineConfig, all_arrived, folder_camera, run_to_its_end};
use crate::harness::program::winspect;
use crate::locate;
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
    let rows = text.lines().map(serde_json::from_str);

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

/// A line that keeps its parts judges what it has, and they are judged again: the rows.
#[track_caller]
fn kept_and_judged_again(folder: &Path) -> Vec<Value> {
    run_to_its_end(folder);
    let output = replay(&folder.join("line.toml"), &["--json"]);
    let (_, told) = words(&output);
    assert!(output.status.success(), "{told}");
    let rows = rows(&output);
    assert_said(
        &told,
        &[&format!("{0} parts: {0} the same, 0 would", rows.len())],
    );
    rows
}

#[test]
fn regions_with_masks_and_tiles_and_a_bad_picture_come_out_the_same() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let shown = folder.path().join("shown");
    fs::create_dir(&shown).expect("made");
    for name in ["good_c.png", "bad.png"] {
        let from = golden("open-clip-tiny").join(name);
        fs::copy(from, shown.join(name)).expect("copied");
    }

    let black = Picture::new(80, 80, vec![0; 80 * 80 * 3]).expect("its bytes");
    let black = png::encode::<&str>(&black, &[]);
    fs::write(shown.join("z-black.png"), black).expect("written");
    let camera = format!("kind = \"folder\"\nlocation = {shown:?}\nfps = 0\ndeadline_ms = 60000");
    LineConfig::new(broker.port, &camera)
        .recipe("tile_px = 32")
        .tables("[[recipe.region]]\nname = \"left\"\ncrop = [0, 0, 48, 80]")
        .tables("[[recipe.region]]\nname = \"right\"\ncrop = [16, 0, 64, 80]")
        .tables("mask = [[[20, 4], [76, 4], [76, 70]]]")
        .tables(EACH)
        .write(folder.path());

    let rows = kept_and_judged_again(folder.path());
    let count = |bytes: &str| rows.iter().filter(|row| row["bytes"] == bytes).count();
    assert_eq!((count("same"), count("not_scored")), (4, 2), "{rows:?}");
    let regions: BTreeSet<&str> = rows
        .iter()
        .filter_map(|row| row["region"].as_str())
        .collect();
    assert_eq!(regions, BTreeSet::from(["left", "right"]));
    let bad = rows
        .iter()
        .filter(|row| row["now"]["reason"] == "bad_image");
    assert_eq!(bad.count(), 2);

    // Under another threshold for one region, nothing of the other changes.
    let line = folder.path().join("line.toml");
    let (text, told) = words(&replay(&line, &["--threshold", "left=0"]));
    assert_said(&text, &["6 parts:", "2 would fail that passed"]);
    assert!(!text.contains(" right"), "{text}{told}");
    let refused = replay(&line, &["--threshold", "rim=0"]);
    assert_eq!(refused.status.code(), Some(64));
    assert_said(&words(&refused).1, &["no region \"rim\""]);
}

#[test]
fn a_located_part_comes_out_the_same() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    locate::line(folder.path(), broker.port, &locate::moved());
    let file = folder.path().join("line.toml");
    let text = fs::read_to_string(&file).expect("read");
    fs::write(&file, format!("{text}\n{EACH}\n")).expect("written");
    let rows = kept_and_judged_again(folder.path());
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["bytes"] == "same"), "{rows:?}");
}

#[test]
fn what_cannot_be_judged_again_is_told_by_its_reason() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let config = LineConfig::new(broker.port, &folder_camera());
    let line = config.write(folder.path());
    // Nothing is kept so far.
    let refused = replay(&line, &[]);
    assert_eq!(refused.status.code(), Some(78));
    assert_said(&words(&refused).1, &["has no table [evidence]"]);

    let evidence = folder.path().join("evidence");
    let lossy = format!("{EACH}\nformat = \"jpeg\"");
    let config = config.tables(&lossy);
    config.write(folder.path());
    run_to_its_end(folder.path());
    let output = replay(&line, &["--json"]);
    assert!(rows(&output).iter().all(|row| row["bytes"] == "lossy"));

    // Another recipe's part, one without a picture, and one of a later version.
    let stems = stems(&evidence).expect("read");
    let edit = |stem: &str, change: &dyn Fn(&mut Value)| {
        let file = evidence.join(format!("{stem}.json"));
        let text = fs::read_to_string(&file).expect("read");
        let mut facts: Value = serde_json::from_str(&text).expect("facts");
        change(&mut facts);
        fs::write(&file, facts.to_string()).expect("written");
    };

    edit(&stems[0], &|facts| facts["recipe"] = "bolt@4".into());
    edit(&stems[1], &|facts| facts["picture"] = Value::Null);
    edit(&stems[2], &|facts| facts["evidence"] = 9.into());
    let output = replay(&line, &["--csv"]);
    let (text, told) = words(&output);
    assert_eq!(
        (text.lines().count(), output.status.code()),
        (2, Some(65)),
        "{text}{told}"
    );
    assert!(
        text.starts_with("part,part_id,region,verdict_was"),
        "{text}"
    );
    assert_said(
        &told,
        &[
            "4 parts: 1 the same",
            "3 not judged because",
            "another recipe judged them (1)",
            "no picture came (1)",
            "a later winspect kept them (1)",
            "1 cannot be compared (kept as JPEG)",
        ],
    );

    for (recipe, words_of) in [
        ("nut@7", "--recipe"),
        ("library:bolt", "has no recipe \"bolt\""),
        ("nut@x", "write NAME@7"),
    ] {
        let refused = replay(&line, &["--recipe", recipe]);
        assert_eq!(refused.status.code(), Some(64));
        assert_said(&words(&refused).1, &[words_of]);
    }
}
