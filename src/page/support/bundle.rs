//! Texts of a bundle for support, and the ZIP file of them: for the page, and for `winspect support` without one.

use crate::page::download::Archive;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Bytes of one text at most.
const TEXT_MAX: usize = 2 << 20;
/// Lines of the audit log at most.
pub const AUDIT_MAX: usize = 500;

/// What the bundle of a page is, for a person who opens it.
pub const README: &str = "A bundle for support, made by winspect.\n\n\
    version.txt        the program and the machine\n\
    configuration.txt  the configuration in force, one key a line; *** stands for what is secret\n\
    status.json        state, health with causes, cameras, store\n\
    events.txt         the last events that the page was told, the newest first\n\
    metrics.txt        the figures of /metrics\n\
    audit.csv          the last lines of the audit log, the newest first\n\
    shift-checks.json  the last shift checks, the newest first\n\
    sizes.txt          sizes of the store, of the evidence and of the disk\n\
    threads.txt        the threads of the process\n\n\
    The log is not here: the program writes it to standard error, and the service manager keeps it. Add it by\n\
    journalctl -u UNIT --since -1h > log.txt\n";

/// The ZIP file of these texts, each under its name.
///
/// # Errors
/// When one cannot be packed.
pub fn packed(texts: &[(&str, String)]) -> zip::result::ZipResult<Vec<u8>> {
    let mut archive = Archive::new();

    for (name, text) in texts {
        archive.add(name, cut(text).as_bytes())?;
    }

    archive.finish()
}

/// A text, or its beginning with a word on the rest.
fn cut(text: &str) -> String {
    if text.len() <= TEXT_MAX {
        return text.to_owned();
    }

    let end = text.floor_char_boundary(TEXT_MAX);
    format!(
        "{}\n... cut here: {} bytes in all\n",
        &text[..end],
        text.len()
    )
}

/// The machine, one fact a line.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let gstreamer = if cfg!(feature = "gstreamer") {
        "yes"
    } else {
        "no"
    };

    let facts = [
        ("GStreamer", gstreamer.to_owned()),
        ("processor", std::env::consts::ARCH.to_owned()),
        ("kernel", read("/proc/version").trim().to_owned()),
        (
            "memory",
            memory.lines().next().unwrap_or_default().to_owned(),
        ),
        ("cores", cores()),
    ];

    facts
        .map(|(name, value)| format!("{name}: {value}\n"))
        .concat()
}

fn cores() -> String {
    let cores = std::thread::available_parallelism();

    cores.map_or("not known".to_owned(), |cores| cores.to_string())
}

/// Sizes of a store's files, one a line.
pub fn store_sizes(store: &Path) -> String {
    let mut text = String::new();

    for end in ["", "-wal", "-shm"] {
        let mut name = store.as_os_str().to_owned();
        name.push(end);

        let file = PathBuf::from(name);
        let bytes = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
        writeln!(text, "{}: {bytes} bytes", file.display()).expect("to memory");
    }

    text
}

/// Names and states of the threads, with the processor time of each in ticks.
pub fn threads(folder: &Path) -> String {
    let mut text = String::from("id name state user-ticks system-ticks\n");
    let Ok(entries) = std::fs::read_dir(folder) else {
        return text;
    };

    for entry in entries.flatten() {
        // A thread may end meanwhile.
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((id, rest)) = stat.split_once(" (") else {
            continue;
        };

        // The name may hold anything; the last bracket ends it.
        let Some((name, rest)) = rest.rsplit_once(") ") else {
            continue;
        };

        let fields: Vec<&str> = rest.split(' ').collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or("?");
        writeln!(text, "{id} {name} {} {} {}", field(0), field(11), field(12)).expect("to memory");
    }

    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let long = "ä".repeat(TEXT_MAX);
        let short = cut(&long);
        assert!(short.len() < TEXT_MAX + 100);
        assert!(short.ends_with(&format!("{} bytes in all\n", long.len())));
        assert_eq!(cut("a"), "a");
    }

    #[test]
    fn threads_are_named_with_their_times() {
        std::thread::Builder::new()
            .name("a (b) c".to_owned())
            .spawn(|| {
                let told = threads(Path::new("/proc/self/task"));
                assert!(told.contains(" a (b) c R "), "{told}");
            })
            .expect("a thread")
            .join()
            .expect("no panic");
    }
}
