//! Priority of a thread on the processor.

use rustix::process::setpriority_process;
use rustix::thread::gettid;

/// The lowest priority that still makes progress beside busy threads. `SCHED_IDLE` may make none, and a thread
/// that holds a lock of the allocator would then hold up others with it.
const LOWEST: i32 = 19;

/// Gives the calling thread the lowest priority.
pub fn lower_own() {
    // Linux keeps a priority for each thread under its own id.
    if let Err(error) = setpriority_process(Some(gettid()), LOWEST) {
        tracing::warn!("a thread keeps its priority: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;

    #[test]
    fn a_thread_lowers_its_own_priority_alone() {
        let before = getpriority_process(None).expect("known");
        let lowered = std::thread::spawn(|| {
            lower_own();
            getpriority_process(Some(gettid())).expect("known")
        });

        assert_eq!(lowered.join().expect("no panic"), LOWEST);
        assert_eq!(getpriority_process(None).expect("known"), before);
    }
}
