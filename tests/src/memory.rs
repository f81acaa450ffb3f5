//! What the system counts of the memory of a process.

use anyhow::{Context, Result};

/// The memory of a process, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The most that was ever resident, with the mapped files.
    pub peak: u64,
    /// What is resident now and not backed by files.
    pub anonymous: u64,
}

/// The memory of the process with this id.
pub fn memory(pid: u32) -> Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| name.to_owned())?;
        Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
    };
    Ok(Memory { peak: field("VmHWM")?, anonymous: field("RssAnon")? })
}
