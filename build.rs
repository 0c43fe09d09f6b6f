//! Builds `src/image/jpeg.c`, the part of the JPEG decoder that must be C, against libjpeg-turbo's
//! headers as `mozjpeg-sys` has them.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=src/image/jpeg.c");
    // Set by the build script of mozjpeg-sys (`links = "jpeg"`), a list of folders like PATH.
    let headers = env::var_os("DEP_JPEG_INCLUDE").expect("mozjpeg-sys names its headers");
    cc::Build::new()
        .includes(env::split_paths(&headers))
        .file("src/image/jpeg.c")
        .compile("winspect_jpeg");
}
