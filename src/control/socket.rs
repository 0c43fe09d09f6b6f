//! The socket's file: its path, its rights, and which file may be replaced.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// Bytes of a Unix socket's path at most (`sun_path` of unix(7), without its final zero).
const PATH_MAX: usize = 107;
/// Access rights of the socket: its owner and group.
const MODE: u32 = 0o660;

/// Reason why the socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The path does not fit into a socket's address.
    #[error(
        "{}: the path has {} bytes, and a socket's may have {PATH_MAX}; give store.file a shorter one",
        .0.display(), .0.as_os_str().len()
    )]
    TooLong(PathBuf),
    /// Another process serves the socket.
    #[error(
        "{}: another process serves it; stop that one, or give each line a store.file of its own",
        .0.display()
    )]
    Alive(PathBuf),
    /// The file is no socket.
    #[error("{}: it is there and no socket; move it away", .0.display())]
    NoSocket(PathBuf),
    /// The system refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// Path of the socket.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
}

/// Binds the socket. The file of a socket that no process serves any more is replaced.
///
/// # Errors
/// When the path is too long or belongs to another file or process, and when the system refuses.
pub async fn bind(path: &Path) -> Result<UnixListener, ControlError> {
    // The length is checked here, since the system's own words for it (invalid input) name no
    // remedy.
    if path.as_os_str().len() > PATH_MAX {
        return Err(ControlError::TooLong(path.to_owned()));
    }

    let failed = |error| ControlError::Io {
        path: path.to_owned(),
        error,
    };

    // A file at the path is removed only when it is a socket and a connection to it is refused:
    // then the process that made it is gone. Any other file is left alone.
    if let Ok(file) = std::fs::symlink_metadata(path) {
        if !file.file_type().is_socket() {
            return Err(ControlError::NoSocket(path.to_owned()));
        }

        match UnixStream::connect(path).await {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(failed(error));
            }
            // Also one whose queue is full.
            Ok(_) | Err(_) => return Err(ControlError::Alive(path.to_owned())),
        }
    }

    // The rights are set after the bind. In between the umask rules, whose usual 022 lets the owner
    // alone connect.
    let listener = UnixListener::bind(path).map_err(failed)?;
    let rights = std::fs::Permissions::from_mode(MODE);
    std::fs::set_permissions(path, rights).map_err(failed)?;
    Ok(listener)
}
