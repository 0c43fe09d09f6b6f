//! Our CUDA kernels. `x.rs` holds a kernel's contract, its launch and its plain reference, `x.cu` the same maths.
