//! Warren's programs as real processes.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::eventually;

/// How long a program has for its start and its end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of what a program said is kept in memory, in bytes: the end of it.
const KEPT: usize = 4 << 20;

/// A running program; killed when it is dropped. What it said is then printed, and shown if the test failed, unless it
/// went to a file.
pub struct Program {
    name: String,
    process: Child,
    said: Arc<Mutex<String>>,
    listeners: Vec<JoinHandle<()>>,
    printed: bool,
}

impl Program {
    /// Starts `warren`, `producer`, `worker` or `query-service`, as built from this checkout. Nothing of the environment
    /// of the tests that starts with `WARREN__` reaches it.
    pub fn start(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        Self::spawn(name, command(name, arguments, environment)?)
    }

    /// The same; what it says is appended to a file, too, and not printed.
    pub fn start_logged(name: &str, arguments: &[&str], environment: &[(&str, &str)], log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        Self::spawn_into(name, command(name, arguments, environment)?, Some(log))
    }

    /// Starts any other program.
    pub fn spawn(name: &str, command: Command) -> Result<Self> {
        Self::spawn_into(name, command, None)
    }

    fn spawn_into(name: &str, mut command: Command, log: Option<File>) -> Result<Self> {
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
        let mut listeners = Vec::new();
        for output in outputs.into_iter().flatten() {
            let log = log.as_ref().map(File::try_clone).transpose()?;
            listeners.push(listen(output, Arc::clone(&said), log)?);
        }
        Ok(Self { name: name.into(), process, said, listeners, printed: log.is_none() })
    }

    /// What it said so far, on both outputs; the end of it, if it is long.
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
            match self.ended()? {
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

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
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
        eventually(&what, deadline, async || self.ended()?.context("it still runs")).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let said = self.all();
        if self.printed && !said.is_empty() {
            // Captured by the test runner, and shown if the test failed.
            println!("--- what {} said:\n{said}---", self.name);
        }
    }
}

fn command(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Command> {
    let mut command = Command::new(path(name)?);
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("WARREN__") {
            command.env_remove(variable);
        }
    }
    command.args(arguments).envs(environment.iter().copied());
    Ok(command)
}

fn listen(output: Box<dyn Read + Send>, said: Arc<Mutex<String>>, mut log: Option<File>) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("listener".into()).spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if let Some(log) = &mut log {
                // A full disk costs the log, not the run.
                let _ = log.write_all(&[&line, b"\n".as_slice()].concat());
            }
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.push_str(&String::from_utf8_lossy(&line));
            said.push('\n');
            if said.len() > KEPT {
                let middle = said.ceil_char_boundary(KEPT / 2);
                *said = said.split_off(middle);
            }
        }
    })
}

/// The folder that the programs stand in.
pub fn programs() -> Result<PathBuf> {
    let warren = path("warren")?;
    Ok(warren.parent().context("a program in no folder")?.to_owned())
}

/// The program of that name.
fn path(name: &str) -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder =
        FOLDER.get_or_init(|| folder().map_err(|error| format!("{error:#}"))).as_ref().map_err(|error| anyhow!("{error}"))?;
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is missing: build the whole workspace with this profile first", path.display());
    Ok(path)
}

/// The folder of the programs: the one of this program, or `target/release` for a test. What is there is built first,
/// as `./test` does; other profiles are not.
fn folder() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let mut folder = own.parent().context("this program is in no folder")?.to_owned();
    // Tests run from target/PROFILE/deps.
    if folder.ends_with("deps") {
        folder = folder.ancestors().nth(2).context("the test is not in a target folder")?.join("release");
    }
    if folder.ends_with("release") {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--release", "--locked", "--workspace", "--bins"]);
        // What cargo tells a test about its package would make build scripts run again that look at these variables, and half of
        // the dependencies be built again.
        for (name, _) in std::env::vars_os() {
            let about_package = ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.to_string_lossy().starts_with(start));
            if about_package {
                build.env_remove(name);
            }
        }
        let build = build.current_dir(env!("CARGO_MANIFEST_DIR")).status()?;
        ensure!(build.success(), "the programs cannot be built");
    }
    Ok(folder)
}
