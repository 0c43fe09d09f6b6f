//! A labelled data set in the layout of MVTec AD, and the truth that its masks hold.
//!
//! ```text
//! train/good/*                 references
//! test/good/*                  good parts
//! test/<defect>/*              bad parts
//! ground_truth/<defect>/<stem>_mask.png     not zero where the defect is; without the folder
//!                                           there is no truth of pixels
//! ```

use super::duplicates::SeenPictures;
use super::regions::Regions;
use crate::base::exit::chain;
use crate::base::problems::Problems;
use crate::data::picture::{Area, Picture};
use crate::image::file as image_file;
use crate::image::file::mask::{self, Mask};
use image::metadata::Orientation;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The files of a data set, in the order of [`image_file::list`].
#[derive(Debug)]
pub struct Dataset {
    /// Pictures of good parts to compare with; one or more.
    pub references: Vec<PathBuf>,
    /// Good ones first, one or more; then those of each defect in alphabetical order, one or more.
    pub tests: Vec<Test>,
    /// True if there is a `ground_truth` folder.
    pub has_masks: bool,
    /// A line for each folder in which something was passed over.
    pub passed_over: Vec<String>,
}

/// All that reading a data set brings.
#[derive(Debug)]
pub struct Content {
    /// The truth of each test picture, in order. `None` without masks.
    pub truths: Option<Vec<Truth>>,
    /// Lines about pictures that are there more than once.
    pub warnings: Vec<String>,
}

/// A test picture.
#[derive(Debug)]
pub struct Test {
    /// The picture.
    pub file: PathBuf,
    /// True for a picture of a bad part.
    pub is_bad: bool,
    /// Mask of a bad one, where the data set has masks.
    mask: Option<PathBuf>,
}

/// The truth of a test picture's pixels, in the part of it that the model sees.
#[derive(Debug)]
pub struct Truth {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// The defects.
    pub regions: Regions,
}

impl Dataset {
    /// Lists the files.
    ///
    /// # Errors
    /// All that is missing, at once.
    pub fn open(folder: &Path) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let mut passed_over = Vec::new();
        let mut listed =
            |folder: &Path, problems: &mut Problems| list(folder, &mut passed_over, problems);

        let references = listed(&folder.join("train/good"), &mut problems);
        let good = listed(&folder.join("test/good"), &mut problems);

        // A data set without `ground_truth` gives measures of pictures alone, none of pixels.
        let masks = folder.join("ground_truth");
        let has_masks = masks.is_dir();
        let mut tests: Vec<Test> = good.into_iter().map(Test::good).collect();

        // Each kind of defect has a folder beside `good`, named as the plant likes.
        let test_folder = folder.join("test");

        for defect in defects(&test_folder, &mut problems) {
            for file in listed(&test_folder.join(&defect), &mut problems) {
                // Where there are masks, each bad picture needs its own: a missing one would count
                // its defect's pixels as good.
                let mask = has_masks.then(|| mask_of(&masks, &defect, &file));

                if let Some(mask) = mask.as_ref().filter(|mask| !mask.is_file()) {
                    problems.note(
                        mask.display(),
                        format!("the mask of {} is not there", file.display()),
                    );
                }

                tests.push(Test::bad(file, mask));
            }
        }

        // All problems are told at once, because a data set has thousands of files.
        problems.into_result().map(|()| Dataset {
            references,
            tests,
            has_masks,
            passed_over,
        })
    }

    /// Reads every test picture and mask once, so that nothing can be wrong with them later. With
    /// `squares` the model sees the largest square in the middle of each picture only, and pixels are
    /// compared only there. `references` are read as well. `progress` hears how many files are done.
    ///
    /// # Errors
    /// All files that cannot be read, masks of another size than their picture, masks without a defect
    /// and those that could mean two things, at once.
    pub fn read(
        &self,
        references: &[&Path],
        squares: bool,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Content, Problems> {
        let mut problems = Problems::new();
        let mut truths = Vec::with_capacity(self.tests.len());
        let mut seen = SeenPictures::default();

        // References first: a test picture that is one of them is then told as such.
        for file in references {
            if let Some(picture) = readable(file, &mut problems) {
                seen.reference(file, &picture);
            }
        }

        // A picture that cannot be read adds its problem and no truth, and the loop goes on to the
        // next.
        for (done, test) in self.tests.iter().enumerate() {
            progress(references.len() + done);
            let picture = readable(&test.file, &mut problems);

            if let Some(picture) = &picture {
                seen.test(&test.file, picture);
            }

            truths.extend(test.truth(picture, squares, &mut problems));
        }

        problems.into_result().map(|()| Content {
            truths: self.has_masks.then_some(truths),
            warnings: seen.warnings(),
        })
    }
}

impl Test {
    fn good(file: PathBuf) -> Self {
        Test {
            file,
            is_bad: false,
            mask: None,
        }
    }

    fn bad(file: PathBuf, mask: Option<PathBuf>) -> Self {
        Test {
            file,
            is_bad: true,
            mask,
        }
    }

    /// Reads the mask of `picture`. `None` where there is a problem.
    fn truth(
        &self,
        picture: Option<Picture>,
        squares: bool,
        problems: &mut Problems,
    ) -> Option<Truth> {
        let mask = self
            .mask
            .as_ref()
            .map(|file| (file, readable_mask(file, problems)));

        // The part of the picture that is scored: with `fit = crop` the middle square.
        let picture = picture?;
        let whole = Area::whole(picture.width(), picture.height());
        let seen = match squares {
            true => whole.middle_square(),
            false => whole,
        };

        // A good picture has no defect pixels at all.
        let regions = match mask {
            None => Regions::none(seen.w * seen.h),
            Some((file, mask)) => {
                let mask = mask?;

                // A mask of another size would mark other pixels than the defect's.
                if let Err(words) = check(&mask, &picture, &self.file) {
                    problems.note(file.display(), words);
                    return None;
                }

                Regions::of(&defect_pixels(&mask, seen), seen.w)
            }
        };

        // Width and height are those of the part that is seen, which the map is enlarged to.
        Some(Truth {
            width: seen.w,
            height: seen.h,
            regions,
        })
    }
}

/// True for each pixel of a defect inside of `area`, row-major.
fn defect_pixels(mask: &Mask, area: Area) -> Vec<bool> {
    let mut pixels = Vec::with_capacity(area.w * area.h);

    for row in area.y..area.y + area.h {
        let first = row * mask.width + area.x;
        pixels.extend_from_slice(&mask.is_defect[first..first + area.w]);
    }

    pixels
}

/// Refuses what cannot be the mask of `picture`, a bad part in `file`.
fn check(mask: &Mask, picture: &Picture, file: &Path) -> Result<(), String> {
    let shown = file.display();
    let width = picture.width();
    let height = picture.height();

    if (mask.width, mask.height) != (width, height) {
        let w = mask.width;
        let h = mask.height;
        return Err(format!(
            "a mask of {w} x {h} pixels, but {shown} has {width} x {height}; give one of its size"
        ));
    }

    if mask.is_defect.iter().all(|is_defect| !is_defect) {
        return Err(format!(
            "zero everywhere, but {shown} is a bad part; mark its defect"
        ));
    }

    // Programs that draw masks often ignore the tag. By a quarter turn the sizes then differ; by half
    // a turn, or where the picture is a square, nothing shows it.
    let turn = mask::orientation_of(file);

    if turn != mask.orientation && (keeps_sides(turn, mask.orientation) || width == height) {
        return Err(format!(
            "it and {shown} have different orientation tags (EXIF), so that it may be turned against the picture; \
             save both as they are seen, without the tag"
        ));
    }

    Ok(())
}

/// True if two orientations have the same sides lying.
fn keeps_sides(one: Orientation, other: Orientation) -> bool {
    is_quarter(one) == is_quarter(other)
}

/// True for the orientations that turn by a quarter, mirrored or not.
fn is_quarter(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

fn mask_of(masks: &Path, defect: &OsStr, file: &Path) -> PathBuf {
    // The form is MVTec's: the picture's name with `_mask.png`, in the folder of the same defect.
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();

    masks.join(defect).join(format!("{stem}_mask.png"))
}

fn list(folder: &Path, passed_over: &mut Vec<String>, problems: &mut Problems) -> Vec<PathBuf> {
    match image_file::list(folder) {
        Ok(found) => {
            passed_over.extend(image_file::told(folder, &found.passed_over));

            found.pictures
        }

        Err(error) => {
            problems.add(chain(&error));

            vec![]
        }
    }
}

/// The names of the folders beside `good`.
fn defects(folder: &Path, problems: &mut Problems) -> Vec<OsString> {
    // A folder that cannot be read was reported with its `good`.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();

    // Files beside the folders are not defects; `good` is the other class.
    let mut names: Vec<_> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name())
        .filter(|name| name != "good" && !image_file::is_foreign(name))
        .collect();

    names.sort();

    // Without bad pictures no measure is defined.
    if names.is_empty() {
        problems.note(
            folder.display(),
            "no folder of bad parts beside good; name one after its defect, such as broken",
        );
    }

    names
}

fn readable(file: &Path, problems: &mut Problems) -> Option<Picture> {
    image_file::read(file)
        .map_err(|error| problems.add(chain(&error)))
        .ok()
}

fn readable_mask(file: &Path, problems: &mut Problems) -> Option<Mask> {
    mask::read(file)
        .map_err(|error| problems.add(chain(&error)))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: &Path, width: u32, height: u32, is_bad: impl Fn(u32, u32) -> bool) {
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        let picture =
            image::GrayImage::from_fn(width, height, |x, y| image::Luma([u8::from(is_bad(x, y))]));

        picture.save(file).expect("written");
    }

    /// A good one and a bad one of 6 x 4 pixels, with a defect at the left edge and one in the
    /// middle.
    fn dataset(folder: &Path) {
        for file in ["train/good/a.png", "test/good/a.png", "test/scratch/b.png"] {
            write(&folder.join(file), 6, 4, |_, _| false);
        }

        write(
            &folder.join("ground_truth/scratch/b_mask.png"),
            6,
            4,
            |x, y| x == 0 || (x, y) == (3, 2),
        );
    }

    #[test]
    fn masks_count_where_the_model_sees_the_picture() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        dataset(folder.path());
        let dataset = Dataset::open(folder.path()).expect("all there");
        for (squares, width, regions, bad) in [(false, 6, 2, 5), (true, 4, 1, 1)] {
            let truths = dataset
                .read(&[], squares, &mut |_| ())
                .expect("readable")
                .truths
                .expect("masks");

            let [good, found] = &truths[..] else {
                panic!("two test pictures, got {truths:?}")
            };

            assert_eq!((good.width, good.regions.count()), (width, 0));
            assert_eq!(
                (found.regions.count(), found.regions.bad_pixels()),
                (regions, bad)
            );
        }
    }

    /// By half a turn the sizes stay the same: nothing but the tag shows that the mask lies otherwise.
    #[test]
    fn a_picture_turned_by_its_tag_with_a_mask_without_one_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        dataset(folder.path());
        let mut jpeg = vec![];
        image::RgbImage::new(6, 4)
            .write_with_encoder(image::codecs::jpeg::JpegEncoder::new(&mut jpeg))
            .expect("encodes");

        let exif = b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0";
        for (orientation, is_refused) in [(1, false), (3, true), (2, true), (6, true)] {
            let tag = [orientation, 0, 0, 0, 0, 0, 0];
            let turned = [&jpeg[..2], exif, &tag, &jpeg[2..]].concat();
            std::fs::write(folder.path().join("test/scratch/b.png"), turned).expect("written");
            let dataset = Dataset::open(folder.path()).expect("all there");
            let read = dataset.read(&[], false, &mut |_| ());
            assert_eq!(read.is_err(), is_refused, "orientation {orientation}");
        }
    }

    #[test]
    fn what_other_programs_leave_is_no_defect_and_no_picture() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        dataset(folder.path());
        for stray in [
            "test/.ipynb_checkpoints/a.png",
            "test/@eaDir/a.png",
            "test/__MACOSX/a.png",
            "test/scratch/._b.png",
            "train/good/.a.png",
        ] {
            write(&folder.path().join(stray), 6, 4, |_, _| false);
        }

        let dataset = Dataset::open(folder.path()).expect("all there");
        assert_eq!((dataset.references.len(), dataset.tests.len()), (1, 2));
        let told = dataset.passed_over.join("\n");
        assert!(told.contains("train/good: passed over 1 hidden"), "{told}");
        assert!(
            told.contains("test/scratch: passed over 1 hidden"),
            "{told}"
        );
    }

    #[test]
    fn without_a_folder_of_masks_there_is_no_truth_of_pixels() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        dataset(folder.path());
        std::fs::remove_dir_all(folder.path().join("ground_truth")).expect("removed");
        let dataset = Dataset::open(folder.path()).expect("all there");
        assert!(
            dataset
                .read(&[], false, &mut |_| ())
                .expect("readable")
                .truths
                .is_none()
        );
    }

    #[test]
    fn all_that_is_missing_is_told_at_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let words = Dataset::open(folder.path())
            .expect_err("nothing there")
            .to_string();

        for part in [
            "train/good: ",
            "test/good: ",
            "test: no folder of bad parts beside good",
        ] {
            assert!(words.contains(part), "{part:?} is not in {words}");
        }

        dataset(folder.path());
        write(&folder.path().join("test/scratch/c.png"), 6, 4, |_, _| {
            false
        });

        let words = Dataset::open(folder.path())
            .expect_err("a mask is missing")
            .to_string();

        assert!(
            words.contains("c_mask.png: the mask of ") && words.contains("c.png is not there"),
            "{words}"
        );

        write(
            &folder.path().join("ground_truth/scratch/c_mask.png"),
            4,
            6,
            |_, _| true,
        );

        write(
            &folder.path().join("ground_truth/scratch/b_mask.png"),
            6,
            4,
            |_, _| false,
        );

        std::fs::write(folder.path().join("test/good/a.png"), "hello").expect("written");
        let dataset = Dataset::open(folder.path()).expect("all there");
        let words = dataset
            .read(&[], false, &mut |_| ())
            .expect_err("three are wrong")
            .to_string();

        for part in [
            "a.png: not a picture",
            "c_mask.png: a mask of 4 x 6 pixels",
            "has 6 x 4",
            "b_mask.png: zero everywhere",
        ] {
            assert!(words.contains(part), "{part:?} is not in {words}");
        }
    }
}
