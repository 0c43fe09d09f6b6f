//! The password that a signed-in user sets: what takes the place of a password is what knows that password.

use super::{Access, TOO_MANY, lock};
use crate::base::secret::Secret;
use crate::page::access::actor::Actor;
use crate::page::access::password::{PasswordHash, is_right};
use crate::page::access::users::{User, Users, UsersError};
use crate::page::blocking::Busy;
use std::time::Instant;

impl Access {
    /// Asks a signed-in user for the password again; returns its hash. Wrong ones count as at a sign-in.
    ///
    /// # Errors
    /// Words for the person.
    pub async fn confirm(&self, actor: &Actor, password: Secret) -> Result<PasswordHash, String> {
        let (name, from) = (&*actor.name, actor.from);
        self.count_try(name, from)?;

        let user = lock(&self.users).file.users().find(name).cloned();
        let hash = user.map(|user| user.password);
        let asked = hash.clone();

        let checked = self
            .passwords
            .run(move || is_right(asked.as_ref(), &password))
            .await;

        match (checked, hash) {
            (Ok(true), Some(hash)) => {
                lock(&self.limits).give_back(from, name, Instant::now());

                Ok(hash)
            }

            (Ok(_), _) => {
                self.note(format!(
                    "another password for {name} at the page from {from} refused: wrong password"
                ));

                Err("the password until now is wrong".to_owned())
            }

            (Err(_), _) => {
                // The password was not looked at.
                lock(&self.limits).give_back(from, name, Instant::now());

                Err(TOO_MANY.to_owned())
            }
        }
    }

    /// Gives a user another password in the place of the confirmed one. All sessions of the user end; returns the id of
    /// a new one, in which the user goes on.
    ///
    /// # Errors
    /// Words for the person, also where the password is not the confirmed one any more.
    pub async fn set_own_password(
        &self,
        actor: &Actor,
        confirmed: PasswordHash,
        password: PasswordHash,
    ) -> Result<String, String> {
        let name = actor.name.clone();
        let new = password.clone();

        let changed = self
            .change_users(actor.who(), move |users| {
                replace(users, &name, &confirmed, new)
            })
            .await;

        match changed {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Err(Busy) => {
                return Err("the users' file does not answer; look again in a moment".to_owned());
            }
        }

        // Another request may have ended the session already, because its user is another one now. The new one is of who
        // was written: if an admin has changed the user since, the next request ends it.
        let role = actor.role;
        let user = User { role, password };
        let mut sessions = lock(&self.sessions);
        sessions.end(actor.session);

        Ok(sessions.begin(&actor.name, user, Instant::now()))
    }
}

/// Gives a user another password, if the one until now is still the confirmed one.
fn replace(
    users: &mut Users,
    name: &str,
    confirmed: &PasswordHash,
    password: PasswordHash,
) -> Result<(), UsersError> {
    let is_confirmed = users
        .find(name)
        .is_some_and(|user| user.password == *confirmed);

    // An admin may have taken the password away from who knows it, between the question and the write.
    if !is_confirmed {
        let words = format!(
            "the password of {name} was changed by somebody else meanwhile; sign in by that one"
        );

        return Err(UsersError::Refused(words));
    }

    users.set_password(name, password)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, HERE, bench, change, run, sign_in};
    use super::*;
    use crate::page::access::sessions::SessionKey;

    /// A signed-in user of the bench.
    fn anna(bench: &Bench) -> Actor {
        let id = sign_in(&bench.access, "anna", "correct horse").expect("right");
        let session = SessionKey::of(&id);
        let found = bench.access.session(session).expect("signed in");

        Actor {
            name: found.name,
            role: found.user.role,
            from: HERE,
            session,
            form_token: found.form_token,
        }
    }

    fn confirmed(bench: &Bench, actor: &Actor) -> PasswordHash {
        let asked = bench.access.confirm(actor, Secret::new("correct horse"));

        run(asked).expect("it is right")
    }

    #[test]
    fn a_password_that_an_admin_sets_meanwhile_stays() {
        let bench = bench();
        let anna = anna(&bench);
        let confirmed = confirmed(&bench, &anna);

        let reset = PasswordHash::of("admins horse").expect("a password");
        change(&bench.path, |users| {
            users.set_password("anna", reset.clone())
        });

        let own = PasswordHash::of("another horse").expect("a password");
        let refused = run(bench.access.set_own_password(&anna, confirmed, own));
        let words = refused.expect_err("it is another password");
        assert!(words.contains("by somebody else"), "{words}");

        let users = bench.access.all_users();
        let left = users.find("anna").expect("she is a user");
        assert_eq!(left.password, reset);
        assert!(bench.access.session(anna.session).is_none());
    }

    #[test]
    fn the_user_goes_on_in_a_new_session_also_where_the_old_one_was_ended_meanwhile() {
        for is_ended in [false, true] {
            let bench = bench();
            let anna = anna(&bench);
            let confirmed = confirmed(&bench, &anna);

            if is_ended {
                lock(&bench.access.sessions).end(anna.session);
            }

            let own = PasswordHash::of("another horse").expect("a password");
            let set = bench.access.set_own_password(&anna, confirmed, own);
            let id = run(set).expect("it is set");
            assert!(bench.access.session(SessionKey::of(&id)).is_some());
            assert!(bench.access.session(anna.session).is_none());
        }
    }
}
