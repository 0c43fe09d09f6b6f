//! The test's hand on the library's file operations: it counts them, ends the process before one of
//! them, or lets one fail as on a full disk.

use std::cell::RefCell;
use std::io;
use std::path::Path;

/// The end that a test has planned for this thread's operations.
#[derive(Debug, Clone, Copy, Default)]
pub enum Plan {
    /// None: all of them are done.
    #[default]
    Run,
    /// The process ends before the operation of that number.
    DieAt(usize),
    /// The operation of that number fails for want of room, and all after it that take room.
    FullFrom(usize),
}

thread_local! {
    static PLAN: RefCell<(Plan, Vec<String>)> = const { RefCell::new((Plan::Run, vec![])) };
}

/// Begins to count this thread's operations anew.
pub fn plan(plan: Plan) {
    PLAN.set((plan, vec![]));
}

/// The operations since then: `sync recipe.toml`.
pub fn done() -> Vec<String> {
    PLAN.with_borrow(|(_, done)| done.clone())
}

/// Is called before each operation.
pub fn step(what: &str, path: &Path) -> io::Result<()> {
    PLAN.with_borrow_mut(|(plan, done)| {
        let number = done.len();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        done.push(format!("{what} {name}"));
        match plan {
            Plan::DieAt(at) if *at == number => std::process::abort(),
            Plan::FullFrom(at) if number >= *at && takes_room(what) => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    })
}

fn takes_room(what: &str) -> bool {
    ["make", "create", "write", "link", "sync"].contains(&what)
}
