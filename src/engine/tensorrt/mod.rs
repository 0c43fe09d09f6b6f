//! TensorRT 10, 11 and TensorRT-RTX, loaded at run time through a binding of our own.
