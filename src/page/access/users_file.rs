//! The users' file, and its content as it was read last.
//!
//! It is written whole, and takes the place of the one before at once. Its mode is 0600, and its owner is the folder's:
//! root makes users for a service that runs as somebody else.

use super::users::{Users, UsersError, check_name};
use std::fs::{File, Metadata, Permissions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of the file at most: users, and comments of a person.
const FILE_MAX: u64 = 256 << 10;
/// Time for another program to finish its change.
const PATIENCE: Duration = Duration::from_millis(500);
/// First lines of the file.
const HEAD: &str = "# Users of the line's page. Made by `winspect user` and the Users screen, which drop comments.\n";

/// The file of the users of the line with that store, beside it: `box.users.toml` for `box.db`, `box.sqlite.users.toml`
/// for `box.sqlite`, as the control socket's is named.
pub fn users_path(store: &Path) -> PathBuf {
    let mut name = match store.extension() {
        Some(end) if end != "db" => store.as_os_str().to_owned(),
        _ => store.with_extension("").into_os_string(),
    };

    name.push(".users.toml");

    name.into()
}

/// What tells one state of a file from another: a file that took another's place has another number.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    file: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Stamp {
            device: metadata.dev(),
            file: metadata.ino(),
            bytes: metadata.len(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// The users' file, and its content as it was read last.
#[derive(Debug, Clone)]
pub struct UsersFile {
    path: PathBuf,
    users: Users,
    /// State of the file that `users` stands in; `None` where there was none.
    stamp: Option<Stamp>,
}

impl UsersFile {
    /// The file at a path, which need not be there; not read yet.
    pub fn at(path: &Path) -> Self {
        UsersFile {
            path: path.to_owned(),
            users: Users::default(),
            stamp: None,
        }
    }

    /// The file at a path, read.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn open(path: &Path) -> Result<Self, UsersError> {
        let mut file = UsersFile::at(path);

        file.refresh()?;

        Ok(file)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The users as they were read last.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// Reads the file again if it is another one by now. Returns the users before, if so.
    ///
    /// # Errors
    /// When it cannot be read: there are no users then, because whose rights ended is not known.
    pub fn refresh(&mut self) -> Result<Option<Users>, UsersError> {
        let stamp = match std::fs::metadata(&self.path) {
            Ok(metadata) => Some(Stamp::of(&metadata)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                self.forget();

                return Err(self.file_error(error));
            }
        };

        if stamp == self.stamp {
            return Ok(None);
        }

        // A file that is changed between the two is read again at the next look.
        let users = match &stamp {
            Some(stamp) => self.read(stamp.bytes),
            None => Ok(Users::default()),
        };

        match users {
            Ok(users) => {
                self.stamp = stamp;

                Ok(Some(std::mem::replace(&mut self.users, users)))
            }
            Err(error) => {
                self.forget();

                Err(error)
            }
        }
    }

    /// Changes the users: as they stand in the file now, under a lock. Returns the change's result.
    ///
    /// # Errors
    /// When the change is refused, another program is changing them, or the file cannot be written; nothing is changed then.
    pub fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Users) -> Result<T, UsersError>,
    ) -> Result<T, UsersError> {
        // The folder is locked, not the file: another file takes its place.
        let lock = self.lock()?;

        self.refresh()?;
        let mut users = self.users.clone();
        let result = change(&mut users)?;

        self.write(&users)?;

        drop(lock);

        let metadata = std::fs::metadata(&self.path);
        let metadata = metadata.map_err(|error| self.file_error(error))?;

        self.stamp = Some(Stamp::of(&metadata));

        self.users = users;

        Ok(result)
    }

    fn forget(&mut self) {
        self.users = Users::default();

        self.stamp = None;
    }

    fn read(&self, bytes: u64) -> Result<Users, UsersError> {
        if bytes > FILE_MAX {
            return Err(self.broken(format!(
                "it has {bytes} bytes, and at most {FILE_MAX} are read"
            )));
        }

        // What a person wrote there is checked like what a program did.
        let text = std::fs::read_to_string(&self.path);
        let text = text.map_err(|error| self.file_error(error))?;
        let users: Users = toml::from_str(&text).map_err(|error| self.broken(error.to_string()))?;

        // A name out of a hand's edit must fit as well: it stands in the audit log.
        for name in users.users.keys() {
            check_name(name).map_err(|words| self.broken(words))?;
        }

        Ok(users)
    }

    fn write(&self, users: &Users) -> Result<(), UsersError> {
        // The head says what the file is to a person who opens it.
        let text = toml::to_string(users).expect("users are plain values");
        let text = format!("{HEAD}{text}");
        let folder = self.folder();
        let written = write_whole(folder, &self.path, &text);

        written.map_err(|error| self.file_error(error))
    }

    fn lock(&self) -> Result<File, UsersError> {
        // `winspect user` and the page may come at the same time.
        let folder = File::open(self.folder()).map_err(|error| self.file_error(error))?;
        let until = Instant::now() + PATIENCE;

        loop {
            match folder.try_lock() {
                Ok(()) => return Ok(folder),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(UsersError::Busy {
                        path: self.path.clone(),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(self.file_error(error)),
            }
        }
    }

    fn folder(&self) -> &Path {
        // A bare name lies in the working directory.
        let parent = self.path.parent();
        let named = parent.filter(|folder| !folder.as_os_str().is_empty());

        named.unwrap_or(Path::new("."))
    }

    fn file_error(&self, source: std::io::Error) -> UsersError {
        UsersError::File {
            path: self.path.clone(),
            source,
        }
    }

    fn broken(&self, words: String) -> UsersError {
        UsersError::Broken {
            path: self.path.clone(),
            words,
        }
    }
}

/// Writes a file beside its place, and moves it there: who reads sees the old one or the new one.
fn write_whole(folder: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;

    file.write_all(text.as_bytes())?;

    file.as_file()
        .set_permissions(Permissions::from_mode(0o600))?;

    // The file before may have been given to somebody; the first one is the folder's owner's.
    let owner = std::fs::metadata(path).or_else(|_| std::fs::metadata(folder))?;
    let own = file.as_file().metadata()?;

    if (own.uid(), own.gid()) != (owner.uid(), owner.gid()) {
        fchown(file.as_file(), Some(owner.uid()), Some(owner.gid()))?;
    }

    file.as_file().sync_all()?;

    file.persist(path)?;

    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::access::password::PasswordHash;
    use crate::page::access::role::Role;
    use crate::page::access::users::User;

    fn user(role: Role) -> User {
        User {
            role,
            password: PasswordHash::of("correct horse").expect("a password"),
        }
    }

    #[test]
    fn a_change_is_whole_private_and_seen_by_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("box.users.toml");
        let mut other = UsersFile::open(&path).expect("no file is no user");
        assert!(other.users().is_empty());

        let mut file = UsersFile::at(&path);
        let anna = user(Role::Setter);
        file.change(|users| users.add("anna", anna.clone()))
            .expect("added");
        let mode = std::fs::metadata(&path).expect("it is there").mode() & 0o777;
        assert_eq!(mode, 0o600);

        let before = other.refresh().expect("it is read").expect("it is new");
        assert_eq!(other.users().find("anna"), Some(&anna));
        let told = other.users().changes_since(&before);
        assert_eq!(told, ["anna added as setter"]);
        assert!(other.refresh().expect("it is read").is_none());

        file.change(|users| users.set_role("anna", Role::Admin))
            .expect("changed");
        let before = other.refresh().expect("it is read").expect("it is new");
        let told = other.users().changes_since(&before);
        assert_eq!(told, ["anna is admin now, was setter"]);

        other.change(|users| users.remove("anna")).expect("removed");
        file.refresh().expect("it is read");
        assert!(file.users().is_empty());
    }

    #[test]
    fn a_refused_change_writes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users.toml");
        let mut file = UsersFile::at(&path);
        for name in ["", "a b", "a/b", "a(b)", "a\n", &"x".repeat(33)] {
            let refused = file.change(|users| users.add(name, user(Role::View)));
            let words = refused.expect_err(name).to_string();
            assert!(words.contains("a user's name must be"), "{words}");
        }

        assert!(!path.exists());
        file.change(|users| users.add("Jürgen.2", user(Role::View)))
            .expect("added");
        let again = file.change(|users| users.add("jürgen.2", user(Role::View)));
        let words = again.expect_err("it is taken").to_string();
        assert!(words.contains("already"), "{words}");
        let unknown = file.change(|users| users.remove("otto"));
        assert!(unknown.is_err());
    }

    #[test]
    fn a_broken_file_has_no_users() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users.toml");
        let mut file = UsersFile::at(&path);
        file.change(|users| users.add("anna", user(Role::Admin)))
            .expect("added");
        for broken in [
            "users = 7",
            "[users.\"a b\"]\nrole = \"admin\"\npassword = \"x\"",
            "[[",
        ] {
            std::fs::write(&path, broken).expect("it is written");
            let words = file.refresh().expect_err(broken).to_string();
            assert!(words.contains("cannot be read"), "{words}");
            assert!(file.users().is_empty(), "{broken}");
            // Nothing is written over what a person may mend.
            assert!(
                file.change(|users| users.add("eve", user(Role::Admin)))
                    .is_err()
            );
        }
    }
}
