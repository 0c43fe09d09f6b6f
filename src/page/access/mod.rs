//! Access: who may do what at the page.
//!
//! ```text
//! winspect user --users' file--> UsersFile --+
//! sign-in form --SignInLimits--> PasswordQueue (argon2id, one at a time) --> Sessions --id in a cookie--> browser
//!                                            |
//! GET   --cookie--> Viewer, signed in or not   +--> audit log
//! POST  --cookie, Origin, form token, 64 KiB--> Act<T>: an Actor, and the form
//! ```
//! [`Actor`] is a signed-in user as a request names it, with a [`Role`]; [`Right`]s are what roles differ in. Without a
//! user, or signed out, everything can be read and nothing changed. There is no first password: the first user is made on
//! the machine, by `winspect user add`.
//!
//! A session is checked against the users' file at each request: a user who is removed, or has another role or
//! password, is signed out. Sessions live in memory, as hashes: a restart signs everybody out.
//!
//! **Failure paths.** A users' file that cannot be read has no users, and one whose disk hangs those of before; both are told by the line's health. Who guesses
//! passwords waits ([`limits`]); passwords in bulk wait for each other and hold up nothing else ([`password`]).

mod act;
mod actor;
pub mod cookie;
pub mod keeper;
mod known_users;
pub mod limits;
mod notice;
mod origin;
pub mod password;
mod role;
pub mod sessions;
pub mod sign_in;
pub mod users;
pub mod users_file;
mod viewer;

pub use self::act::Act;
pub use self::actor::Actor;
pub use self::notice::Notice;
pub use self::role::{ROLES, Right, Role};
pub use self::users_file::users_path;
pub use self::viewer::{Peer, PollViewer, Viewer};

#[cfg(test)]
pub(in crate::page) use self::actor::actor_of;
