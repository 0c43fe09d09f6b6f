//! Passwords as argon2id hashes, made and checked one at a time and off the page's thread.
//!
//! A hash takes tens of milliseconds and 19 MiB on purpose. Passwords in bulk therefore wait for each other, never
//! for the page; beyond [`WAITING_MAX`] they are refused. The thread that computes has the lowest priority: verdicts
//! come first.

use crate::base::priority::lower_own;
use crate::base::secret::Secret;
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;
use tokio::sync::Semaphore;

/// Characters of a new password at least.
const LENGTH_MIN: usize = 8;
/// Bytes of a password at most: more is not hashed.
const LENGTH_MAX: usize = 256;
/// Passwords that may wait or be computed at once.
pub const WAITING_MAX: usize = 8;

/// Hash of a password, with its salt and costs, as a PHC string.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PasswordHash(String);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(hidden)")
    }
}

impl TryFrom<String> for PasswordHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match phc::PasswordHash::new(&text) {
            Ok(hash) if hash.algorithm.as_str() == "argon2id" => Ok(PasswordHash(text)),
            Ok(hash) => Err(format!(
                "a password must be an argon2id hash, not {}",
                hash.algorithm
            )),
            Err(error) => Err(format!(
                "a password is no hash: {error}; set it by winspect user password"
            )),
        }
    }
}

impl From<PasswordHash> for String {
    fn from(hash: PasswordHash) -> String {
        hash.0
    }
}

impl PasswordHash {
    /// The hash of a new password, with a salt of its own.
    ///
    /// # Errors
    /// When the password is too short or too long; in words.
    pub fn of(password: &str) -> Result<Self, String> {
        check(password)?;

        let made: Result<phc::PasswordHash, _> =
            Argon2::default().hash_password(password.as_bytes());
        let hash = made.map_err(|error| format!("the password could not be hashed: {error}"))?;

        Ok(PasswordHash(hash.to_string()))
    }

    /// True for the password of the hash. Takes its time.
    pub fn fits(&self, password: &Secret) -> bool {
        let Ok(hash) = phc::PasswordHash::new(&self.0) else {
            return false;
        };

        // A long one is not hashed: it could not have been set.
        let password = password.reveal().as_bytes();

        password.len() <= LENGTH_MAX && Argon2::default().verify_password(password, &hash).is_ok()
    }

    /// A hash that no password is meant to fit: checked for unknown names, so that they take the same time.
    fn of_unknown() -> &'static PasswordHash {
        static UNKNOWN: OnceLock<PasswordHash> = OnceLock::new();

        UNKNOWN.get_or_init(|| {
            let password = format!("{:032x}", rand::random::<u128>());

            PasswordHash::of(&password).expect("32 digits are a password")
        })
    }
}

/// True if that is the user's password; always false, in the same time, without a user.
pub fn is_right(hash: Option<&PasswordHash>, password: &Secret) -> bool {
    let unknown = PasswordHash::of_unknown();
    let fits = hash.unwrap_or(unknown).fits(password);

    fits && hash.is_some()
}

/// Checks a new password.
fn check(password: &str) -> Result<(), String> {
    let length = password.chars().count();

    if length < LENGTH_MIN {
        return Err(format!(
            "a password must have at least {LENGTH_MIN} characters, got {length}; a few words together are easy to keep"
        ));
    }

    if password.len() > LENGTH_MAX {
        return Err(format!(
            "a password must have at most {LENGTH_MAX} bytes, got {}",
            password.len()
        ));
    }

    Ok(())
}

/// The queue of work on passwords.
pub struct PasswordQueue {
    /// Places of the queue.
    places: Semaphore,
    /// The one who computes.
    turn: Semaphore,
}

impl Default for PasswordQueue {
    fn default() -> Self {
        PasswordQueue {
            places: Semaphore::new(WAITING_MAX),
            turn: Semaphore::new(1),
        }
    }
}

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub struct QueueFull;

impl PasswordQueue {
    /// Does a piece of work when its turn has come, on a thread for it.
    ///
    /// # Errors
    /// When [`WAITING_MAX`] wait already; nothing is done then.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, QueueFull> {
        let _place = self.places.try_acquire().map_err(|_| QueueFull)?;
        let _turn = self.turn.acquire().await.map_err(|_| QueueFull)?;

        let done = tokio::task::spawn_blocking(|| {
            lower_own();

            work()
        });

        // A panic has ended the process already.
        done.await.map_err(|_| QueueFull)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_of_a_user_is_right() {
        let hash = PasswordHash::of("correct horse").expect("a password");
        assert!(is_right(Some(&hash), &Secret::new("correct horse")));
        assert!(!is_right(Some(&hash), &Secret::new("correct horsf")));
        assert!(!is_right(None, &Secret::new("correct horse")));
        let again = PasswordHash::of("correct horse").expect("a password");
        assert_ne!(hash, again, "each has a salt of its own");
        assert_eq!(format!("{hash:?}"), "PasswordHash(hidden)");
    }

    #[test]
    fn a_new_password_has_a_fitting_length() {
        assert!(PasswordHash::of("seven77").is_err());
        assert!(PasswordHash::of(&"x".repeat(257)).is_err());
        let text = "$argon2i$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNoaGFzaA".to_owned();
        let refused = PasswordHash::try_from(text).expect_err("another algorithm");
        assert!(refused.contains("argon2id"), "{refused}");
    }

    #[test]
    fn passwords_beyond_the_queue_are_refused_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let done = runtime.block_on(async {
            let queue = std::sync::Arc::new(PasswordQueue::default());
            let tasks: Vec<_> = (0..WAITING_MAX + 3)
                .map(|_| {
                    let queue = queue.clone();
                    tokio::spawn(async move { queue.run(|| ()).await })
                })
                .collect();

            let mut done = 0;
            for task in tasks {
                done += usize::from(task.await.expect("no panic").is_ok());
            }

            done
        });

        assert_eq!(done, WAITING_MAX);
    }
}
