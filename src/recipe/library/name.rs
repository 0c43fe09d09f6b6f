//! Names of recipes as names of folders.

use super::bounds::NAME_BYTES;
use super::error::LibraryError;
use crate::base::text::is_forbidden;

/// Checks that a recipe's name is one folder's name, and no other's.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_name(name: &str) -> Result<(), LibraryError> {
    let length = name.len();
    let why = if name.is_empty() {
        "it is empty".to_owned()
    } else if length > NAME_BYTES {
        format!("it must have at most {NAME_BYTES} bytes, got {length}")
    } else if name.contains(['/', '\\']) || name.contains(is_forbidden) {
        "it must have no /, no \\ and no control character".to_owned()
    } else if name.starts_with('.') {
        "it must not begin with a dot".to_owned()
    } else {
        return Ok(());
    };

    Err(LibraryError::Name {
        name: name.to_owned(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_folder_below_the_library() {
        let long = "x".repeat(NAME_BYTES + 1);
        for wrong in [
            "", ".", "..", ".lock", "a/b", "../a", "a\\b", "a\0", "a\n", &long,
        ] {
            assert!(check_name(wrong).is_err(), "{wrong:?}");
        }

        for right in ["nut", "M8 nut", "nut.v2", "Mutter ü", "3", &long[1..]] {
            assert!(check_name(right).is_ok(), "{right:?}");
        }
    }
}
