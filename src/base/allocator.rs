//! Settings of the C library's allocator for a process that runs for months.

/// Number of heaps that all threads share. glibc's default is 8 a core: a camera that is opened
/// again has new threads, which settle in unused heaps, and each time some megabytes more are kept,
/// up to hundreds on a large machine.
#[cfg(target_env = "gnu")]
const ARENAS_MAX: i32 = 2;

/// Bounds the number of heaps. The caller does so before it starts the first thread.
pub fn bound_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers. No other thread allocates meanwhile: the caller has
    // started none.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX);
    }
}
