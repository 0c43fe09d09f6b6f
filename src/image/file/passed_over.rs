//! What is passed over in a folder of pictures, counted and in words.

use std::fmt;

/// Files and folders that are no pictures, counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PassedOver {
    /// Hidden ones and those of other programs, such as `._a.jpg` and `@eaDir`.
    pub foreign: usize,
    /// Pictures of formats that are not read, such as GIF.
    pub unread: usize,
    /// Folders: pictures in them belong to another class or line.
    pub folders: usize,
    /// Files that are no pictures.
    pub others: usize,
}

impl PassedOver {
    /// True if there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        *self == PassedOver::default()
    }
}

impl fmt::Display for PassedOver {
    /// `2 hidden or of other programs, 1 folder`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();

        if self.foreign > 0 {
            words.push(format!("{} hidden or of other programs", self.foreign));
        }

        if self.unread > 0 {
            words.push(format!("{} of formats that are not read", self.unread));
        }

        match self.folders {
            0 => {}
            1 => words.push("1 folder".to_owned()),
            more => words.push(format!("{more} folders")),
        }

        if self.others > 0 {
            words.push(format!("{} no pictures", self.others));
        }

        f.write_str(&words.join(", "))
    }
}
