//! One revision as one file: a tar archive of the manifest, the recipe and the pictures, without
//! compression.
//!
//! An archive may come from anywhere: only the files that its manifest names are taken out of it, each
//! with the length and the hash that stand there, and nothing is written beside the library.

use super::bounds::{PICTURES_MAX, REVISION_BYTES, TEXT_BYTES};
use super::disk;
use super::draft::Draft;
use super::error::LibraryError;
use super::manifest::{FOLDERS, MANIFEST, Manifest, PictureEntry};
use super::revision::{RECIPE, Revision};
use super::writer::LibraryWriter;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use tar::{Archive, Builder, Entry, EntryType, Header};

/// Bytes that an archive may add to each file: its header, and the rest of its last block.
const ENTRY_BYTES: u64 = 2048;
/// Bytes of an archive at most.
const ARCHIVE_BYTES: u64 = REVISION_BYTES + 2 * TEXT_BYTES + PICTURES_MAX as u64 * ENTRY_BYTES;
/// Folder of the library into which an archive is taken apart.
const IMPORT: &str = ".import";

/// Writes a revision into a new file.
///
/// # Errors
/// When the revision is not whole, or the file is there already or cannot be written.
pub fn export(revision: &Revision, to: &Path) -> Result<(), LibraryError> {
    revision.verify()?;
    let file = File::create_new(to).map_err(|error| LibraryError::file(to, error))?;

    let written = write(revision, file);
    if written.is_err() {
        // Half an archive is of no use.
        let _ = fs::remove_file(to);
    }

    written.map_err(|error| LibraryError::file(to, error))
}

fn write(revision: &Revision, file: File) -> io::Result<()> {
    // The manifest comes first: it says what has to follow.
    let pictures = &revision.manifest().pictures;
    let of_pictures = pictures.iter().map(|picture| picture.file.as_str());
    let files = [MANIFEST, RECIPE].into_iter().chain(of_pictures);

    // All files have the time of the revision: two exports of one revision are the same bytes.
    let made_s = revision.manifest().made.as_second();
    let mtime_s = u64::try_from(made_s).unwrap_or(0);
    let mut archive = Builder::new(file);
    for name in files {
        let path = revision.folder().join(name);
        let source = File::open(path)?;
        let bytes = source.metadata()?.len();

        let mut header = Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o644);
        header.set_mtime(mtime_s);
        archive.append_data(&mut header, name, source)?;
    }

    archive.into_inner()?.sync_all()
}

/// Takes an archive into the library as the newest revision of its recipe, which is then the current
/// one, or a candidate.
///
/// # Errors
/// When the file is no such archive, or is not whole, or the library cannot take it.
pub fn import(
    writer: &LibraryWriter,
    from: &Path,
    is_candidate: bool,
) -> Result<Revision, LibraryError> {
    let folder = writer.library().folder().join(IMPORT);

    // One of a crash may be there still.
    remove(&folder)?;
    let unpacked = unpack(from, &folder);
    let outcome = unpacked.and_then(|revision| commit(writer, &revision, from, is_candidate));

    // The folder goes away whatever came of it.
    remove(&folder)?;
    outcome
}

fn commit(
    writer: &LibraryWriter,
    revision: &Revision,
    from: &Path,
    is_candidate: bool,
) -> Result<Revision, LibraryError> {
    let name = from.file_name().unwrap_or_default().to_string_lossy();
    let manifest = revision.manifest();
    let label = manifest.label();
    let by = format!("imported from {name}: {label}, {}", manifest.by);

    // Its parent is a revision of another library, whose number means nothing here.
    let mut draft = Draft::after(revision, by)?;
    draft.parent = None;

    if !is_candidate {
        return writer.commit(&draft);
    }

    let revision = writer.write(&draft)?;
    writer.keep_candidate(&revision)?;

    Ok(revision)
}

/// Takes an archive apart into a new folder, and checks all of it.
fn unpack(from: &Path, folder: &Path) -> Result<Revision, LibraryError> {
    let file = disk::open_file(from)?;
    let wrong = |error: io::Error| LibraryError::damaged(from, wrong_archive(&error));

    // The length first, because reading on costs time and room on the disk.
    let length = file.metadata().map_err(wrong)?.len();
    if length > ARCHIVE_BYTES {
        let why = format!("an archive has at most {ARCHIVE_BYTES} bytes, got {length}");
        return Err(LibraryError::damaged(from, why));
    }

    let mut archive = Archive::new(file);
    let mut entries = archive.entries().map_err(wrong)?;
    disk::make_folder(folder)?;
    for name in FOLDERS {
        disk::make_folder(&folder.join(name))?;
    }

    // Manifest and recipe are checked before a single picture is taken out.
    for name in [MANIFEST, RECIPE] {
        let entry = entries.next().ok_or_else(|| not_first(from, name))?;
        let bytes = text_of(entry.map_err(wrong)?, name, from)?;
        disk::write(&folder.join(name), &bytes)?;
    }

    let path = folder.join(MANIFEST);
    let bytes = disk::read(&path)?;
    let manifest = Manifest::decode(&bytes, &path)?;
    let revision = Revision::read(folder, &manifest.name, manifest.revision)?;

    // Each picture leaves the list as it is taken out, so that a second one of its name is refused.
    let mut awaited: BTreeMap<&str, &PictureEntry> = BTreeMap::new();
    for picture in &manifest.pictures {
        awaited.insert(&picture.file, picture);
    }

    for entry in entries {
        let mut entry = entry.map_err(wrong)?;
        let name = name_of(&entry, from)?;
        let Some(picture) = awaited.remove(name.as_str()) else {
            let why = format!("it holds {name:?}, which is none of its manifest's files");
            return Err(LibraryError::damaged(from, why));
        };

        take_out(&mut entry, picture, folder, from)?;
    }

    if let Some(name) = awaited.keys().next() {
        let why = format!("it is cut short: {name} is missing");
        return Err(LibraryError::damaged(from, why));
    }

    revision.verify()?;
    Ok(revision)
}

/// Writes one picture of an archive to its place.
fn take_out(
    entry: &mut Entry<'_, File>,
    picture: &PictureEntry,
    folder: &Path,
    from: &Path,
) -> Result<(), LibraryError> {
    if entry.size() != picture.bytes {
        let why = format!("{} has another length than its manifest says", picture.file);
        return Err(LibraryError::damaged(from, why));
    }

    let path = folder.join(&picture.file);
    let refused = |error| LibraryError::file(&path, error);
    let mut file = File::create_new(&path).map_err(refused)?;

    // The length of the manifest bounds the copy, whatever the entry holds.
    let mut bytes = entry.take(picture.bytes);
    io::copy(&mut bytes, &mut file).map_err(refused)?;

    Ok(())
}

/// The bytes of the manifest or the recipe.
fn text_of(entry: Entry<'_, File>, name: &str, from: &Path) -> Result<Vec<u8>, LibraryError> {
    if name_of(&entry, from)? != name {
        return Err(not_first(from, name));
    }

    // The bound keeps an archive with a huge text from filling the memory.
    let mut bounded = entry.take(TEXT_BYTES);
    let mut bytes = vec![];
    let outcome = bounded.read_to_end(&mut bytes);
    outcome.map_err(|error| LibraryError::damaged(from, wrong_archive(&error)))?;

    Ok(bytes)
}

/// The name of a plain file in an archive. Links, devices and folders are refused.
fn name_of(entry: &Entry<'_, File>, from: &Path) -> Result<String, LibraryError> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();

    // Only a plain file cannot lead to another place of the disk.
    let kind = entry.header().entry_type();
    if kind == EntryType::Regular {
        return Ok(name);
    }

    let why = format!("it holds {name:?}, which is no plain file");
    Err(LibraryError::damaged(from, why))
}

fn not_first(from: &Path, name: &str) -> LibraryError {
    let why = format!("no recipe of winspect: {name} is not where it has to be");
    LibraryError::damaged(from, why)
}

fn wrong_archive(error: &io::Error) -> String {
    format!("no recipe of winspect, or cut short: {error}")
}

fn remove(folder: &Path) -> Result<(), LibraryError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LibraryError::file(folder, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::folder::Library;
    use super::super::tests::draft;
    use super::*;
    use std::path::PathBuf;

    /// An archive of a recipe `nut` with two pictures.
    fn archive() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let writer = locked(folder.path(), "library");
        let revision = writer
            .commit(&draft("nut", folder.path(), &["a", "b"]))
            .expect("made");

        let file = folder.path().join("nut.tar");
        export(&revision, &file).expect("written");
        (folder, file)
    }

    fn locked(folder: &Path, name: &str) -> LibraryWriter {
        LibraryWriter::lock(&Library::at(folder.join(name))).expect("free")
    }

    #[test]
    fn what_was_exported_is_imported_elsewhere_and_counts_on() {
        let (folder, file) = archive();
        let words = export_again(&folder, &file);
        assert!(words.contains("exists"), "{words}");

        let writer = locked(folder.path(), "other");
        let first = import(&writer, &file, false).expect("whole");
        assert_eq!(first.manifest().label(), "nut@1");
        assert!(first.manifest().by.contains("imported from nut.tar: nut@1"));
        first.verify().expect("whole");

        let second = import(&writer, &file, false).expect("whole");
        assert_eq!(second.manifest().label(), "nut@2");
        let same = second.manifest().pictures == first.manifest().pictures;
        assert!(same, "{second:?}");
        assert_eq!(writer.library().names().expect("a folder"), ["nut"]);
        assert!(!folder.path().join("other").join(IMPORT).exists());
    }

    fn export_again(folder: &tempfile::TempDir, file: &Path) -> String {
        let library = Library::at(folder.path().join("library"));
        let revision = library.current("nut").expect("whole").expect("one");
        export(&revision, file)
            .expect_err("it is there")
            .to_string()
    }

    /// An archive with the same files, each as `change` leaves it; `None` leaves one out.
    fn changed(file: &Path, change: Change) -> PathBuf {
        let mut source = Archive::new(File::open(file).expect("there"));
        let to = file.with_extension("changed");
        let mut target = Builder::new(File::create(&to).expect("made"));
        for entry in source.entries().expect("an archive") {
            let mut entry = entry.expect("an entry");
            let mut bytes = vec![];
            entry.read_to_end(&mut bytes).expect("read");
            let mut header = entry.header().clone();
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if change(&name, &mut header, &mut bytes) {
                header.set_size(bytes.len() as u64);
                header.set_cksum();
                target.append(&header, &bytes[..]).expect("written");
            }
        }

        target.into_inner().expect("ended");
        to
    }

    fn rename(header: &mut Header, name: &str) {
        let field = &mut header.as_old_mut().name;
        field.fill(0);
        field[..name.len()].copy_from_slice(name.as_bytes());
    }

    /// A change to one file of an archive; false leaves it out.
    type Change<'a> = &'a dyn Fn(&str, &mut Header, &mut Vec<u8>) -> bool;

    #[track_caller]
    fn refused(change: Change, words: &str) {
        let (folder, file) = archive();
        let writer = locked(folder.path(), "other");
        let error = import(&writer, &changed(&file, change), false).expect_err("refused");
        assert!(error.to_string().contains(words), "{error}");
        assert!(writer.library().names().expect("a folder").is_empty());
        assert!(!folder.path().join("other").join(IMPORT).exists());
        assert!(!folder.path().join("escaped.png").exists());
    }

    /// True for the first picture of the archive.
    fn is_picture(name: &str) -> bool {
        name.starts_with("good/ca97")
    }

    #[test]
    fn an_archive_whose_files_are_others_is_refused() {
        refused(
            &|name, _, _| name != MANIFEST,
            "manifest.json is not where it has to be",
        );
        refused(&|name, _, _| !is_picture(name), "is missing");
        let shorter = |name: &str, bytes: &mut Vec<u8>| {
            if name == MANIFEST {
                bytes.truncate(200);
            }

            true
        };

        refused(
            &|name, _, bytes| shorter(name, bytes),
            "cut short or was changed",
        );
        let other = |name: &str, bytes: &mut Vec<u8>| {
            if is_picture(name) {
                bytes[0] ^= 1;
            }

            true
        };

        refused(
            &|name, _, bytes| other(name, bytes),
            "its content is not what",
        );
        let longer = |name: &str, bytes: &mut Vec<u8>| {
            if is_picture(name) {
                bytes.push(b'\n');
            }

            true
        };

        refused(&|name, _, bytes| longer(name, bytes), "has another length");
        let looser = |name: &str, bytes: &mut Vec<u8>| {
            if name == RECIPE {
                bytes.extend(b"on_undecided = \"pass\"\n");
            }

            true
        };

        refused(
            &|name, _, bytes| looser(name, bytes),
            "recipe.toml: it was changed",
        );
    }

    #[test]
    fn an_archive_leads_nowhere_else() {
        let outside = |name: &str, header: &mut Header| {
            if is_picture(name) {
                rename(header, "../../../escaped.png");
            }

            true
        };

        refused(
            &|name, header, _| outside(name, header),
            "none of its manifest's files",
        );
        let link = |name: &str, header: &mut Header, bytes: &mut Vec<u8>| {
            if is_picture(name) {
                header.set_entry_type(EntryType::Symlink);
                header.set_link_name("/etc/passwd").expect("short");
                bytes.clear();
            }

            true
        };

        refused(
            &|name, header, bytes| link(name, header, bytes),
            "which is no plain file",
        );
    }

    #[test]
    fn an_archive_that_is_cut_short_leaves_nothing() {
        let (folder, file) = archive();
        let writer = locked(folder.path(), "other");
        let bytes = fs::read(&file).expect("there");
        for length in [0, 100, 512, 1500, bytes.len() / 2, bytes.len() - 1600] {
            let cut = folder.path().join("cut.tar");
            fs::write(&cut, &bytes[..length]).expect("written");
            import(&writer, &cut, false).expect_err("cut short");
        }

        assert!(writer.library().names().expect("a folder").is_empty());
    }
}
