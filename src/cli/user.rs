//! `winspect user`: who may sign in at a line's page. It writes the users' file, which a running line reads at its next
//! request.

use super::run::configuration;
use super::terminal::print;
use crate::base::exit::{Exit, Failure};
use crate::page::access::password::PasswordHash;
use crate::page::access::users::{User, UsersError};
use crate::page::access::users_file::UsersFile;
use crate::page::access::{Role, users_path};
use clap::{Args, Subcommand};
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

/// The commands of `winspect user`.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make a user; the first one makes the others on the page, if it is an admin
    Add {
        #[command(flatten)]
        user: NamedUser,
        /// What the user may do
        #[arg(long, value_enum)]
        role: Role,
        #[command(flatten)]
        password: PasswordArguments,
    },
    /// Say who may sign in, and as what
    List {
        /// The line's configuration, as for `run`
        line: PathBuf,
    },
    /// Remove a user, and end the user's sessions
    Remove(NamedUser),
    /// Give a user another role
    Role {
        #[command(flatten)]
        user: NamedUser,
        /// What the user may do
        #[arg(long, value_enum)]
        role: Role,
    },
    /// Give a user another password
    Password {
        #[command(flatten)]
        user: NamedUser,
        #[command(flatten)]
        password: PasswordArguments,
    },
}

/// A user of a line.
#[derive(Debug, Args)]
pub struct NamedUser {
    /// The line's configuration, as for `run`
    line: PathBuf,
    /// Name of the user
    name: String,
}

/// Where a password comes from.
#[derive(Debug, Args)]
pub struct PasswordArguments {
    /// Read the password from standard input, in place of asking for it on the terminal
    #[arg(long)]
    password_stdin: bool,
}

/// Runs one of the commands.
///
/// # Errors
/// When the line's file is wrong, the change is refused, or the users' file cannot be read or written.
pub fn run(command: UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Add {
            user,
            role,
            password,
        } => add(&user, role, &password),
        UserCommand::List { line } => list(&line),
        UserCommand::Remove(user) => remove(&user),
        UserCommand::Role { user, role } => set_role(&user, role),
        UserCommand::Password { user, password } => set_password(&user, &password),
    }
}

/// Removes a user, whose sessions end with the next request.
fn remove(user: &NamedUser) -> Result<(), Failure> {
    let mut file = file_of(&user.line)?;
    let removed = file.change(|users| users.remove(&user.name));

    removed.map_err(failure)?;

    let words = format!("{} is removed", user.name);
    print(words)?;

    Ok(())
}

fn set_role(user: &NamedUser, role: Role) -> Result<(), Failure> {
    let mut file = file_of(&user.line)?;
    let before = file.change(|users| users.set_role(&user.name, role));
    let before = before.map_err(failure)?;

    let name = &user.name;
    let words = format!("{name} is {}, was {}", role.word(), before.word());
    print(words)?;

    Ok(())
}

fn set_password(user: &NamedUser, password: &PasswordArguments) -> Result<(), Failure> {
    let mut file = file_of(&user.line)?;

    // The file is not held while a person types.
    let hash = password.hash()?;
    let changed = file.change(|users| users.set_password(&user.name, hash));

    changed.map_err(failure)?;

    let words = format!("{} has another password", user.name);
    print(words)?;

    Ok(())
}

fn add(user: &NamedUser, role: Role, password: &PasswordArguments) -> Result<(), Failure> {
    let mut file = file_of(&user.line)?;
    let password = password.hash()?;
    let added = file.change(|users| users.add(&user.name, User { role, password }));

    added.map_err(failure)?;

    let path = file.path().display();

    print(format!(
        "{} may sign in as {}, by {path}",
        user.name,
        role.word()
    ))
    .map(|_| ())
}

fn list(line: &Path) -> Result<(), Failure> {
    let file = file_of(line)?;

    if file.users().is_empty() {
        let path = file.path().display();

        print(format!("nobody may sign in: there is no user in {path}"))?;
    }

    for (name, user) in file.users().iter() {
        print(format!("{name}  {}", user.role.word()))?;
    }

    Ok(())
}

/// The users' file of a line.
fn file_of(line: &Path) -> Result<UsersFile, Failure> {
    let config = configuration(line)?;

    let path = match config.page {
        Some(page) => page.users,
        // A line that has no page so far may have its users already.
        None => users_path(&config.store.file),
    };

    UsersFile::open(&path).map_err(failure)
}

impl PasswordArguments {
    fn hash(&self) -> Result<PasswordHash, Failure> {
        let password = self.read()?;

        PasswordHash::of(&password).map_err(|words| Failure::words(Exit::Usage, words))
    }

    fn read(&self) -> Result<String, Failure> {
        if self.password_stdin {
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);

            read.map_err(|error| no_password(&error))?;

            return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
        }

        if !std::io::stdin().is_terminal() {
            let words =
                "there is no terminal to ask for the password; give it with --password-stdin";
            return Err(Failure::words(Exit::Usage, words));
        }

        let password = rpassword::prompt_password("Password: ");
        let again = rpassword::prompt_password("The same again: ");
        let password = password.map_err(|error| no_password(&error))?;
        let again = again.map_err(|error| no_password(&error))?;

        if password != again {
            let words = "the two passwords are not the same";

            return Err(Failure::words(Exit::Usage, words));
        }

        Ok(password)
    }
}

fn no_password(error: &std::io::Error) -> Failure {
    Failure::words(
        Exit::Unavailable,
        format!("the password cannot be read: {error}"),
    )
}

fn failure(error: UsersError) -> Failure {
    let exit = match &error {
        UsersError::Refused(_) => Exit::Usage,
        UsersError::Broken { .. } => Exit::Data,
        UsersError::File { .. } | UsersError::Busy { .. } => Exit::Unavailable,
    };

    Failure::new(exit, error)
}
