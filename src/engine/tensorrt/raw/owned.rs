//! Objects of the library that are freed when they are dropped.

use super::{Object, call};
use crate::engine::tensorrt::vtable::Vtable;
use std::ffi::c_void;

/// An owned object. A struct with several keeps them in the order in which they are freed: an
/// object before the one that it was made from.
pub(super) struct Owned(pub Object);

/// Slot of the destructor, the same for every owned object but the parser.
const DESTROY: usize = 0;

impl Owned {
    /// The object at an address; `None` for an address that stands for a failure.
    pub fn new(address: *mut c_void) -> Option<Self> {
        Object::new(address).map(Owned)
    }

    pub fn address(&self) -> *mut c_void {
        self.0.0.as_ptr()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: this is its owner, and the owners' fields stand so that the object that it was
        // made from goes later.
        unsafe { self.0.free(DESTROY) }
    }
}

/// Bytes that the library owns.
pub struct Memory<'a> {
    object: Owned,
    slots: &'a Vtable,
}

impl<'a> Memory<'a> {
    pub(super) fn new(address: *mut c_void, slots: &'a Vtable) -> Option<Self> {
        let object = Owned::new(address)?;

        Some(Memory { object, slots })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // Address and size are asked each time: the library keeps both for the life of the object.
        let data = call!(self.object.0, self.slots.memory_data, () -> *const u8);
        let size = call!(self.object.0, self.slots.memory_size, () -> usize);

        // A slice may not begin at a null pointer, even an empty one.
        if data.is_null() {
            return &[];
        }

        // SAFETY: the library's bytes live as long as their object.
        unsafe { std::slice::from_raw_parts(data, size) }
    }
}
