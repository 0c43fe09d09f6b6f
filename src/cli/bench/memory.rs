//! Memory of this process, as the kernel tells it.

/// Megabytes that are resident now; NaN where the kernel does not say.
pub fn resident_mb() -> f64 {
    status_mb("VmRSS:")
}

/// Megabytes that were resident at most; NaN where the kernel does not say.
pub fn peak_mb() -> f64 {
    status_mb("VmHWM:")
}

/// A line of /proc/self/status, which is in kB.
fn status_mb(key: &str) -> f64 {
    // The kernel's kB have 1024 bytes; a thousand of them count as one MB here.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|words| words.trim_end_matches("kB").trim().parse::<f64>().ok())
        .map_or(f64::NAN, |kb| kb / 1e3)
}
