//! Room on a disk.

use std::path::Path;

/// Free bytes of a folder's disk where they are few: under a twentieth of it, and under 1 GB. A disk that
/// cannot be asked says so when it is written to.
pub fn free_bytes_if_low(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let free = disk.f_bavail * disk.f_frsize;
    let size = disk.f_blocks * disk.f_frsize;
    is_low(free, size).then_some(free)
}

/// True when the free bytes are few: a twentieth is little, and 1 GB is enough on any disk.
fn is_low(free: u64, size: u64) -> bool {
    free < (size / 20).min(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::is_low;

    #[test]
    fn a_twentieth_of_a_disk_is_little_room_and_a_gigabyte_is_enough() {
        let mb = 1 << 20;
        let gb = 1 << 30;
        assert!(is_low(7 * mb, 160 * mb) && !is_low(9 * mb, 160 * mb));
        assert!(is_low(gb - 1, 500 * gb) && !is_low(gb, 500 * gb));
    }
}
