//! File operations of a commit. Each is on the disk when it returns, except a name, which is when its
//! folder was synced. Tests stop a commit, or let it fail, at any of them.

use super::bounds::TEXT_BYTES;
use super::error::LibraryError;
use crate::base::hex::hex;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// Bytes that are copied and hashed at once.
const PIECE: usize = 256 << 10;

/// A file's content, as a manifest has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Hex SHA-256.
    pub sha256: String,
    /// Length.
    pub bytes: u64,
}

/// The place at which tests stop a commit.
fn step(what: &str, path: &Path) -> io::Result<()> {
    #[cfg(test)]
    super::crash::step(what, path)?;
    #[cfg(not(test))]
    let _ = (what, path);

    Ok(())
}

/// Makes a folder in a folder that is there.
pub fn make_folder(path: &Path) -> Result<(), LibraryError> {
    step("make", path)
        .and_then(|()| fs::create_dir(path))
        .map_err(|error| LibraryError::file(path, error))
}

/// Writes a new file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), LibraryError> {
    write_from(path, &mut &bytes[..])
        .map(|_| ())
        .map_err(|error| LibraryError::file(path, error))
}

/// Copies a file to a new one.
pub fn copy(from: &Path, to: &Path) -> Result<Content, LibraryError> {
    let mut source = open_file(from)?;
    let written = write_from(to, &mut source);

    written.map_err(|error| LibraryError::file(to, error))
}

fn write_from(path: &Path, source: &mut dyn Read) -> io::Result<Content> {
    // A file that is there already is another writer's: it is never written over.
    step("create", path)?;
    let mut file = File::create_new(path)?;
    let mut piece = vec![0; PIECE];
    let mut sum = Sha256::new();
    let mut bytes = 0;
    loop {
        let count = source.read(&mut piece)?;
        if count == 0 {
            break;
        }

        step("write", path)?;
        file.write_all(&piece[..count])?;
        sum.update(&piece[..count]);
        bytes += count as u64;
    }

    step("sync", path)?;
    file.sync_all()?;
    Ok(Content {
        sha256: hex(&sum.finalize()),
        bytes,
    })
}

/// Gives a file of the library a second name; copies it where the file system cannot.
pub fn link(from: &Path, to: &Path) -> Result<(), LibraryError> {
    let refused = |error| LibraryError::file(to, error);
    step("link", to).map_err(refused)?;
    let Err(error) = fs::hard_link(from, to) else {
        return Ok(());
    };

    // What has the name already is another writer's, and a copy would not change that.
    if error.kind() == io::ErrorKind::AlreadyExists {
        return Err(refused(error));
    }

    copy(from, to)?;
    Ok(())
}

/// Renames a file or folder; one of the new name is replaced if both are files.
pub fn rename(from: &Path, to: &Path) -> Result<(), LibraryError> {
    step("rename", to)
        .and_then(|()| fs::rename(from, to))
        .map_err(|error| LibraryError::file(to, error))
}

/// Brings the names in a folder to the disk.
pub fn sync_folder(path: &Path) -> Result<(), LibraryError> {
    step("sync", path)
        .and_then(|()| File::open(path)?.sync_all())
        .map_err(|error| LibraryError::file(path, error))
}

/// Takes a folder away, with all in it.
pub fn remove_folder(path: &Path) -> Result<(), LibraryError> {
    step("remove", path)
        .and_then(|()| fs::remove_dir_all(path))
        .map_err(|error| LibraryError::file(path, error))
}

/// Opens a file to read. A folder, a pipe or a device is refused, unopened.
pub fn open_file(path: &Path) -> Result<File, LibraryError> {
    let refused = |error| LibraryError::file(path, error);
    let metadata = fs::metadata(path).map_err(refused)?;

    // Opening a pipe would wait for whoever writes into it.
    if !metadata.is_file() {
        return Err(LibraryError::damaged(path, "not a file"));
    }

    File::open(path).map_err(refused)
}

/// Reads a short file.
pub fn read(path: &Path) -> Result<Vec<u8>, LibraryError> {
    let file = open_file(path)?;
    let mut bytes = vec![];

    // One byte more than is allowed tells a file that is too long.
    file.take(TEXT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| LibraryError::file(path, error))?;

    if bytes.len() as u64 > TEXT_BYTES {
        let why = format!("longer than {TEXT_BYTES} bytes, which no file of a revision is");
        return Err(LibraryError::damaged(path, why));
    }

    Ok(bytes)
}

/// Hashes a file.
pub fn content_of(path: &Path) -> Result<Content, LibraryError> {
    let mut file = open_file(path)?;
    let mut sum = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut bytes = 0;
    loop {
        let count = file
            .read(&mut piece)
            .map_err(|error| LibraryError::file(path, error))?;

        if count == 0 {
            break;
        }

        sum.update(&piece[..count]);
        bytes += count as u64;
    }

    Ok(Content {
        sha256: hex(&sum.finalize()),
        bytes,
    })
}

/// Hex SHA-256 of bytes in memory.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
