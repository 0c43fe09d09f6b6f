//! The program that is tested, run to its end or kept running. What it says is read all the time,
//! so that a test can wait for it and no full pipe stops the program.

use super::golden::unpacked;
use super::{PATIENCE, wait_until};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// The program. It ends with its test's thread: a test that fails leaves nothing running.
pub fn winspect() -> Command {
    let built = env!("CARGO_BIN_EXE_winspect").into();
    let program = unpacked().map_or(built, |root| root.join("bin/winspect"));
    let mut command = Command::new(program);
    // SAFETY: two system calls and nothing else, which is allowed between fork and exec.
    unsafe { command.pre_exec(end_with_parent) };
    command
}

fn end_with_parent() -> std::io::Result<()> {
    // Tests that run under nohup would hand an ignored SIGHUP on.
    // SAFETY: the default action is set for one signal; no handler runs.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
    // SAFETY: prctl takes a signal here, and touches no memory.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// All that the program wrote to standard output and standard error.
pub fn both(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes))
        .concat()
}

/// What the program wrote to standard error.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sends a signal, such as `libc::SIGTERM`.
pub fn signal(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).expect("process numbers are small");
    // SAFETY: kill takes two numbers, and touches no memory.
    let sent = unsafe { libc::kill(pid, signal) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}

/// A pipe, and all that came through it.
#[derive(Default)]
struct Heard {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Heard {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let shared = bytes.clone();
        let reader = pipe.map(|pipe| std::thread::spawn(move || keep(pipe, &shared)));
        Heard { bytes, reader }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it, after the program has ended.
    fn whole(&mut self) -> Vec<u8> {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("a reader does not panic");
        }

        self.lock().clone()
    }
}

fn keep(mut pipe: impl Read, bytes: &Mutex<Vec<u8>>) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut piece) {
        let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend_from_slice(&piece[..count]);
    }
}

/// A program that runs. It is killed when it is dropped; a test that fails then shows what it said.
pub struct Running {
    child: Child,
    out: Heard,
    err: Heard,
}

impl Running {
    /// Starts the program of a command, and reads both of its outputs.
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));

        let out = Heard::of(child.stdout.take());
        let err = Heard::of(child.stderr.take());
        Running { child, out, err }
    }

    /// Number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `libc::SIGSTOP`.
    pub fn signal(&self, number: i32) {
        signal(&self.child, number);
    }

    /// Asks for an orderly stop.
    pub fn ask_to_stop(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Standard error until now.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.err.lock()).into_owned()
    }

    /// Standard output until now.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.out.lock()).into_owned()
    }

    /// Returns once these words are on standard error.
    #[track_caller]
    pub fn wait_for_words(&self, words: &str) {
        let what = format!("{words:?} on standard error");
        wait_until(&what, PATIENCE, || self.errors().contains(words));
    }

    /// Returns once the program has ended by itself.
    #[track_caller]
    pub fn end(mut self) -> Output {
        let mut status: Option<ExitStatus> = None;
        wait_until("the end of the program", 2 * PATIENCE, || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });

        Output {
            status: status.expect("the wait is over"),
            stdout: self.out.whole(),
            stderr: self.err.whole(),
        }
    }

    /// Asks for an orderly stop, and returns at the end of it.
    #[track_caller]
    pub fn stop(self) -> Output {
        self.ask_to_stop();
        self.end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("what was running said: {}", self.errors());
        }
    }
}
