//! Bounds of the library: of one revision, and of the revisions of one recipe.

/// Bytes of a recipe's name, as in the line's file.
pub const NAME_BYTES: usize = 64;
/// Pictures of one revision, of all kinds together.
pub const PICTURES_MAX: usize = 4096;
/// Bytes of one picture's file.
pub const PICTURE_BYTES: u64 = 256 << 20;
/// Bytes of one revision's pictures.
pub const REVISION_BYTES: u64 = 2 << 30;
/// Bytes of a manifest or of a recipe's file; a longer one is not read.
pub const TEXT_BYTES: u64 = 8 << 20;
/// Revisions of a recipe that are kept. The oldest go first; the current one and the one before it
/// stay always.
pub const REVISIONS_MAX: usize = 50;
/// Bytes of all revisions of a recipe together; a picture that several have counts once.
pub const RECIPE_BYTES: u64 = 4 << 30;
