//! What the system counts of a process.

use std::time::Duration;

use anyhow::{Context, Result};

/// The clock ticks of a second in /proc, on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// The CPU time that a process has used, in user and system mode, all threads together.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold spaces; the 12th and 13th fields behind it are utime and stime (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
    let ticks = |field: usize| -> Result<f64> { Ok(fields.get(field).context("too few fields")?.parse()?) };
    Ok(Duration::from_secs_f64((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND))
}

/// Sends a process a signal: `STOP`, `CONT`, …
pub(crate) fn signal(pid: u32, signal: &str) -> Result<()> {
    let status = std::process::Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status()?;
    anyhow::ensure!(status.success(), "kill -{signal} {pid}: {status}");
    Ok(())
}
