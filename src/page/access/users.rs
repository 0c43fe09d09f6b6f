//! The users of the page, in a file of their own.
//!
//! ```text
//! [users.anna]
//! role = "setter"
//! password = "$argon2id$v=19$m=19456,t=2,p=1$..."
//! ```
//! They are not in the line's file, because a program writes them: it would lose the comments there, and the
//! line's file is often kept with its history where hashes of passwords do not belong. They are not in the store
//! either, so that `winspect user` needs no running line, and several lines may share one file.
//!
//! Bounds: [`USERS_MAX`] users. The file itself is [`super::users_file`]'s.

use super::password::PasswordHash;
use super::role::Role;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use thiserror::Error;

/// Users at most.
pub const USERS_MAX: usize = 200;
/// Characters of a name at most.
const NAME_MAX: usize = 32;

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// What the user may do.
    pub role: Role,
    /// Hash of the password.
    pub password: PasswordHash,
}

/// All users by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    #[serde(default)]
    pub(super) users: BTreeMap<String, User>,
}

/// Why users could not be read or changed.
#[derive(Debug, Error)]
pub enum UsersError {
    /// The file, or its folder, cannot be read or written.
    #[error("the users' file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no users' file.
    #[error(
        "the users' file {path} cannot be read: {words}; mend it, or remove it and make the users anew"
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// Why.
        words: String,
    },
    /// Another program is changing the users.
    #[error("another program changes the users in {path} just now; try again")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The change makes no sense; in words.
    #[error("{0}")]
    Refused(String),
}

impl Users {
    /// The user of that name.
    pub fn find(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &User)> {
        let users = self.users.iter();

        users.map(|(name, user)| (name.as_str(), user))
    }

    /// True without a user: then nobody can sign in.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Adds a user.
    ///
    /// # Errors
    /// When the name does not fit, is taken, or there are [`USERS_MAX`].
    pub fn add(&mut self, name: &str, user: User) -> Result<(), UsersError> {
        check_name(name).map_err(UsersError::Refused)?;

        // Two names that differ by their case alone would be one person's mistake for another's.
        let mut names = self.users.keys();
        let folded = name.to_lowercase();

        if let Some(known) = names.find(|known| known.to_lowercase() == folded) {
            let words = format!("there is a user {known:?} already; give another name");

            return Err(UsersError::Refused(words));
        }

        if self.users.len() >= USERS_MAX {
            let words = format!("there are {USERS_MAX} users already; remove one first");

            return Err(UsersError::Refused(words));
        }

        self.users.insert(name.to_owned(), user);

        Ok(())
    }

    /// Removes a user.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn remove(&mut self, name: &str) -> Result<User, UsersError> {
        let removed = self.users.remove(name);

        removed.ok_or_else(|| no_user(name))
    }

    /// Gives a user another role; returns the one before.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn set_role(&mut self, name: &str, role: Role) -> Result<Role, UsersError> {
        let user = self.user_mut(name)?;
        let before = user.role;
        user.role = role;

        Ok(before)
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn set_password(&mut self, name: &str, password: PasswordHash) -> Result<(), UsersError> {
        let user = self.user_mut(name)?;

        user.password = password;

        Ok(())
    }

    fn user_mut(&mut self, name: &str) -> Result<&mut User, UsersError> {
        let user = self.users.get_mut(name);

        user.ok_or_else(|| no_user(name))
    }

    /// What is different from `before`, one sentence a user.
    pub fn changes_since(&self, before: &Users) -> Vec<String> {
        let mut changes = vec![];

        for (name, user) in self.iter() {
            match before.find(name) {
                None => changes.push(format!("{name} added as {}", user.role.word())),
                Some(known) if known.role != user.role => changes.push(format!(
                    "{name} is {} now, was {}",
                    user.role.word(),
                    known.role.word()
                )),
                Some(known) if known.password != user.password => {
                    changes.push(format!("{name} has another password"));
                }
                Some(_) => {}
            }
        }

        let removed = before.iter().filter(|(name, _)| self.find(name).is_none());

        changes.extend(removed.map(|(name, _)| format!("{name} removed")));

        changes
    }
}

fn no_user(name: &str) -> UsersError {
    UsersError::Refused(format!("there is no user {name:?}"))
}

/// Checks a new user's name.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_alphanumeric() || ['.', '_', '-'].contains(&c);
    let length = name.chars().count();

    if (1..=NAME_MAX).contains(&length) && name.chars().all(fits) {
        return Ok(());
    }

    Err(format!(
        "a user's name must be 1 to {NAME_MAX} letters, digits, dots, underscores or hyphens, got {name:?}"
    ))
}
