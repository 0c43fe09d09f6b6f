//! The NVIDIA path: our kernels and the network in one CUDA graph, from a picture's bytes to what its score is made of.

pub mod kernels;
