//! The facts that headers tell of an access unit.

/// The facts of one access unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessUnit {
    /// Possibility to begin decoding here.
    pub entry: Entry,
    /// True if another picture may be predicted from this one.
    pub is_reference: bool,
    /// True if every slice is intra coded.
    pub is_intra: bool,
    /// True for a picture that needs pictures before the last entry (RASL of H.265).
    pub is_leading: bool,
    /// The fault of the unit itself.
    pub damage: Option<String>,
    /// Reference pictures that were lost before this unit.
    pub lost_before: Option<String>,
}

impl AccessUnit {
    /// Notes that no slice of it is readable; `unread` were there. Before the first parameter sets
    /// (`knows_sets`) nothing can be read, and what the unit lacks was never there.
    pub(super) fn lacks_slices(&mut self, unread: usize, knows_sets: bool) {
        let is_broken = unread > 0 && knows_sets;
        let words = "no slice of it can be read".to_owned();
        self.damage = self.damage.take().or(is_broken.then_some(words));
    }
}

/// Entry points of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Entry {
    /// Decoding cannot begin here.
    #[default]
    None,
    /// Everything after it in decoding order is right (IDR).
    Closed,
    /// Everything that is shown after it is right; pictures that are shown before it may lack theirs.
    Open,
    /// Pictures are right after this many further reference pictures (intra refresh).
    Gradual(u32),
}
