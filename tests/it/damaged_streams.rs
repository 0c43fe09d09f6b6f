//! Coded streams with missing and wrong data, through a camera: no picture that differs from what was
//! sent goes on as whole, and no whole stream is doubted.

use crate::harness::stream::{Coded, Outcome, recorded, shown};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Two seconds of a moving picture, then the encoder with its options.
fn h264(options: &str) -> Coded {
    recorded(&format!("x264enc speed-preset=ultrafast {options}"), "h264")
}

const WHOLE: [(&str, &str); 9] = [
    ("one slice", "tune=zerolatency key-int-max=10"),
    (
        "several slices",
        "tune=zerolatency key-int-max=10 sliced-threads=true threads=4",
    ),
    (
        "slices of bytes",
        "tune=zerolatency key-int-max=10 option-string=slice-max-size=300",
    ),
    ("B-frames", "bframes=3 b-adapt=false key-int-max=15"),
    (
        "a pyramid of B-frames",
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
    ("CABAC", "cabac=true dct8x8=true bframes=2 key-int-max=20"),
    ("intra only", "tune=zerolatency key-int-max=1"),
];

#[test]
fn whole_streams_are_never_doubted() {
    for (name, options) in WHOLE {
        let stream = h264(options);
        let outcome = shown(&stream, &stream);
        println!("{name}: {outcome:?}");
        assert_eq!((outcome.damaged, outcome.flagged), (0, 0), "{name}");
        assert!(outcome.pictures >= 55, "{name}: {outcome:?}");
    }
}

#[test]
fn a_stream_that_is_joined_in_its_middle_is_doubted_up_to_its_first_key_frame() {
    for (name, options) in WHOLE {
        let whole = h264(options);
        let mut cut = whole.clone();
        cut.units.drain(..7);
        let outcome = shown(&cut, &whole);
        println!("{name}: {outcome:?}");
        assert_eq!(outcome.missed, 0, "{name}: {outcome:?}");
        assert!(outcome.whole >= 30, "{name}: {outcome:?}");
    }
}

/// Damages a stream, but not its last twenty units, and sees that all damage is told and the rest is
/// not.
fn damaged(
    name: &str,
    options: &str,
    seeds: u64,
    damage: impl Fn(&mut Coded, &mut StdRng),
) -> Outcome {
    let whole = h264(options);
    let mut sum = Outcome::default();
    for seed in 0..seeds {
        let mut stream = whole.clone();
        damage(&mut stream, &mut StdRng::seed_from_u64(seed));
        let outcome = shown(&stream, &whole);
        println!("{name} {options} {seed}: {outcome:?}");
        sum.add(&outcome);
    }

    sum
}

fn lose_slices(stream: &mut Coded, random: &mut StdRng) {
    let last = stream.units.len() - 20;
    for unit in &mut stream.units[1..last] {
        unit.retain_slices(|_| !random.random_bool(0.02));
    }

    stream.units.retain(|unit| !unit.bytes.is_empty());
}

fn lose_pictures(stream: &mut Coded, random: &mut StdRng) {
    let last = stream.units.len() - 20;
    let mut at = 0;
    stream.units.retain(|_| {
        at += 1;
        at == 1 || at > last || !random.random_bool(0.05)
    });
}

fn spoil_bytes(stream: &mut Coded, random: &mut StdRng) {
    let last = stream.units.len() - 20;
    for unit in &mut stream.units[1..last] {
        for at in 60..unit.bytes.len() {
            if random.random_bool(0.0001) {
                unit.bytes[at] = random.random();
            }
        }
    }
}

/// Runs of each kind of damage and stream; more by hand.
static SEEDS: std::sync::LazyLock<u64> =
    std::sync::LazyLock::new(|| std::env::var("SEEDS").map_or(4, |s| s.parse().unwrap()));

const DAMAGED: [usize; 5] = [0, 1, 3, 5, 7];

#[test]
fn lost_slices_are_told() {
    for which in DAMAGED {
        let (name, options) = WHOLE[which];
        let sum = damaged(name, options, *SEEDS, lose_slices);
        println!("== slices lost, {name}: {sum:?}");
    }
}

#[test]
fn lost_pictures_are_told() {
    for which in DAMAGED {
        let (name, options) = WHOLE[which];
        let sum = damaged(name, options, *SEEDS, lose_pictures);
        println!("== pictures lost, {name}: {sum:?}");
    }
}

#[test]
fn wrong_bytes_are_told() {
    for which in DAMAGED {
        let (name, options) = WHOLE[which];
        let sum = damaged(name, options, *SEEDS, spoil_bytes);
        println!("== bytes spoilt, {name}: {sum:?}");
    }
}
