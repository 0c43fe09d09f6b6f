//! Memory that this process could still take: what the machine has available, and what the limit of its service leaves.

use std::fs::read_to_string;
use std::path::Path;

/// Bytes that could be taken without swapping and without reaching `MemoryMax=` of the service; `None` where the system does
/// not say.
pub fn available() -> Option<usize> {
    let meminfo = read_to_string("/proc/meminfo").ok()?;
    let machine = available_in(&meminfo)?;

    let groups = Path::new("/sys/fs/cgroup");
    let own = read_to_string("/proc/self/cgroup").ok();
    let service = own.and_then(|own| left_in(groups, &own));

    Some(service.map_or(machine, |left| left.min(machine)))
}

/// `MemAvailable` of `/proc/meminfo`, which is in kB (proc_meminfo(5)).
fn available_in(meminfo: &str) -> Option<usize> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kb: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;

    kb.checked_mul(1024)
}

/// What the limit of a control group (version 2) leaves; `own` is `/proc/self/cgroup`. `None` without a limit.
fn left_in(root: &Path, own: &str) -> Option<usize> {
    let mut lines = own.lines();
    let path = lines.find_map(|line| line.strip_prefix("0::/"))?;
    let folder = root.join(path);
    let number = |file: &str| -> Option<usize> {
        let text = read_to_string(folder.join(file)).ok()?;
        text.trim().parse().ok() // "max" is no limit
    };

    let most = number("memory.max")?;
    let taken = number("memory.current")?;

    // Files that were read count as taken, and are given back when something else needs the room.
    let stat = read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let files = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file "));
    let files: usize = files.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    let held = taken.saturating_sub(files);

    Some(most.saturating_sub(held))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_and_a_text_without_the_line_says_nothing() {
        assert!(available() > Some(0));
        let text = "MemTotal:  100 kB\nMemAvailable:      30 kB\n";
        assert_eq!(available_in(text), Some(30 * 1024));
        assert_eq!(available_in("MemTotal: 100 kB\n"), None);
    }

    #[test]
    fn a_services_limit_counts_and_files_that_were_read_do_not() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("system.slice/winspect");
        std::fs::create_dir_all(&folder).expect("made");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).expect("written");
        };

        write("memory.max", "1000\n");
        write("memory.current", "900\n");
        write("memory.stat", "anon 500\ninactive_file 300\n");
        let own = "0::/system.slice/winspect\n";
        assert_eq!(left_in(root.path(), own), Some(400));

        write("memory.max", "max\n");
        assert_eq!(left_in(root.path(), own), None);
        assert_eq!(left_in(root.path(), "1:name=systemd:/\n"), None);
    }
}
