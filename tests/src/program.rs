//! Warren's programs as real processes.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::eventually;

/// How long a program has for its start and its end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running program; killed when it is dropped. What it said is then printed, and shown if the test failed.
pub struct Program {
    name: String,
    process: Child,
    said: Arc<Mutex<String>>,
    listeners: Vec<JoinHandle<()>>,
}

impl Program {
    /// Starts `warren`, `producer`, `worker` or `query-service`, as built from this checkout. Nothing of the environment
    /// of the tests that starts with `WARREN__` reaches it.
    pub fn start(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        let mut command = Command::new(path(name)?);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("WARREN__") {
                command.env_remove(variable);
            }
        }
        command.args(arguments).envs(environment.iter().copied());
        Self::spawn(name, command)
    }

    /// Starts any other program.
    pub fn spawn(name: &str, mut command: Command) -> Result<Self> {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let said = Arc::new(Mutex::new(String::new()));
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            process.stdout.take().map(|output| Box::new(output) as _),
            process.stderr.take().map(|output| Box::new(output) as _),
        ];
        let listeners = outputs.into_iter().flatten().map(|output| listen(output, Arc::clone(&said)));
        let listeners = listeners.collect::<std::io::Result<_>>()?;
        Ok(Self { name: name.into(), process, said, listeners })
    }

    /// What it said so far, on both outputs.
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All that it said until it ended; for one that has.
    pub fn all(&mut self) -> String {
        for listener in self.listeners.drain(..) {
            // A listener that panicked has said so.
            let _ = listener.join();
        }
        self.said()
    }

    /// The address on which it listens, once it says `listening` with `address=HOST:PORT`.
    pub async fn address(&mut self) -> Result<String> {
        let what = format!("{} says where it listens", self.name);
        let start = std::time::Instant::now();
        eventually(&what, PATIENCE, async || {
            let said = self.said();
            let line = said.lines().find(|line| line.contains("listening") && line.contains("address="));
            if let Some((_, address)) = line.and_then(|line| line.split_once("address=")) {
                let end = address.find(|letter: char| letter.is_whitespace() || letter == '\u{1b}');
                return Ok(Ok(address[..end.unwrap_or(address.len())].trim_matches('"').to_owned()));
            }
            match self.process.try_wait()? {
                Some(status) => Ok(Err(anyhow!("{} ended after {:?} with {status}:\n{said}", self.name, start.elapsed()))),
                None => bail!("{said}"),
            }
        })
        .await?
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it as a crash would, and awaits its end.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Sends it a signal: `TERM`, `STOP`, `CONT`, …
    pub fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.id().to_string()).status()?;
        ensure!(status.success(), "kill -{signal} {}: {status}", self.id());
        Ok(())
    }

    /// Awaits its end.
    pub async fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        eventually(&what, deadline, async || self.process.try_wait()?.context("it still runs")).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let said = self.all();
        // Captured by the test runner, and shown if the test failed.
        println!("--- what {} said:\n{said}---", self.name);
    }
}

fn listen(output: Box<dyn Read + Send>, said: Arc<Mutex<String>>) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("listener".into()).spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.push_str(&String::from_utf8_lossy(&line));
            said.push('\n');
        }
    })
}

/// The program of that name; all are built at the first call.
fn path(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder =
        BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))).as_ref().map_err(|error| anyhow!("{error}"))?;
    Ok(folder.join(name))
}

/// Builds the programs as `./test` does, and says where they are.
fn build() -> Result<PathBuf> {
    let build = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--locked", "--workspace", "--bins"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    ensure!(build.success(), "the programs cannot be built");
    // This test runs from target/PROFILE/deps.
    let test = std::env::current_exe()?;
    let target = test.ancestors().nth(3).context("the test is not in a target folder")?;
    Ok(target.join("release"))
}
