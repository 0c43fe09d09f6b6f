//! Two folders that change places in one step of the file system.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Exchanges two paths, at once or not at all, also where the power is cut meanwhile.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] when one is not there, [`io::ErrorKind::Unsupported`] when the file
/// system cannot do it.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let one = CString::new(one.as_os_str().as_bytes())?;
    let other = CString::new(other.as_os_str().as_bytes())?;

    // SAFETY: both names end with a zero and live during the call.
    let done = unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            one.as_ptr(),
            libc::AT_FDCWD,
            other.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };

    // Zero is success; the reason of a failure is in `errno`.
    if done == 0 {
        return Ok(());
    }

    let error = io::Error::last_os_error();

    // Kernels and file systems without the exchange answer with one of these two.
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS) => Err(io::ErrorKind::Unsupported.into()),
        _ => Err(error),
    }
}
