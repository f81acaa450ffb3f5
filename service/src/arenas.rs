//! Few arenas of memory.
//!
//! glibc gives each of many threads an arena of its own, eight for each core, and every one keeps what was freed in it: a worker under load
//! takes twice the memory that it uses, and more with time. How many there are is read from the environment before `main`, so a program
//! that wants few starts itself anew.

use std::io;

/// Replaces this process by its own program, under the same id, with few arenas. To be called before there is a second thread. Returns
/// where there is nothing to do: elsewhere than on glibc, or if the environment says already how it wants to have it; an error is what
/// keeps the program from starting anew.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(clippy::disallowed_methods, reason = "these are settings of glibc, not of ours")]
pub(crate) fn few() -> io::Result<()> {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    const VARIABLE: &str = "MALLOC_ARENA_MAX";
    const ARENAS: &str = "2";
    if [VARIABLE, "GLIBC_TUNABLES"].into_iter().any(|variable| std::env::var_os(variable).is_some()) {
        return Ok(());
    }
    let mut args = std::env::args_os();
    let mut anew = Command::new(std::env::current_exe()?);
    if let Some(name) = args.next() {
        anew.arg0(name);
    }
    Err(anew.args(args).env(VARIABLE, ARENAS).exec())
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn few() -> io::Result<()> {
    Ok(())
}
