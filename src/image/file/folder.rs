//! The pictures of a folder, and what is passed over beside them.
//!
//! A file is a picture by its content; its suffix matters only where the content says nothing, as a
//! picture that came to nothing is a picture all the same. Other programs leave files and folders of
//! their own beside pictures: `._a.jpg`, `.ipynb_checkpoints`, `@eaDir`, `__MACOSX`, `Thumbs.db`. None
//! of them is ever a part. What is passed over is counted, and the caller tells it.

use crate::image::file::content::can_be_read;
use crate::image::file::error::PictureFileError;
use crate::image::file::passed_over::PassedOver;
use image::ImageFormat;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Suffixes of pictures, in small letters.
pub const SUFFIXES: [&str; 13] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "bmp", "tif", "tiff", "webp", "pgm", "ppm", "pnm", "pbm",
];
/// Names that other programs give to files and folders of their own, beside those that begin with a dot.
const FOREIGN: [&str; 11] = [
    "@eadir",
    "__macosx",
    "#recycle",
    "@recycle",
    "@tmp",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
];
/// First bytes of a file by which its format is known.
const HEAD: u64 = 64;

/// Content of a folder.
#[derive(Debug)]
pub struct Listing {
    /// The pictures, one or more, numbers in names in their natural order (`2.png` before `10.png`).
    pub pictures: Vec<PathBuf>,
    /// All else that is in the folder.
    pub passed_over: PassedOver,
}

/// The files of several paths.
#[derive(Debug, Default)]
pub struct Expanded {
    /// Files that were named, and the pictures of folders that were named.
    pub files: Vec<PathBuf>,
    /// Folders that cannot be used.
    pub problems: Vec<PictureFileError>,
    /// A line for each folder in which something was passed over: `DIR: passed over 1 folder`.
    pub passed_over: Vec<String>,
}

/// The pictures of a folder.
///
/// # Errors
/// When the folder cannot be read or holds no picture.
pub fn list(folder: &Path) -> Result<Listing, PictureFileError> {
    let mut pictures = Vec::new();
    let mut passed_over = PassedOver::default();

    // Only the folder itself: what lies in folders below it belongs to another class or line.
    let entries = std::fs::read_dir(folder);

    for entry in entries.map_err(|error| PictureFileError::read(folder, error))? {
        let path = entry
            .map_err(|error| PictureFileError::read(folder, error))?
            .path();

        match kind(&path) {
            EntryKind::Picture => pictures.push(path),
            EntryKind::Foreign => passed_over.foreign += 1,
            EntryKind::Unread => passed_over.unread += 1,
            EntryKind::Folder => passed_over.folders += 1,
            EntryKind::Other => passed_over.others += 1,
        }
    }

    if pictures.is_empty() {
        return Err(PictureFileError::Empty {
            path: folder.display().to_string(),
            passed_over,
        });
    }

    // The order of a directory is the file system's; results must not depend on it.
    pictures.sort_by_cached_key(|path| {
        let name = path.file_name().unwrap_or_default();
        natural_key(&name.to_string_lossy())
    });

    Ok(Listing {
        pictures,
        passed_over,
    })
}

/// Expands paths: a file is itself, a folder is its pictures. A folder without any is a problem.
pub fn expand(paths: &[PathBuf]) -> Expanded {
    let mut expanded = Expanded::default();

    for path in paths {
        if !path.is_dir() {
            expanded.files.push(path.clone());
            continue;
        }

        // Problems are gathered, so that one run tells all folders that are wrong.
        match list(path) {
            Ok(found) => {
                expanded.files.extend(found.pictures);
                expanded.passed_over.extend(told(path, &found.passed_over));
            }

            Err(problem) => expanded.problems.push(problem),
        }
    }

    expanded
}

/// The line that tells what was passed over in a folder. `None` if nothing was.
pub fn told(folder: &Path, passed_over: &PassedOver) -> Option<String> {
    if passed_over.is_empty() {
        return None;
    }

    let folder = folder.display();
    Some(format!("{folder}: passed over {passed_over}"))
}

/// True for a name that other programs give to files and folders of their own, hidden ones included.
pub fn is_foreign(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_lowercase();

    name.starts_with('.') || FOREIGN.contains(&name.as_str())
}

/// Kind of what lies in a folder.
enum EntryKind {
    Picture,
    Foreign,
    Unread,
    Folder,
    Other,
}

fn kind(path: &Path) -> EntryKind {
    // The name first: `._a.jpg` holds a Mac's notes about `a.jpg`, whatever its suffix says.
    if is_foreign(path.file_name().unwrap_or_default()) {
        return EntryKind::Foreign;
    }

    if path.is_dir() {
        return EntryKind::Folder;
    }

    // Then the content. A suffix alone also counts: an empty `a.png` is a picture that was not
    // written, and what was to be on it must not pass unseen.
    match format(path) {
        Some(format) if can_be_read(format) => EntryKind::Picture,
        _ if has_picture_suffix(path) => EntryKind::Picture,
        Some(_) => EntryKind::Unread,
        None => EntryKind::Other,
    }
}

/// Format of a file by its first bytes. `None` if it is unknown or the file cannot be read.
fn format(path: &Path) -> Option<ImageFormat> {
    // Opening a pipe would wait for its writer.
    if !path.metadata().ok()?.is_file() {
        return None;
    }

    let mut head = Vec::new();
    let file = File::open(path).ok()?;
    file.take(HEAD).read_to_end(&mut head).ok()?;
    let format = image::guess_format(&head).ok()?;

    is_firm(format, &head).then_some(format)
}

/// False for a text that happens to begin as a format of which two letters are all the mark.
fn is_firm(format: ImageFormat, head: &[u8]) -> bool {
    match format {
        // "BM", the file's size, four reserved bytes, the pixels' place, and the length of the header.
        ImageFormat::Bmp => {
            let lengths = [12, 40, 52, 56, 64, 108, 124];

            head.len() > 17 && lengths.contains(&head[14]) && head[15..18] == [0; 3]
        }

        // "P5", a space or a new line, then a number or a comment.
        ImageFormat::Pnm => {
            let begins = |byte: u8| byte.is_ascii_digit() || byte == b'#' || byte == b'W';

            head.len() > 3 && head[2].is_ascii_whitespace() && begins(head[3])
        }

        _ => true,
    }
}

fn has_picture_suffix(path: &Path) -> bool {
    // Cameras and Windows programs write `.JPG`.
    let suffix = path.extension().unwrap_or_default().to_string_lossy();

    SUFFIXES.contains(&suffix.to_lowercase().as_str())
}

/// Key by which numbers in names sort as numbers: runs of digits, as a number and as they are, each
/// after the run of other characters before it.
fn natural_key(name: &str) -> Vec<(String, u128, String)> {
    let mut key = Vec::new();
    let mut rest = name;

    // Each turn takes the characters before a number and the number itself.
    while !rest.is_empty() {
        let is_digit = |c: char| c.is_ascii_digit();
        let words = rest.find(is_digit).unwrap_or(rest.len());
        let (before, from_number) = rest.split_at(words);
        let digits = from_number
            .find(|c: char| !is_digit(c))
            .unwrap_or(from_number.len());

        // Beyond 38 digits all numbers are equal here; the digits themselves, the third part of the
        // key, still order them.
        let (number, after) = from_number.split_at(digits);
        let value = number.parse().unwrap_or(u128::MAX);
        key.push((before.to_owned(), value, number.to_owned()));
        rest = after;
    }

    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_sort_as_numbers() {
        let mut names = ["b10.png", "b2.png", "a.png", "b02.png"];
        names.sort_by_cached_key(|name| natural_key(name));
        assert_eq!(names, ["a.png", "b02.png", "b2.png", "b10.png"]);
    }

    #[test]
    fn an_empty_folder_is_a_problem_beside_the_good_ones() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("a.png");
        let expanded = expand(&[folder.path().to_owned(), file.clone()]);
        assert_eq!((expanded.files, expanded.problems.len()), (vec![file], 1));
    }

    /// Content decides, the names of other programs never count, and the rest is counted.
    #[test]
    fn a_folder_as_other_programs_leave_it_is_read_right() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, content: &[u8]| {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            std::fs::write(file, content).expect("written");
        };

        let png = b"\x89PNG\r\n\x1a\n and more";
        write("1.png", png);
        write("2.jfif", b"\xff\xd8\xff\xe0 and more");
        write("3.pgm", b"P5 2 2 255\n1234");
        write("4", png);
        write("5.dat", b"P6\n2 2\n4095\n");
        write("empty.png", b"");
        for foreign in ["._1.png", ".hidden.png", "Thumbs.db", "desktop.ini"] {
            write(foreign, png);
        }

        for foreign in ["@eaDir", "__MACOSX", ".ipynb_checkpoints"] {
            write(&format!("{foreign}/1.png"), png);
        }

        write("below/1.png", png);
        write("moving.gif", b"GIF89a and more");
        write("words.txt", b"BM is a text, and so is this");
        write("points.txt", b"P1 is the first point");
        let found = list(folder.path()).expect("pictures");
        let names: Vec<_> = found
            .pictures
            .iter()
            .map(|path| path.file_name().unwrap_or_default().to_string_lossy())
            .collect();

        assert_eq!(
            names,
            ["1.png", "2.jfif", "3.pgm", "4", "5.dat", "empty.png"]
        );

        assert_eq!(
            found.passed_over.to_string(),
            "7 hidden or of other programs, 1 of formats that are not read, 1 folder, 2 no pictures"
        );
    }
}
