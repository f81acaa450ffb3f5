//! Private RabbitMQ nodes. A shell script starts each one and destroys it when the test process has ended.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

/// Virtual hosts are made in blocks: each call of `rabbitmqctl` takes most of a second.
const VHOSTS_AT_ONCE: usize = 16;

/// A node; it lives as long as the test process, or until the last clone is dropped.
#[derive(Clone)]
pub struct Node {
    port: u16,
    guardian: Arc<Mutex<Guardian>>,
    next_vhost: Arc<AtomicUsize>,
    made_vhosts: Arc<AsyncMutex<usize>>,
}

/// The script that obeys.
struct Guardian {
    process: Child,
    /// Closed to end it.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Node {
    /// Starts a node of its own, for a test that kills or freezes it.
    pub async fn start() -> Result<Self> {
        let (guardian, port) = tokio::task::spawn_blocking(Guardian::start).await??;
        Ok(Self { port, guardian: Arc::new(Mutex::new(guardian)), next_vhost: Arc::default(), made_vhosts: Arc::default() })
    }

    /// The node that all tests of this process share.
    pub async fn shared() -> Result<Self> {
        static SHARED: OnceCell<Node> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await.cloned()
    }

    /// A new virtual host, empty.
    pub async fn vhost(&self) -> Result<String> {
        let number = self.next_vhost.fetch_add(1, Ordering::Relaxed);
        let mut made = self.made_vhosts.lock().await;
        while *made <= number {
            self.command(format!("vhosts {} {}", *made, *made + VHOSTS_AT_ONCE - 1)).await?;
            *made += VHOSTS_AT_ONCE;
        }
        Ok(format!("t{number}"))
    }

    /// The address of a virtual host.
    pub fn url(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", self.port)
    }

    /// Closes all connections to a virtual host.
    pub async fn disconnect(&self, vhost: &str) -> Result<()> {
        self.command(format!("disconnect {vhost}")).await
    }

    /// Kills the broker as a crash would, once what it must know of its queues is on its disk.
    pub async fn kill9(&self) -> Result<()> {
        self.command("sync".into()).await?;
        self.command("kill9".into()).await
    }

    /// Stops the broker as its administrator would.
    pub async fn stop(&self) -> Result<()> {
        self.command("stop".into()).await
    }

    /// Sets a policy for the queues of a virtual host whose names match `pattern`, in place of the one that was set here
    /// before. `definition` is JSON without spaces.
    pub async fn set_policy(&self, vhost: &str, pattern: &str, definition: &str) -> Result<()> {
        ensure!(!definition.contains(char::is_whitespace), "spaces in a policy: {definition}");
        self.command(format!("policy {vhost} {pattern} {definition}")).await
    }

    /// Raises a memory alarm: the broker has more memory in use than it now may. It takes no messages until the alarm is cleared.
    pub async fn raise_memory_alarm(&self) -> Result<()> {
        self.command("memory 0.00001".into()).await
    }

    /// Lets the broker use as much memory as at its start.
    pub async fn clear_memory_alarm(&self) -> Result<()> {
        self.command("memory absolute 1GB".into()).await
    }

    /// The process of the broker, while it runs.
    pub fn process(&self) -> Result<u32> {
        let script = self.guardian.lock().unwrap_or_else(PoisonError::into_inner).process.id();
        let children = std::fs::read_to_string(format!("/proc/{script}/task/{script}/children"))?;
        let is_broker =
            |id: &&str| std::fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.starts_with("beam"));
        Ok(children.split_whitespace().find(is_broker).context("the broker does not run")?.parse()?)
    }

    /// Starts the killed or stopped broker again, with its data.
    pub async fn start_again(&self) -> Result<()> {
        self.command("start".into()).await
    }

    /// Freezes the broker.
    pub async fn pause(&self) -> Result<()> {
        self.command("pause".into()).await
    }

    /// Thaws it.
    pub async fn resume(&self) -> Result<()> {
        self.command("resume".into()).await
    }

    async fn command(&self, command: String) -> Result<()> {
        let guardian = Arc::clone(&self.guardian);
        let obey = move || guardian.lock().unwrap_or_else(PoisonError::into_inner).command(&command);
        tokio::task::spawn_blocking(obey).await?
    }
}

impl Guardian {
    fn start() -> Result<(Self, u16)> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("private-rabbitmq.sh");
        let mut process =
            Command::new(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("private-rabbitmq.sh")?;
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().context("the script has no output")?);
        let mut guardian = Self { process, commands, answers };
        let ready = guardian.answer()?;
        let port = ready.strip_prefix("ready ").with_context(|| {
            format!("no RabbitMQ node ({ready:?}): see above; ./test installs it, or: apt-get install rabbitmq-server")
        })?;
        Ok((guardian, port.parse()?))
    }

    fn command(&mut self, command: &str) -> Result<()> {
        writeln!(self.commands.as_mut().context("the script has ended")?, "{command}")?;
        let answer = self.answer()?;
        ensure!(answer == "ok", "private-rabbitmq.sh: {command}: {answer:?}");
        Ok(())
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim_end().into())
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // The end of its input makes the script destroy the node.
        self.commands = None;
        if let Err(error) = self.process.wait() {
            eprintln!("private-rabbitmq.sh: {error}");
        }
    }
}
