//! Gives the shared library the name that programs are linked to: the number
//! is `mavera_rl_abi_version()`.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libmavera_rl.so.0");
    println!("cargo::rerun-if-changed=build.rs");
}
