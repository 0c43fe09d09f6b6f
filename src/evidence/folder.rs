//! The evidence folder's writing end: parts are written, and their number is bounded.

use super::facts::Facts;
use super::name::{self, FACTS, PART_PICTURE, SMALL_PICTURE, UNFINISHED};
use super::rule::KeptAs;
use super::{EvidenceSettings, PictureFormat, prune};
use crate::base::disk::free_bytes_if_low;
use crate::data::shown_part::ShownPart;
use crate::image::jpeg_file;
use crate::image::overlay::png;
use crate::image::part_picture::PartPictures;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// Pause between two looks at the whole folder, for files that are too old.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// Quality of a camera's picture as JPEG, of 100.
const PICTURE_QUALITY: u8 = 95;
/// Quality of the picture of a part, of 100.
const PART_PICTURE_QUALITY: u8 = 85;
/// Longer side of the small picture, in pixels.
const SMALL_PX: usize = 240;
/// Its quality, of 100.
const SMALL_QUALITY: u8 = 75;

/// The writing end of the folder. A line has one.
pub struct EvidenceFolder {
    settings: EvidenceSettings,
    /// Bytes of what was kept as of the last look, and of what was written since.
    bytes: u64,
    /// A file that the last look could not remove, and why.
    stays: Option<String>,
    /// Moment of the last look; `None` before the first.
    looked_at: Option<Instant>,
}

impl EvidenceFolder {
    /// The folder of these settings, which is not looked at yet.
    pub fn new(settings: EvidenceSettings) -> Self {
        EvidenceFolder {
            settings,
            bytes: 0,
            stays: None,
            looked_at: None,
        }
    }

    /// Keeps one part with its pictures for people, and removes what has to go.
    ///
    /// # Errors
    /// When the disk refuses, or has little room left: that is for the line's results. Nothing of the part
    /// is left then.
    pub fn keep(
        &mut self,
        part: &ShownPart,
        kept_as: KeptAs,
        pictures: &PartPictures,
    ) -> io::Result<()> {
        // The folder may have been taken away while the line runs; making it again costs a look.
        let folder = self.settings.folder.clone();
        std::fs::create_dir_all(&folder)?;

        if let Some(free) = free_bytes_if_low(&folder) {
            // What lies there may be what fills the disk.
            self.look()?;
            return Err(io::Error::other(format!(
                "the disk has {} MB left, which are for results",
                free >> 20
            )));
        }

        // What cannot be removed must not make the folder grow without end.
        if self.bytes > self.settings.bytes_max {
            self.look()?;
        }

        if self.bytes > self.settings.bytes_max
            && let Some(stays) = &self.stays
        {
            return Err(io::Error::other(format!("the folder is full: {stays}")));
        }

        let stem = name::stem(&part.report);
        let files = self.encoded(part, kept_as, pictures, &stem)?;

        for (name, bytes) in &files {
            if let Err(error) = write(&folder, name, bytes) {
                // A part without its facts would be found by nobody.
                for (name, _) in &files {
                    let _ = std::fs::remove_file(folder.join(name)); // it may not be there
                }

                return Err(error);
            }

            self.bytes += bytes.len() as u64;
        }

        self.bound()
    }

    /// Bytes of what is kept, as of the last look and what was written since.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Names and bytes of a part's files; the facts come last.
    fn encoded(
        &self,
        part: &ShownPart,
        kept_as: KeptAs,
        pictures: &PartPictures,
        stem: &str,
    ) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut files = vec![];
        let is_lossless = self.settings.format == PictureFormat::Png;
        let end = if is_lossless { ".png" } else { ".jpg" };
        let file = format!("{stem}{end}");
        let facts = Facts::of(part, kept_as, file.clone(), is_lossless);

        if let Some(picture) = part.picture.own() {
            let bytes = match self.settings.format {
                PictureFormat::Png => png::encode(picture, &texts(&facts)),
                PictureFormat::Jpeg => jpeg_file::encode(picture, PICTURE_QUALITY),
            };

            files.push((file, bytes));
        }

        let whole = jpeg_file::encode(&pictures.whole, PART_PICTURE_QUALITY);
        let small = jpeg_file::encode_small(&pictures.first, SMALL_PX, SMALL_QUALITY);

        files.push((format!("{stem}{PART_PICTURE}"), whole));
        files.push((format!("{stem}{SMALL_PICTURE}"), small));
        files.push((format!("{stem}{FACTS}"), facts.to_json()));

        Ok(files)
    }

    /// Lists the folder when it may be full, and now and then for what is too old: bytes are counted along.
    fn bound(&mut self) -> io::Result<()> {
        let is_due = self.looked_at.is_none_or(|at| at.elapsed() > LOOK_EVERY);

        if is_due || self.bytes > self.settings.bytes_max {
            self.look()?;
        }

        Ok(())
    }

    /// Lists the folder and removes what has to go.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn look(&mut self) -> io::Result<()> {
        let kept = prune::list(&self.settings.folder)?;
        let bytes: u64 = kept.iter().map(|part| part.bytes).sum();
        let EvidenceSettings {
            bytes_max, age_max, ..
        } = self.settings;

        let mut gone = 0;
        self.stays = None;

        for part in prune::surplus(kept, SystemTime::now(), bytes_max, age_max) {
            // A person may remove files at any time; one that cannot be removed leaves its bytes there.
            let stays = part.paths.iter().find_map(|path| stays(path));

            match stays {
                Some(words) => self.stays = Some(words),
                None => gone += part.bytes,
            }
        }

        self.bytes = bytes - gone;
        self.looked_at = Some(Instant::now());

        Ok(())
    }
}

/// Removes a file; words, if it stays.
fn stays(path: &Path) -> Option<String> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Some(format!("{} stays: {error}", path.display()))
        }

        _ => None,
    }
}

/// Facts for the picture's own file: it may be copied away from those beside it.
fn texts(facts: &Facts) -> Vec<(&'static str, String)> {
    let mut texts = vec![
        // Run, camera and number are the key of the result that the picture belongs to.
        ("run_id", facts.run_id.clone()),
        ("camera", facts.seen_by.clone()),
        ("seq", facts.seq.to_string()),
        ("part_id", facts.part_id.clone().unwrap_or_default()),
        ("region", facts.region.clone().unwrap_or_default()),
        ("verdict", format!("{:?}", facts.verdict).to_lowercase()),
        ("recipe", facts.recipe.clone()),
    ];

    let numbers = [("score", facts.score), ("threshold", facts.threshold)];
    for (key, number) in numbers {
        texts.extend(number.map(|number| (key, number.to_string())));
    }

    texts
}

/// Writes a file under another name first, so that nobody reads half of it.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let unfinished = folder.join(format!(".{name}{UNFINISHED}"));
    let written = std::fs::write(&unfinished, bytes)
        .and_then(|()| std::fs::rename(&unfinished, folder.join(name)));

    if written.is_err() {
        let _ = std::fs::remove_file(&unfinished); // it may not be there
    }

    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::picture::{Area, Picture};
    use crate::data::report::Report;
    use crate::data::report::tests::report;
    use crate::data::shown_part::ShownPicture;
    use crate::data::verdict::{Reason, Verdict};
    use crate::evidence::kept::{find, stems, views};
    use crate::evidence::rule::Rule;
    use std::sync::Arc;

    const LONG: Duration = Duration::from_secs(86_400);

    fn settings(folder: &Path) -> EvidenceSettings {
        EvidenceSettings {
            folder: folder.to_owned(),
            bytes_max: 1 << 30,
            age_max: LONG,
            format: PictureFormat::Png,
            rule: Rule {
                pass_every: 0,
                near: 0.0,
                least_interval: Duration::ZERO,
            },
        }
    }

    fn noise(side: usize, seed: u64) -> Arc<Picture> {
        let value = |i: usize| (i as u64 * 2_654_435_761 + seed * 40_503) >> 7;
        let rgb = (0..3 * side * side).map(|i| value(i) as u8).collect();
        Arc::new(Picture::new(side, side, rgb).expect("its bytes"))
    }

    fn part(report: Report, picture: ShownPicture) -> ShownPart {
        ShownPart {
            report: Arc::new(report),
            picture,
            aligned: None,
            beside: vec![(7, Verdict::Pass)],
            is_late: false,
            judged_by: None,
        }
    }

    fn own(seq: u64) -> ShownPart {
        let mut report = report(seq);
        report.area = Some(Area::whole(20, 20));
        part(report, ShownPicture::Own(noise(20, seq)))
    }

    fn small() -> PartPictures {
        let picture = Picture::new(8, 8, vec![9; 192]).expect("its bytes");
        PartPictures {
            whole: picture.clone(),
            first: picture,
        }
    }

    fn keep(folder: &mut EvidenceFolder, part: &ShownPart) {
        folder.keep(part, KeptAs::Fail, &small()).expect("kept");
    }

    #[test]
    fn a_part_is_found_by_its_key_with_the_cameras_own_pixels_and_all_facts() {
        let place = tempfile::tempdir().expect("a folder");
        let mut folder = EvidenceFolder::new(settings(place.path()));
        for seq in 10..20 {
            keep(&mut folder, &own(seq));
        }

        let wanted = own(11);
        let found = find(place.path(), "01TEST", "top", 11).expect("kept");
        assert_eq!(found.picture().expect("a picture"), *noise(20, 11));
        assert!(found.part_picture().exists());
        assert_eq!(found.part(), "01TEST/top/11");
        let (map, area) = found.facts.map.as_ref().expect("a map").map();
        assert_eq!(Some(&map), wanted.report.map.as_ref());
        assert_eq!(Some(area), wanted.report.area);
        assert_eq!(found.facts.defects, wanted.report.defects);
        assert_eq!(found.facts.score, wanted.report.score);
        assert_eq!(found.facts.threshold, wanted.report.threshold);
        assert_eq!(found.facts.beside[0].seq, 7);
        assert_eq!(stems(place.path()).expect("read").len(), 10);
        for (run, camera, seq) in [
            ("01TEST", "top", 9),
            ("01TEST", "side", 11),
            ("02TEST", "top", 11), // its name ends alike
        ] {
            let refused = find(place.path(), run, camera, seq).expect_err("not kept");
            assert!(refused.to_string().contains("it was not kept"), "{refused}");
        }
    }

    #[test]
    fn views_of_one_part_are_told_apart() {
        let place = tempfile::tempdir().expect("a folder");
        let mut folder = EvidenceFolder::new(settings(place.path()));
        for camera in ["left", "right"] {
            let report = Report {
                seen_by: camera.into(),
                ..report(1)
            };

            let picture = noise(20, camera.len() as u64);
            keep(&mut folder, &part(report, ShownPicture::Own(picture)));
        }

        let several = find(place.path(), "01TEST", "top", 1).expect_err("two views");
        assert!(several.to_string().contains("one of left, right"));
        let right = find(place.path(), "01TEST", "right", 1).expect("one view");
        assert_eq!(right.picture().expect("a picture"), *noise(20, 5));
        assert_eq!(right.part(), "01TEST/top/1/right");

        // Who wants all of them lists the folder once.
        let stems = stems(place.path()).expect("read");
        let all = views(place.path(), &stems, ("01TEST", "top", 1)).expect("whole");
        let cameras: Vec<&str> = all.iter().map(|view| &*view.facts.seen_by).collect();
        assert_eq!(cameras, ["left", "right"]);
        let other = views(place.path(), &stems, ("01TEST", "top", 2));
        assert!(other.expect("none").is_empty());
    }

    #[test]
    fn what_is_not_the_cameras_picture_is_refused_by_its_reason() {
        let place = tempfile::tempdir().expect("a folder");
        let jpeg = EvidenceSettings {
            format: PictureFormat::Jpeg,
            ..settings(place.path())
        };

        keep(&mut EvidenceFolder::new(jpeg), &own(1));
        let mut folder = EvidenceFolder::new(settings(place.path()));
        let lost = Report {
            verdict: Verdict::Undecided,
            reason: Some(Reason::CameraLost),
            map: None,
            ..report(2)
        };

        let at = jiff::Timestamp::UNIX_EPOCH;
        let earlier = ShownPicture::Earlier(noise(20, 2), at);
        keep(&mut folder, &part(lost, earlier));
        keep(&mut folder, &own(3));
        keep(&mut folder, &own(4));
        let refused = |seq| {
            let kept = find(place.path(), "01TEST", "top", seq).expect("kept");
            kept.picture().expect_err("none to use").to_string()
        };

        assert!(refused(1).contains("kept as JPEG"), "{}", refused(1));
        assert!(refused(2).contains("camera_lost"), "{}", refused(2));
        let kept = find(place.path(), "01TEST", "top", 2).expect("kept");
        assert_eq!(kept.facts.earlier_at, Some(at));
        let stem = find(place.path(), "01TEST", "top", 3).expect("kept").stem;
        std::fs::write(place.path().join(format!("{stem}.png")), b"cut").expect("written");
        assert!(refused(3).contains("cannot be read"), "{}", refused(3));
        // Facts that lead elsewhere, and those of a later version.
        let stem = find(place.path(), "01TEST", "top", 4).expect("kept").stem;
        let file = place.path().join(format!("{stem}.json"));
        let text = std::fs::read_to_string(&file).expect("there");
        let elsewhere = text.replace(&format!("{stem}.png"), "../../etc/passwd");
        std::fs::write(&file, elsewhere).expect("written");
        assert!(refused(4).contains("etc/passwd"), "{}", refused(4));
        std::fs::write(&file, text.replace("\"evidence\":1", "\"evidence\":2")).expect("written");
        let newer = find(place.path(), "01TEST", "top", 4).expect_err("newer");
        assert!(newer.to_string().contains("of version 2"), "{newer}");
    }

    #[test]
    fn runs_share_the_bound_and_old_parts_go_whole() {
        let place = tempfile::tempdir().expect("a folder");
        let bytes_max = 60_000;
        for run in ["01RUNA", "01RUNB", "01RUNC"] {
            let mut folder = EvidenceFolder::new(EvidenceSettings {
                bytes_max,
                ..settings(place.path())
            });

            for seq in 1..=4 {
                let mut part = own(seq);
                let mut report = (*part.report).clone();
                report.part.run_id = run.into();
                part.report = Arc::new(report);
                keep(&mut folder, &part);
            }
        }

        let kept = prune::list(place.path()).expect("read");
        let bytes: u64 = kept.iter().map(|part| part.bytes).sum();
        assert!(bytes <= bytes_max && kept.len() < 12, "{bytes}");
        assert!(kept.iter().all(|part| part.paths.len() == 4), "{kept:?}");
        let stems = stems(place.path()).expect("read");
        let of_last = stems.iter().filter(|stem| stem.contains("01RUNC")).count();
        assert_eq!(of_last, kept.len().min(4), "{stems:?}");
    }

    #[test]
    fn old_parts_go_and_files_of_people_stay() {
        let place = tempfile::tempdir().expect("a folder");
        let mut folder = EvidenceFolder::new(settings(place.path()));
        keep(&mut folder, &own(1));
        std::fs::write(place.path().join("notes.txt"), b"mine").expect("written");
        let old = SystemTime::now() - 2 * LONG;
        for entry in std::fs::read_dir(place.path()).expect("read") {
            let path = entry.expect("read").path();
            let file = std::fs::File::options().write(true).open(path);
            file.expect("there").set_modified(old).expect("set");
        }

        keep(&mut EvidenceFolder::new(settings(place.path())), &own(2));
        assert!(find(place.path(), "01TEST", "top", 1).is_err());
        assert!(find(place.path(), "01TEST", "top", 2).is_ok());
        assert!(place.path().join("notes.txt").exists());
    }

    #[test]
    fn nothing_is_left_of_a_part_that_could_not_be_written() {
        let place = tempfile::tempdir().expect("a folder");
        let mut folder = EvidenceFolder::new(settings(place.path()));
        let part = own(1);
        // A folder has the name that the facts should have.
        let facts = format!("{}{FACTS}", name::stem(&part.report));
        std::fs::create_dir_all(place.path().join(facts).join("x")).expect("made");
        assert!(folder.keep(&part, KeptAs::Fail, &small()).is_err());
        assert_eq!(prune::list(place.path()).expect("read"), []);
    }
}
