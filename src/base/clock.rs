//! Whether the system's clock is kept by somebody: times in results are worth as much.

/// What the kernel knows (adjtimex(2)): NTP, PTP or chrony steer the clock; nothing where it does not say.
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: a timex is plain numbers, and zeros are a valid one: modes = 0 changes nothing.
    let mut now: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes into the whole timex that we own, and keeps no pointer to it.
    let state = unsafe { libc::adjtimex(&raw mut now) };
    (state >= 0).then_some(state != libc::TIME_ERROR && now.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_the_same_twice() {
        assert_eq!(is_synchronised(), is_synchronised());
    }
}
