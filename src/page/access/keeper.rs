//! The keeper of the page's access: users, sessions and limits together, with each sign-in, refusal and sign-out in
//! the audit log.

mod own_password;

use super::known_users::{KnownUsers, look_at, write_change};
use super::limits::SignInLimits;
use super::notice::Notice;
use super::password::{PasswordQueue, is_right};
use super::sessions::{FoundSession, SessionKey, Sessions};
use super::users::{Users, UsersError};
use crate::base::health::{Diagnostics, Health};
use crate::base::secret::Secret;
use crate::page::blocking::{BlockingWork, Busy};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Diagnostics source of a users' file that cannot be read.
pub const PAGE_USERS: &str = "page users";

/// Sentences for the audit log. Never waits for the disk.
pub type Audit = Box<dyn Fn(String) + Send + Sync>;

/// Refusal of a password that was not looked at.
const TOO_MANY: &str = "too many sign in just now; try again in a moment";
/// Time for a look at the users' file, which a request waits for.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);
/// Time for which looks hang until the line's health tells it: a busy machine is slow now and then.
const TOLD_AFTER: Duration = Duration::from_secs(5);

/// The access to one page.
pub struct Access {
    users: Arc<Mutex<KnownUsers>>,
    /// Changes of the users' file, one at a time.
    changes: BlockingWork,
    /// Looks at the users' file, one at a time.
    looks: BlockingWork,
    told_after: Duration,
    /// Since when looks hang.
    hung: Mutex<Option<Instant>>,
    sessions: Mutex<Sessions>,
    limits: Mutex<SignInLimits>,
    passwords: PasswordQueue,
    audit: Audit,
    causes: Diagnostics,
}

impl Access {
    /// The access for the users of that file. A file that cannot be read is told by `causes`, and nobody can sign in.
    pub fn new(users: &Path, audit: Audit, causes: Diagnostics) -> Self {
        Access {
            users: Arc::new(Mutex::new(KnownUsers::of(users))),
            changes: BlockingWork::new(1),
            looks: BlockingWork::new(1).within(LOOK_PATIENCE),
            told_after: TOLD_AFTER,
            hung: Mutex::default(),
            sessions: Mutex::default(),
            limits: Mutex::default(),
            passwords: PasswordQueue::default(),
            audit,
            causes,
        }
    }

    /// Looks at the users' file, as each request does before it asks who somebody is: a user who was removed is signed
    /// out by the next one. The look is made beside this thread. While one hangs requests make none, and the users are
    /// those of before.
    pub async fn look(&self) {
        let hangs = lock(&self.hung).is_some();

        if !hangs {
            self.look_whether_it_hangs().await;
        }
    }

    /// The same whether looks hang or not, once a second: what hangs is found to answer again.
    pub async fn look_whether_it_hangs(&self) {
        self.tell_changes();
        let users = self.users.clone();
        let looked = self.looks.run(move || look_at(&users)).await;

        match looked {
            Ok(read) => {
                *lock(&self.hung) = None;

                if let Some(read) = read {
                    self.tell_file(&read);
                }
            }

            Err(Busy) => self.tell_hung(),
        }

        self.tell_changes();
    }

    /// Notes that looks hang, and tells it where they have for a while.
    fn tell_hung(&self) {
        let since = *lock(&self.hung).get_or_insert_with(Instant::now);

        if since.elapsed() >= self.told_after {
            let words = "the users' file does not answer; who was a user before still is";

            self.causes
                .set(PAGE_USERS, Health::MaintenanceRequired, words.to_owned());
        }
    }

    /// True if somebody could sign in, by the last look.
    pub fn has_users(&self) -> bool {
        !lock(&self.users).file.users().is_empty()
    }

    /// All users, by the last look.
    pub fn all_users(&self) -> Users {
        lock(&self.users).file.users().clone()
    }

    /// Writes a sentence into the audit log.
    pub fn note(&self, words: String) {
        tracing::info!("{words}");

        (self.audit)(words);
    }

    /// Signs a user in who asks from that address; returns the id of the new session.
    ///
    /// # Errors
    /// Words for the person: the same for a wrong name and a wrong password.
    pub async fn sign_in(
        &self,
        name: &str,
        password: Secret,
        from: IpAddr,
    ) -> Result<String, String> {
        self.count_try(name, from)?;

        // Who is not there is checked all the same, so that a name cannot be told from a wrong password by its time.
        self.look().await;

        let user = lock(&self.users).file.users().find(name).cloned();
        let hash = user.as_ref().map(|user| user.password.clone());

        let checked = self
            .passwords
            .run(move || is_right(hash.as_ref(), &password))
            .await;

        match (checked, user) {
            (Ok(true), Some(user)) => {
                // An id that the browser sent is never taken over: the session is a new one.
                let role = user.role.word();
                let id = lock(&self.sessions).begin(name, user, Instant::now());

                lock(&self.limits).give_back(from, name, Instant::now());

                self.note(format!("{name} ({role}) signed in at the page from {from}"));

                Ok(id)
            }

            (Ok(_), user) => {
                // A password that was typed into the field of the name would stand in the audit log: what is no user's
                // name is not written.
                let tried = match user {
                    Some(_) => format!("sign-in as {name}"),
                    None => "sign-in under a name that is no user's".to_owned(),
                };

                self.note(format!(
                    "{tried} at the page from {from} refused: wrong name or password"
                ));

                Err("the name or the password is wrong".to_owned())
            }

            (Err(_), _) => {
                // The password was not looked at.
                lock(&self.limits).give_back(from, name, Instant::now());

                Err(TOO_MANY.to_owned())
            }
        }
    }

    /// Ends a session of a browser at that address.
    pub fn sign_out(&self, key: SessionKey, from: IpAddr) {
        let name = lock(&self.sessions).end(key);

        if let Some(name) = name {
            self.note(format!("{name} signed out of the page from {from}"));
        }
    }

    /// The session of a key, if its user still is who signed in, by the last look: another role or password ends it.
    pub fn session(&self, key: SessionKey) -> Option<FoundSession> {
        self.checked(key, Sessions::find)
    }

    /// The same for a request that a script makes by itself: it does not keep the session from its end.
    pub fn session_of_poll(&self, key: SessionKey) -> Option<FoundSession> {
        self.checked(key, Sessions::look)
    }

    fn checked(
        &self,
        key: SessionKey,
        find: fn(&mut Sessions, SessionKey, Instant) -> Option<FoundSession>,
    ) -> Option<FoundSession> {
        let found = find(&mut lock(&self.sessions), key, Instant::now())?;
        let is_same = lock(&self.users).file.users().find(&found.name) == Some(&found.user);

        if is_same {
            return Some(found);
        }

        lock(&self.sessions).end(key);

        let name = &found.name;

        self.note(format!(
            "the session of {name} at the page ended: the user is another one now"
        ));

        None
    }

    /// Counts a password that is tried.
    fn count_try(&self, name: &str, from: IpAddr) -> Result<(), String> {
        let begun = lock(&self.limits).begin(from, name, Instant::now());

        begun.map_err(|wait| {
            let seconds = wait.as_secs() + 1;
            format!("too many wrong passwords; try again in {seconds} s")
        })
    }

    /// Changes the users for somebody, and notes the changes.
    ///
    /// # Errors
    /// When the change is refused, or the file cannot be written; `Busy` when its disk does not answer: the change may be
    /// made later all the same, and is noted then.
    pub async fn change_users(
        &self,
        who: String,
        change: impl FnOnce(&mut Users) -> Result<(), UsersError> + Send + 'static,
    ) -> Result<Result<Vec<String>, UsersError>, Busy> {
        // What was changed from outside until now is told as such.
        self.look().await;

        // The audit log leads to the store, which a disk that hangs must not hold: the work leaves its sentences here.
        let users = self.users.clone();
        let changed = self.changes.run(move || write_change(&users, &who, change));
        let changed = changed.await?;
        self.tell_changes();

        Ok(changed)
    }

    /// The queue of work on passwords.
    pub fn passwords(&self) -> &PasswordQueue {
        &self.passwords
    }

    /// Keeps a message for the next screen of a session.
    pub fn put_notice(&self, key: SessionKey, notice: Notice) {
        lock(&self.sessions).put_notice(key, notice);
    }

    /// The message for this screen.
    pub fn take_notice(&self, key: SessionKey) -> Option<Notice> {
        lock(&self.sessions).take_notice(key)
    }

    /// Writes what has changed into the audit log.
    fn tell_changes(&self) {
        let untold = std::mem::take(&mut lock(&self.users).untold);

        for words in untold {
            self.note(words);
        }
    }

    /// Tells the line's health whether the users' file can be read.
    fn tell_file<E: std::fmt::Display>(&self, read: &Result<(), E>) {
        match read {
            Ok(()) => self.causes.clear(PAGE_USERS),
            Err(error) => {
                let words = format!("nobody can sign in: {error}");

                self.causes
                    .set(PAGE_USERS, Health::MaintenanceRequired, words);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::access::password::PasswordHash;
    use crate::page::access::role::Role;
    use crate::page::access::users::User;
    use crate::page::access::users_file::UsersFile;
    use std::net::Ipv4Addr;
    use std::path::PathBuf;
    use std::sync::mpsc;

    pub(super) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    pub(super) struct Bench {
        pub access: Access,
        told: Arc<Mutex<Vec<String>>>,
        causes: Diagnostics,
        pub path: PathBuf,
        _folder: tempfile::TempDir,
    }

    pub(super) fn bench() -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users.toml");
        change(&path, |users| {
            let password = PasswordHash::of("correct horse").expect("a password");
            let role = Role::Setter;
            users.add("anna", User { role, password })
        });

        let told = Arc::new(Mutex::new(vec![]));
        let ear = told.clone();
        let causes = Diagnostics::default();
        let audit = Box::new(move |words| lock(&ear).push(words));
        let access = Access::new(&path, audit, causes.clone());
        Bench {
            access,
            told,
            causes,
            path,
            _folder: folder,
        }
    }

    pub(super) fn change(path: &Path, change: impl FnOnce(&mut Users) -> Result<(), UsersError>) {
        let mut file = UsersFile::open(path).expect("it is read");
        file.change(change).expect("it is changed");
    }

    pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.expect("a runtime").block_on(work)
    }

    /// The session of a key, as a request finds it.
    fn session(access: &Access, key: SessionKey) -> Option<FoundSession> {
        run(access.look());
        access.session(key)
    }

    pub(super) fn sign_in(access: &Access, name: &str, password: &str) -> Result<String, String> {
        sign_in_from(access, HERE, name, password)
    }

    fn sign_in_from(
        access: &Access,
        from: IpAddr,
        name: &str,
        password: &str,
    ) -> Result<String, String> {
        run(access.sign_in(name, Secret::new(password), from))
    }

    #[test]
    fn a_sign_in_its_refusal_and_its_end_are_noted() {
        let bench = bench();
        let access = &bench.access;
        let wrong = sign_in(access, "anna", "wrong horse").expect_err("wrong");
        assert_eq!(sign_in(access, "hunter2", "wrong horse"), Err(wrong));
        let id = sign_in(access, "anna", "correct horse").expect("right");
        let key = SessionKey::of(&id);
        assert!(session(access, key).is_some());
        access.sign_out(key, HERE);
        assert!(session(access, key).is_none());
        let told = lock(&bench.told);
        let expected = [
            "sign-in as anna at the page from 127.0.0.1 refused: wrong name or password",
            "sign-in under a name that is no user's at the page from 127.0.0.1 refused: wrong name or password",
            "anna (setter) signed in at the page from 127.0.0.1",
            "anna signed out of the page from 127.0.0.1",
        ];
        assert_eq!(*told, expected);
    }

    #[test]
    fn a_user_who_becomes_another_one_is_signed_out() {
        let new_password = PasswordHash::of("another horse").expect("a password");
        type Change = fn(&mut Users, PasswordHash) -> Result<(), UsersError>;
        let changes: [Change; 3] = [
            |users, _| users.remove("anna").map(|_| ()),
            |users, _| users.set_role("anna", Role::View).map(|_| ()),
            |users, password| users.set_password("anna", password),
        ];

        for one in changes {
            let bench = bench();
            let id = sign_in(&bench.access, "anna", "correct horse").expect("right");
            let key = SessionKey::of(&id);
            assert!(session(&bench.access, key).is_some());
            change(&bench.path, |users| one(users, new_password.clone()));
            assert!(session(&bench.access, key).is_none());
            let told = lock(&bench.told).join("\n");
            assert!(told.contains("in their file"), "{told}");
            assert!(told.contains("the session of anna"), "{told}");
        }
    }

    #[tokio::test]
    async fn a_change_that_hangs_holds_up_no_request_and_is_noted_in_the_end() {
        let mut bench = bench();
        bench.access.changes = BlockingWork::new(1).within(Duration::from_millis(50));
        let (release, held) = mpsc::channel::<()>();
        let hung = bench.access.change_users("otto".to_owned(), move |users| {
            let _ = held.recv();
            users.set_role("anna", Role::Admin).map(|_| ())
        });

        assert_eq!(hung.await.map(|_| ()), Err(Busy));
        bench.access.look().await;
        let before = bench.access.all_users();
        assert!(
            before
                .find("anna")
                .is_some_and(|anna| anna.role == Role::Setter)
        );

        drop(release);
        let patient = BlockingWork::new(1);
        let turns = std::mem::replace(&mut bench.access.changes, patient);
        let ended = turns.within(Duration::from_secs(60)).run(|| ()).await;
        assert_eq!(ended, Ok(()));
        bench.access.look().await;
        let after = bench.access.all_users();
        assert!(
            after
                .find("anna")
                .is_some_and(|anna| anna.role == Role::Admin)
        );
        assert_eq!(
            *lock(&bench.told),
            ["users of the page: anna is admin now, was setter, by otto"]
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_ends_all_sessions_and_is_told() {
        let bench = bench();
        let id = sign_in(&bench.access, "anna", "correct horse").expect("right");
        std::fs::write(&bench.path, "[[").expect("it is written");
        assert!(session(&bench.access, SessionKey::of(&id)).is_none());
        let (_, causes) = bench.causes.all();
        assert!(
            causes[0].starts_with("page users: nobody can sign in"),
            "{causes:?}"
        );
        std::fs::remove_file(&bench.path).expect("it was there");
        run(bench.access.look());
        assert!(!bench.access.has_users());
        assert_eq!(bench.causes.all().1, [""; 0]);
    }

    #[test]
    fn a_file_that_hangs_leaves_the_users_as_they_were_and_holds_up_no_request() {
        let mut bench = bench();
        bench.access.told_after = Duration::ZERO;
        bench.access.looks = BlockingWork::new(1).within(Duration::from_millis(50));
        let id = sign_in(&bench.access, "anna", "correct horse").expect("right");
        let key = SessionKey::of(&id);

        // A pipe that nobody writes into hangs as a share does whose server has gone.
        std::fs::remove_file(&bench.path).expect("it was there");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &bench.path,
            rustix::fs::FileType::Fifo,
            mode,
            0,
        )
        .expect("a pipe");
        let pipe = bench.path.with_extension("pipe");
        run(async {
            bench.access.look().await;
            assert!(bench.access.session(key).is_some(), "anna stays");

            let told = bench.causes.all().1.join("");
            assert!(told.contains("does not answer"), "{told}");

            // It answers again, and anna was removed meanwhile.
            std::fs::rename(&bench.path, &pipe).expect("moved");
            change(&bench.path, |users| {
                let password = PasswordHash::of("correct horse").expect("a password");
                let role = Role::View;
                users.add("otto", User { role, password })
            });

            std::fs::write(&pipe, "").expect("written");
            while bench.access.session(key).is_some() {
                bench.access.look().await;
                assert!(
                    bench.access.all_users().find("otto").is_none(),
                    "none looks"
                );
                bench.access.look_whether_it_hangs().await;
            }

            bench.access.look().await;
            assert_eq!(bench.causes.all().1, [""; 0]);
            assert!(bench.access.all_users().find("otto").is_some());
        });
    }

    #[test]
    fn who_guesses_is_not_listened_to() {
        let bench = bench();
        for _ in 0..3 {
            assert!(sign_in(&bench.access, "anna", "wrong horse").is_err());
        }

        let early = sign_in(&bench.access, "anna", "correct horse").expect_err("too early");
        assert!(early.contains("try again in"), "{early}");
        let home = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
        assert!(sign_in_from(&bench.access, home, "anna", "correct horse").is_ok());
    }
}
