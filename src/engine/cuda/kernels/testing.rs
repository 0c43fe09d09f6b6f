//! What the tests of all kernels need.
