//! Synchronisation of the system's clock: times in results are worth as much as that clock.

/// True if the kernel says that NTP, PTP or chrony steers the clock (adjtimex(2)). `None` if the
/// kernel does not say.
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: a timex is plain numbers, and zeros are a valid one: modes = 0 changes nothing.
    let mut now: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes into the whole timex that we own, and keeps no pointer to it.
    let state = unsafe { libc::adjtimex(&raw mut now) };
    if state < 0 {
        return None;
    }

    let has_error = state == libc::TIME_ERROR;
    let is_unsteered = now.status & libc::STA_UNSYNC != 0;
    Some(!has_error && !is_unsteered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_the_same_twice() {
        assert_eq!(is_synchronised(), is_synchronised());
    }
}
