//! The user at the other end of a connection, as the kernel knows it.

use std::sync::Arc;

/// Users of this machine. Those of a directory service are not in it, and keep their number.
const USERS: &str = "/etc/passwd";

/// Name of the user with that number; `uid 1000` where this machine has none.
pub fn user_of(uid: u32) -> Arc<str> {
    let users = std::fs::read_to_string(USERS).unwrap_or_default();

    match name_in(&users, uid) {
        Some(name) => name.into(),
        None => format!("uid {uid}").into(),
    }
}

fn name_in(users: &str, uid: u32) -> Option<&str> {
    // Read as text: a line that is none of a user is passed over.
    let uid = uid.to_string();

    users.lines().find_map(|line| {
        // name:password:uid:...
        let mut fields = line.split(':');
        let name = fields.next()?;

        (fields.nth(1) == Some(&uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_name_of_this_machine_or_a_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nanna:x:1000:1000::/home/anna:/bin/sh\n";
        assert_eq!(name_in(users, 0), Some("root"));
        assert_eq!(name_in(users, 1000), Some("anna"));
        assert_eq!(name_in(users, 100), None);
        assert_eq!(&*user_of(u32::MAX - 7), "uid 4294967288");
    }
}
