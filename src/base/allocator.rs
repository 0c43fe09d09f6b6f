//! How the C library's allocator behaves in a process that runs for months.

/// Heaps that all threads share. glibc makes 8 a core, and a camera that is opened again has new threads, which settle in
/// unused ones: each time some megabytes more, up to hundreds on a large machine.
#[cfg(target_env = "gnu")]
const ARENAS_MAX: i32 = 2;

/// Before the first thread is started.
pub fn bound_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers; no other thread allocates meanwhile, which the caller keeps.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX);
    }
}
