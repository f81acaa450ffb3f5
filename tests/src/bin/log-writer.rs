//! Appends numbered messages to the catalog of the embedded broker in the folder that it is given, and prints the number
//! of each one that is confirmed, until it is killed.

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use warren_broker::Settings;
use warren_protocol::ports::LogName;

/// How many appends are unconfirmed at a time.
const WINDOW: usize = 64;

#[tokio::main]
async fn main() -> Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).context("usage: log-writer FOLDER")?.into();
    let broker = warren_broker::connect(&Settings::default(), "log-writer", &folder).await?;
    let mut unconfirmed = VecDeque::new();
    let mut output = std::io::stdout().lock();
    for number in 0_u64.. {
        let message = format!("{number} {}", "x".repeat(number as usize % 3000));
        unconfirmed.push_back((number, broker.ports.log.append(&LogName::Catalog, message.into()).await?));
        if unconfirmed.len() >= WINDOW
            && let Some((number, confirm)) = unconfirmed.pop_front()
        {
            confirm.await?;
            // The pipe keeps what was written before this process dies.
            writeln!(output, "{number}")?;
        }
    }
    Ok(())
}
