//! Objects of the library that are freed when they are dropped.

use super::{Object, call};
use crate::engine::tensorrt::vtable::Vtable;
use std::ffi::c_void;

/// Whoever has several keeps them in the order in which they are freed: what was made before what made it.
pub(super) struct Owned(pub Object);

/// Every owned object but the parser has its destructor here.
const DESTROY: usize = 0;

impl Owned {
    /// Nothing for what stands for a failure.
    pub fn new(address: *mut c_void) -> Option<Self> {
        Object::new(address).map(Owned)
    }

    pub fn address(&self) -> *mut c_void {
        self.0.0.as_ptr()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: this is its owner, and the owners' fields stand so that what it was made from goes later.
        unsafe { self.0.free(DESTROY) }
    }
}

/// Bytes of the library's.
pub struct Memory<'a> {
    object: Owned,
    slots: &'a Vtable,
}

impl<'a> Memory<'a> {
    pub(super) fn new(address: *mut c_void, slots: &'a Vtable) -> Option<Self> {
        Some(Memory {
            object: Owned::new(address)?,
            slots,
        })
    }

    pub fn bytes(&self) -> &[u8] {
        let data = call!(self.object.0, self.slots.memory_data, () -> *const u8);
        let size = call!(self.object.0, self.slots.memory_size, () -> usize);
        if data.is_null() {
            return &[];
        }
        // SAFETY: the library's bytes live as long as their object.
        unsafe { std::slice::from_raw_parts(data, size) }
    }
}
