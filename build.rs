//! Tells the binaries and tests of this package where libtorch is, so that they run without
//! `LD_LIBRARY_PATH`, and keeps a CUDA libtorch linked.
//!
//! The build script of `tch` does this for `tch` itself, but cargo passes linker arguments
//! on to no dependent, so every package that links has to ask again.

use std::env;
use std::path::Path;

/// Libraries of an accelerator: nothing refers to their symbols, so a linker that drops
/// unused libraries drops them, and the device is silently not there at run time.
const ACCELERATORS: [&str; 2] = ["libtorch_cuda.so", "libtorch_hip.so"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Exported by torch-sys; absent when the feature `torch` is off.
    let Ok(lib) = env::var("DEP_TCH_LIBTORCH_LIB") else { return };
    // -Xlinker rather than -Wl, because a comma may be part of the path.
    for argument in ["-Xlinker", "-rpath", "-Xlinker", &lib] {
        println!("cargo:rustc-link-arg={argument}");
    }
    if ACCELERATORS.iter().any(|name| Path::new(&lib).join(name).exists()) {
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo:rustc-link-arg=-ltorch");
    }
}
