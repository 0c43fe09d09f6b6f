//! Layer 6: the line.
