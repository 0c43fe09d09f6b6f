//! Processor time that was used, which unlike time on the wall does not count waiting or neighbours.

use std::time::Duration;

/// Of the calling thread since it began.
pub fn of_thread() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Of all threads of this process, those that have ended too.
pub fn of_process() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes into `now`, which lives; both clocks are always there, so that it cannot fail.
    unsafe {
        libc::clock_gettime(id, &mut now);
    }
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
