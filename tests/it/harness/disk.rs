//! Disks that fail under a line: a real one in memory, in a mount namespace of the line's own, and
//! files that may grow no further.

use super::line;
use super::program::Running;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A command in a mount namespace of its own, in which `disk` is a disk of 4 MB in memory.
fn namespace(folder: &Path, words: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = format!("mount -t tmpfs -o size=4m none disk && {words}");
    command
        .current_dir(folder)
        .args(["--mount", "sh", "-c", &script])
        .arg(env!("CARGO_BIN_EXE_winspect"));

    command
}

/// Tries whether disks can be mounted.
pub fn mounts() -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("disk")).expect("made");
    match namespace(folder.path(), "true").output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(super::program::errors(&output).trim().to_owned()),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

/// The line of a folder, with a disk of its own at `disk`, which is left as `prepare` leaves it.
pub fn start_line(folder: &Path, prepare: &str) -> Running {
    std::fs::create_dir_all(folder.join("disk")).expect("made");
    let words = format!("{prepare} && exec \"$0\" run line.toml");
    Running::start(&mut namespace(folder, &words))
}

/// Runs a script to its end, with a disk of its own at `disk`; `$0` is the program.
pub fn run_script(folder: &Path, script: &str) -> std::process::Output {
    std::fs::create_dir_all(folder.join("disk")).expect("made");
    let output = namespace(folder, script).output();
    output.expect("util-linux is there")
}

/// Runs a command on the disk of such a line.
#[track_caller]
pub fn on_the_disk_of(line: &Running, folder: &Path, words: &str) {
    let script = format!("cd {:?} && {words}", folder.display().to_string());
    let done = Command::new("nsenter")
        .args(["--mount", "--target", &line.id().to_string()])
        .args(["sh", "-c", &script])
        .status();

    assert!(done.expect("util-linux is there").success(), "{words}");
}

/// The line of a folder, whose files can be kept from growing by [`let_it_write`].
pub fn limitable(folder: &Path) -> Running {
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ && exec \"$0\" run line.toml"])
        .arg(env!("CARGO_BIN_EXE_winspect"))
        .current_dir(folder);

    Running::start(&mut command)
}

/// Sets the size that no file of a line may pass from now on: bytes, or `unlimited`.
pub fn let_it_write(line: &Running, limit: &str) {
    let done = Command::new("prlimit")
        .args(["--pid", &line.id().to_string()])
        .arg(format!("--fsize={limit}:unlimited"))
        .status();

    assert!(done.expect("util-linux is everywhere").success());
}

/// A disk whose every sync takes as long as a test says: `tools/line/slow_sync.c`, loaded into a line.
pub struct SlowDisk {
    library: PathBuf,
    hang: PathBuf,
}

/// Tries whether there is a C compiler.
pub fn can_be_slowed() -> Result<(), String> {
    match Command::new("cc").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(super::program::errors(&output)),
        Err(error) => Err(format!("cc: {error}")),
    }
}

impl SlowDisk {
    /// Builds what slows the disk, in a folder. At first nothing is slow.
    pub fn make(folder: &Path) -> Self {
        let library = folder.join("slow_sync.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/line/slow_sync.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl")
            .status();

        assert!(built.expect("there is a compiler").success());
        let hang = folder.join("sync_ms");
        let disk = SlowDisk { library, hang };
        disk.set(Duration::ZERO);
        disk
    }

    /// The line of a folder, on that disk.
    pub fn start_line(&self, folder: &Path) -> Running {
        let mut command = line::command(folder);
        command
            .env("LD_PRELOAD", &self.library)
            .env("SLOW_SYNC_FILE", &self.hang);

        Running::start(&mut command)
    }

    /// Sets how long each sync takes from now on.
    pub fn set(&self, hang: Duration) {
        let text = format!("{}\n", hang.as_millis());
        // By another file's name: the line must not read half a number.
        let fresh = self.hang.with_extension("new");
        std::fs::write(&fresh, text).expect("written");
        std::fs::rename(&fresh, &self.hang).expect("renamed");
    }
}
