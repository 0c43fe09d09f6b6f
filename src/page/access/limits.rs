//! Limits of sign-ins: who guesses passwords waits longer and longer.
//!
//! A try counts when it begins, and is given back when the password was right, or was not looked at. It is counted
//! first by the address that it comes from: three tries of an address are free; each further one waits twice as long as
//! the one before, up to [`DELAY_MAX`]. Then the tries of a name have a bound, [`NAME_TRIES`], of which one comes back in
//! [`NAME_REFILL`]: that is more often than one address may try, so that who guesses at a name shuts its user out at no
//! other address. All names together have [`ALL_TRIES`], of which one comes back in [`ALL_REFILL`]. A try that comes
//! too early is refused without a look at the password, and counts for nothing.
//!
//! Bounds: 1000 addresses and 1000 names, these kept as hashes; the one that tried longest ago makes room. An IPv6
//! network of 64 bits is one address: a machine has all of it.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Tries of an address that wait for nothing.
const FREE: u32 = 3;
/// Wait after the first try that is not free.
const DELAY_FIRST: Duration = Duration::from_secs(1);
/// Longest wait of an address.
pub const DELAY_MAX: Duration = Duration::from_secs(60);
/// Time after which the tries of an address are forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(15 * 60);
/// Wrong tries of a name, from everywhere, that wait for nothing.
pub const NAME_TRIES: u32 = 20;
/// Time in which one of them comes back.
pub const NAME_REFILL: Duration = Duration::from_secs(10);
/// Wrong tries of all names together that wait for nothing.
pub const ALL_TRIES: u32 = 60;
/// Time in which one of them comes back.
pub const ALL_REFILL: Duration = Duration::from_secs(1);
/// Addresses, and names, that are remembered.
const KEPT_MAX: usize = 1000;

/// Tries of one address.
#[derive(Clone, Copy)]
struct AddressTries {
    count: u32,
    last: Instant,
    /// Moment from which the next try is looked at.
    next: Instant,
}

/// Tries that come back one by one.
#[derive(Clone, Copy)]
struct Bucket {
    used: u32,
    /// Moment from which the time runs in which the next one comes back.
    since: Instant,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Bucket {
            used: 0,
            since: now,
        }
    }

    /// Takes back what came back until now. What is left of the time counts for the next one.
    fn refill(&mut self, every: Duration, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        let back = passed.as_millis() / every.as_millis();
        let back = u32::try_from(back).unwrap_or(u32::MAX);
        if back >= self.used {
            *self = Bucket::new(now);
            return;
        }

        self.used -= back;
        self.since += every * back;
    }

    /// The time to wait where all of them are used.
    fn check(&self, most: u32, every: Duration, now: Instant) -> Result<(), Duration> {
        if self.used < most {
            return Ok(());
        }

        Err(every.saturating_sub(now.saturating_duration_since(self.since)))
    }
}

/// The limits.
#[derive(Default)]
pub struct SignInLimits {
    hasher: RandomState,
    addresses: HashMap<IpAddr, AddressTries>,
    names: HashMap<u64, Bucket>,
    all: Option<Bucket>,
}

impl SignInLimits {
    /// Begins a try: it counts as failed until [`SignInLimits::give_back`].
    ///
    /// # Errors
    /// The time to wait, when it comes too early; it does not count then.
    pub fn begin(&mut self, from: IpAddr, name: &str, now: Instant) -> Result<(), Duration> {
        let from = network(from);
        let known = self.addresses.get(&from).copied();
        let known = known.filter(|tries| now.saturating_duration_since(tries.last) < FORGET_AFTER);
        if let Some(tries) = known
            && tries.next > now
        {
            return Err(tries.next - now);
        }

        let key = self.hasher.hash_one(name);
        let of_name = self.names.get(&key).copied();
        let mut of_name = of_name.unwrap_or(Bucket::new(now));
        of_name.refill(NAME_REFILL, now);
        of_name.check(NAME_TRIES, NAME_REFILL, now)?;

        let mut all = self.all.unwrap_or(Bucket::new(now));
        all.refill(ALL_REFILL, now);
        all.check(ALL_TRIES, ALL_REFILL, now)?;

        let count = known.map_or(0, |tries| tries.count) + 1;
        let tries = AddressTries {
            count,
            last: now,
            next: now + delay_after(count),
        };

        make_room(&mut self.addresses, &from, |tries| tries.last);
        self.addresses.insert(from, tries);

        of_name.used += 1;
        make_room(&mut self.names, &key, |bucket| bucket.since);
        self.names.insert(key, of_name);

        all.used += 1;
        self.all = Some(all);
        Ok(())
    }

    /// Gives a try back whose password was right, or was not looked at. Wrong ones before it stay counted: else who has
    /// a password would guess at others between two sign-ins.
    pub fn give_back(&mut self, from: IpAddr, name: &str, now: Instant) {
        let from = network(from);
        if let Some(tries) = self.addresses.get_mut(&from) {
            tries.count = tries.count.saturating_sub(1);
            tries.next = now;
        }

        let key = self.hasher.hash_one(name);
        let of_name = self.names.get_mut(&key);
        for bucket in of_name.into_iter().chain(&mut self.all) {
            bucket.used = bucket.used.saturating_sub(1);
        }
    }
}

/// What counts as one address.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

/// Makes room for a key. A flood of new ones must not push one out that is guessed at: all together are bounded in time.
fn make_room<K: Hash + Eq + Copy, V>(
    kept: &mut HashMap<K, V>,
    key: &K,
    at: impl Fn(&V) -> Instant,
) {
    if kept.len() < KEPT_MAX || kept.contains_key(key) {
        return;
    }

    let oldest = kept.iter().min_by_key(|(_, tries)| at(tries));
    if let Some(oldest) = oldest.map(|(key, _)| *key) {
        kept.remove(&oldest);
    }
}

/// The wait after so many tries.
fn delay_after(count: u32) -> Duration {
    let Some(doublings) = count.checked_sub(FREE) else {
        return Duration::ZERO;
    };

    let factor = 2_u32.saturating_pow(doublings.min(16));

    DELAY_FIRST.saturating_mul(factor).min(DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const SECOND: Duration = Duration::from_secs(1);
    const MILLISECOND: Duration = Duration::from_millis(1);

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    #[test]
    fn the_wait_of_an_address_grows_to_its_bound_and_others_do_not_wait() {
        let mut limits = SignInLimits::default();
        let mut now = Instant::now();
        let (here, there) = (address(1), address(2));
        for name in ["anna", "otto", "eve"] {
            assert_eq!(limits.begin(here, name, now), Ok(()), "of any name");
        }

        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            let early = limits.begin(here, "anna", now + SECOND * wait - MILLISECOND);
            assert_eq!(early, Err(MILLISECOND), "{wait}");
            now += SECOND * wait;
            assert_eq!(limits.begin(here, "anna", now), Ok(()), "{wait}");
        }

        assert_eq!(limits.begin(there, "anna", now), Ok(()));
    }

    #[test]
    fn a_user_gets_in_from_elsewhere_while_an_address_guesses_for_hours() {
        let mut limits = SignInLimits::default();
        let start = Instant::now();
        let (foe, home) = (address(1), address(2));
        let mut guesses = 0;
        for second in 0..4 * 3600 {
            let now = start + SECOND * second;
            guesses += u32::from(limits.begin(foe, "anna", now).is_ok());
            if second % 97 == 0 {
                assert_eq!(limits.begin(home, "anna", now), Ok(()), "{second}");
                limits.give_back(home, "anna", now);
            }
        }

        assert!((230..260).contains(&guesses), "one a minute: {guesses}");
    }

    #[test]
    fn a_right_password_gives_its_own_try_back_and_no_other() {
        let mut limits = SignInLimits::default();
        let mut now = Instant::now();
        let here = address(1);
        for _ in 0..=FREE {
            now += SECOND;
            limits.begin(here, "anna", now).expect("in time");
        }

        now += SECOND * 2;
        limits.begin(here, "eve", now).expect("in time");
        limits.give_back(here, "eve", now);
        assert_eq!(limits.begin(here, "anna", now), Ok(()), "one more");
        let early = limits.begin(here, "anna", now + SECOND);
        assert_eq!(early, Err(SECOND * 3), "the fifth wrong one waits 4 s");
    }

    #[test]
    fn tries_of_an_address_are_forgotten_in_time() {
        let mut limits = SignInLimits::default();
        let now = Instant::now();
        let here = address(1);
        for _ in 0..FREE {
            limits.begin(here, "anna", now).expect("free");
        }

        let later = now + FORGET_AFTER;
        limits.begin(here, "anna", later).expect("forgotten");
        assert_eq!(limits.begin(here, "anna", later), Ok(()), "counted anew");
    }

    #[test]
    fn many_addresses_share_the_tries_of_a_name_and_of_all_names() {
        let mut limits = SignInLimits::default();
        let start = Instant::now();
        let mut from = 0;
        let mut tried = |limits: &mut SignInLimits, is_one_name: bool, now| {
            let mut begun = 0;
            for _ in 0..1000 {
                from += 1;
                let name = if is_one_name { 0 } else { from };
                let name = format!("n{name}");
                begun += u32::from(limits.begin(address(from), &name, now).is_ok());
            }

            begun
        };

        assert_eq!(tried(&mut limits, true, start), NAME_TRIES);
        assert_eq!(tried(&mut limits, false, start), ALL_TRIES - NAME_TRIES);

        // The time that is left over counts for the next one.
        let later = start + ALL_REFILL * 5 + ALL_REFILL / 2;
        assert_eq!(tried(&mut limits, false, later), 5);
        assert_eq!(tried(&mut limits, false, later + ALL_REFILL / 2), 1);
        for hour in 1..200 {
            let later = start + SECOND * 3600 * hour;
            assert_eq!(tried(&mut limits, false, later), ALL_TRIES);
        }

        assert!(limits.names.len() <= KEPT_MAX && limits.addresses.len() <= KEPT_MAX);
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let [one, same, other] = ["fd00::1", "fd00::2:1", "fd00:0:0:1::1"]
            .map(|text| network(text.parse().expect("an address")));
        assert!(one == same && one != other);
    }
}
