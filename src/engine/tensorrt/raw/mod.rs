//! Calls into TensorRT: all of the module's `unsafe` is in here.
//!
//! An [`Object`] comes from a `create` function. Its owner frees it once, and the object that it
//! was made from lives longer: a builder outlives its network and its configuration, an engine its
//! contexts, the library everything.

mod build;
mod exchange;
mod jit;
mod listen;
mod load;
mod owned;
mod run;

pub use build::{Builder, Capabilities, Shapes};
pub use exchange::exchange;
pub use listen::{Logger, Monitor, PhaseStep};
pub use load::Loaded;
pub use owned::Memory;
pub use run::{Context, DeserializedEngine, Scratch};

use crate::engine::tensorrt::vtable::FREE;
use std::ffi::{CString, c_void};
use std::ptr::NonNull;

/// An object of the library, alive until its owner is dropped.
#[derive(Debug, Clone, Copy)]
struct Object(NonNull<c_void>);

/// No object lies below: 11.4's lean library returns a null pointer that it has already added an
/// offset to.
const LOWEST: usize = 4096;

/// A function of the library, of any kind.
type Function = *const c_void;

/// The second half of a destructor.
type FreeFn = unsafe extern "C" fn(*mut c_void);

impl Object {
    /// The object at an address; `None` for an address that stands for a failure.
    fn new(address: *mut c_void) -> Option<Self> {
        // Null is the usual sign of a failure, a small address that of one version.
        let address = NonNull::new(address)?;
        let is_object = address.as_ptr() as usize >= LOWEST;

        is_object.then_some(Object(address))
    }

    /// The method at `slot` of the object's implementation, which is its second field, and the
    /// implementation.
    fn method(self, slot: usize) -> (Function, *mut c_void) {
        // The public class is a thin shell of two pointers; the methods are the implementation's.
        let fields = self.0.as_ptr().cast::<*mut c_void>();

        // SAFETY: a live object of the public classes is `{ vtable, implementation }`.
        let address = unsafe { fields.add(1).read() };

        // SAFETY: the implementation of a live object is a live object.
        let implementation = unsafe { NonNull::new_unchecked(address) };

        // The implementation is passed on, because it is the method's `this`.
        let function = Object(implementation).own_method(slot);

        (function, address)
    }

    /// The method at `slot` of the object's own table: a plain interface's, or a destructor.
    fn own_method(self, slot: usize) -> Function {
        let fields = self.0.as_ptr().cast::<*const Function>();

        // SAFETY: the first field of an object with virtual functions is the address of their
        // table.
        let table = unsafe { fields.read() };

        // SAFETY: the slots name functions that the table has (`vtable.rs`).
        unsafe { table.add(slot).read() }
    }

    /// Destroys the object and frees its memory, through the destructor whose first half is at
    /// `slot`.
    ///
    /// # Safety
    /// Called once, by the owner, and before the object that it was made from is freed.
    unsafe fn free(self, slot: usize) {
        // Itanium tables hold two destructors side by side: the first destroys, the second frees as
        // well.
        let address = self.own_method(slot + FREE);

        // SAFETY: the second half of a destructor takes the object and gives nothing.
        let free: FreeFn = unsafe { std::mem::transmute(address) };

        // SAFETY: the caller's promise.
        unsafe { free(self.0.as_ptr()) }
    }
}

/// Calls the method at a slot of an object's implementation: `call!(object, slot, (kinds) -> kind,
/// arguments)`.
macro_rules! call {
    ($object:expr, $slot:expr, ($($kind:ty),*) -> $result:ty $(, $argument:expr)*) => {{
        let (address, this) = $object.method($slot);
        let function: unsafe extern "C" fn(*mut std::ffi::c_void $(, $kind)*) -> $result =
            // SAFETY: the kinds are those of the function that stands at this slot, after the
            // headers; on both platforms a C++ method is called like a C function with the object
            // as its first argument.
            unsafe { std::mem::transmute(address) };
        // SAFETY: the object is alive, and so is all that the arguments point to; the functions do
        // not throw.
        unsafe { function(this $(, $argument)*) }
    }};
}

/// Calls a method of a plain interface, whose own table has it.
macro_rules! call_own {
    ($object:expr, $slot:expr, ($($kind:ty),*) -> $result:ty $(, $argument:expr)*) => {{
        let address = $object.own_method($slot);
        let function: unsafe extern "C" fn(*mut std::ffi::c_void $(, $kind)*) -> $result =
            // SAFETY: the kinds are those of the function that stands at this slot, after the
            // headers; on both platforms a C++ method is called like a C function with the object
            // as its first argument.
            unsafe { std::mem::transmute(address) };
        // SAFETY: the object is alive, and so is all that the arguments point to; the functions do
        // not throw.
        unsafe { function($object.0.as_ptr() $(, $argument)*) }
    }};
}

use {call, call_own};

/// `nvinfer1::Dims64`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Dims {
    count: i32,
    dims: [i64; 8],
}

impl Dims {
    /// `dims` are at most 8: TensorRT has no more.
    fn new(dims: &[usize]) -> Self {
        assert!(dims.len() <= 8, "our graphs have at most 4 dimensions");

        // The rest stays zero, and the library reads `count` dims only.
        let mut all = [0; 8];

        for (to, from) in all.iter_mut().zip(dims) {
            *to = *from as i64;
        }

        Dims {
            count: dims.len() as i32,
            dims: all,
        }
    }

    /// The dims, -1 for one that is only known at run time; `None` when the library knows no such
    /// tensor.
    fn list(&self) -> Option<Vec<i64>> {
        // A negative count is the library's answer for an unknown tensor.
        let count = usize::try_from(self.count).ok()?;
        let dims = self.dims.get(..count)?;

        Some(dims.to_vec())
    }
}

/// A name as the library takes it.
fn c_string(name: &str) -> CString {
    CString::new(name).expect("names of tensors and files hold no zero byte")
}
