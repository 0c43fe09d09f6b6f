//! Names of evidence files: they sort by time, name their part, and are read on any share.

use crate::data::report::Report;
use crate::data::verdict::Verdict;
use jiff::Timestamp;

/// Characters of a part's id in a name.
const PART_ID_MAX: usize = 64;
/// Characters of a run's id in a name: the last ones, which are random.
const RUN_CHARS: usize = 6;
/// End of the name of a part's picture for people, after the stem.
pub const PART_PICTURE: &str = "_part.jpg";
/// End of the name of a small picture of a part, after the stem.
pub const SMALL_PICTURE: &str = "_small.jpg";
/// End of the name of a part's facts, after the stem.
pub const FACTS: &str = ".json";
/// Ends of names that evidence has. The longest that fits counts.
const ENDS: [&str; 5] = [PART_PICTURE, SMALL_PICTURE, FACTS, ".png", ".jpg"];
/// End of the name of a file that is being written; such a name begins with a dot.
pub const UNFINISHED: &str = ".tmp";

/// What a file's name says about its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// The name without its end: the same for all files of a part.
    pub stem: &'a str,
    /// The end of the name.
    pub end: &'a str,
    /// Time of the picture, as [`time`] writes it: its order is that of the times.
    pub time: &'a str,
    /// The verdict.
    pub verdict: Verdict,
    /// The camera that saw the part, as [`plain`] writes it.
    pub camera: &'a str,
    /// Number of the part.
    pub seq: u64,
    /// The last characters of the run's id.
    pub run_end: &'a str,
}

/// Stem of the names of a part's files.
pub fn stem(report: &Report) -> String {
    let part = &report.part;

    // Time first: files then sort as the parts came.
    let time = time(report.captured_at);
    let camera = plain(&report.seen_by);
    let verdict = format!("{:?}", report.verdict).to_lowercase();
    let mut stem = format!("{time}_{camera}_{:06}_{verdict}", part.seq);

    // The part's id makes a file findable by the number on the part; it is cut and cleaned, for it
    // may be any text.
    if let Some(id) = &part.request.part_id {
        let short: String = id.chars().take(PART_ID_MAX).collect();
        stem += &format!("_{}", plain(&short));
    }

    // Numbers begin with 1 in each run, and a clock without a battery may repeat a time: the run
    // tells such files apart.
    format!("{stem}_{}", run_end(&part.run_id))
}

/// A time as names have it: without colons, which some shares refuse.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H-%M-%S%.3fZ").to_string()
}

/// The last characters of a run's id, as names have them.
pub fn run_end(run_id: &str) -> String {
    let skipped = run_id.chars().count().saturating_sub(RUN_CHARS);

    plain(&run_id.chars().skip(skipped).collect::<String>())
}

/// Text with nothing that a file system or a share may refuse.
pub fn plain(text: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || ['-', '.'].contains(&c);
    text.chars()
        .map(|c| if keep(c) { c } else { '-' })
        .collect()
}

/// Reads the name of an evidence file; `None` for any other file, which is never touched. A file that is
/// being written has the name that it will have.
pub fn parse(name: &str) -> Option<Named<'_>> {
    let unfinished = name.strip_prefix('.');
    let name = unfinished
        .and_then(|name| name.strip_suffix(UNFINISHED))
        .unwrap_or(name);

    let end = ENDS.into_iter().find(|end| name.ends_with(end))?;
    let named = of_stem(name.strip_suffix(end)?)?;

    Some(Named { end, ..named })
}

/// Reads a stem; `None` for one that no part has. The end is empty.
pub fn of_stem(stem: &str) -> Option<Named<'_>> {
    // Time, camera, number, verdict, run: the five that every name has. The part's id stands before the
    // run.
    let parts: Vec<&str> = stem.split('_').collect();
    let (&[time, camera, seq, verdict], rest) = parts.split_first_chunk::<4>()?;
    let run_end = match rest {
        [run] | [_, run] => run,
        _ => return None,
    };

    let digits = time.as_bytes();
    let is_time = digits.len() == 24 && digits[10] == b'T' && digits[23] == b'Z';
    let is_seq = seq.len() >= 6 && seq.bytes().all(|byte| byte.is_ascii_digit());
    let verdict = Verdict::of_word(verdict)?;

    if !(is_time && is_seq) {
        return None;
    }

    Some(Named {
        stem,
        end: "",
        time,
        verdict,
        camera,
        seq: seq.parse().ok()?,
        run_end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::report::tests::report;

    #[test]
    fn a_name_sorts_reads_and_is_known_again() {
        let mut report = report(11);
        report.part.run_id = "01JABCDEF4QZK7M".into();
        report.part.request.part_id = Some("A/778 12\u{1F600}".to_owned());
        let stem = stem(&report);
        assert_eq!(
            stem,
            "1970-01-01T00-00-00.000Z_top_000011_fail_A-778-12-_4QZK7M"
        );

        for end in ENDS {
            let name = format!("{stem}{end}");
            let named = parse(&name).expect("its own name");
            assert_eq!((named.stem, named.end), (stem.as_str(), end));
            assert_eq!((named.camera, named.seq), ("top", 11));
            assert_eq!(named.run_end, run_end(&report.part.run_id));
            let unfinished = format!(".{name}{UNFINISHED}");
            assert_eq!(parse(&unfinished), parse(&name));
        }
    }

    #[test]
    fn hostile_words_stay_in_the_folder_and_in_their_place() {
        let mut report = report(7);
        report.part.request.part_id = Some("../../x_fail_y".to_owned());
        report.seen_by = "a_b/..".into();
        let name = format!("{}.png", stem(&report));
        assert!(!name.contains('/') && name.len() < 255, "{name}");
        let named = parse(&name).expect("its own name");
        assert_eq!((named.camera, named.seq), ("a-b-..", 7));
        report.part.request.part_id = Some("ü".repeat(5000));
        assert!(stem(&report).len() < 200);
    }

    #[test]
    fn files_of_people_are_none() {
        for other in [
            "a.png",
            "2026-11-28.png",
            "x_y_000001_fail.png",
            "top-00000011.png",
            "1970-01-01T00-00-00.000Z_top_000011_fail_4QZK7M.txt",
            "1970-01-01T00-00-00.000Z_top_000011_good_4QZK7M.png",
            "1970-01-01T00-00-00.000Z_top_000011_fail_a_b_4QZK7M.png",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
