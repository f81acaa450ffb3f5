//! Few arenas of memory.
//!
//! glibc's allocator keeps an arena for each of many threads and gives little of it back: under load a worker grew to three times what it took with two
//! arenas (ADR 18). glibc reads how many there may be from the environment, before a program begins; so a program whose environment does
//! not say begins once more, in the same process.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

const VARIABLE: &str = "MALLOC_ARENA_MAX";
const MOST: &str = "2";

/// Begins again with few arenas, unless the environment says how many. Returns only if it says so already, or why that failed. To be called
/// before there is any other thread.
pub(crate) fn limit() -> io::Result<()> {
    if !cfg!(target_env = "gnu") || std::env::var_os(VARIABLE).is_some() {
        return Ok(());
    }
    let program = std::env::current_exe()?;
    let mut arguments = std::env::args_os();
    let mut again = Command::new(&program);
    again.arg0(arguments.next().unwrap_or(program.into())).args(arguments).env(VARIABLE, MOST);
    Err(again.exec())
}
