//! Processor time that was used. Unlike time on the wall it counts neither waiting nor other
//! processes.

use std::time::Duration;

/// Processor time of the calling thread since it began.
pub fn of_thread() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Processor time of all threads of this process, including those that have ended.
pub fn of_process() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };

    // SAFETY: clock_gettime writes into `now`, which outlives the call. Both clocks always exist, so
    // that the call cannot fail.
    unsafe {
        libc::clock_gettime(id, &mut now);
    }

    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
