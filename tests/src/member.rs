//! A process of a deployment that is killed, frozen and stopped, and starts again in its folder, at its address.

use std::fmt;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{Api, Program};

/// Below the range from which the system takes the ports of clients: nobody takes one while its server is away.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
/// `stop_timeout_ms`, what closing the broker may take beyond it, and a busy machine.
const STOP_LIMIT: Duration = Duration::from_secs(25);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes documents.
    Producer,
    /// Indexes and searches.
    Worker,
    /// Takes searches.
    QueryService,
}

impl Role {
    /// The name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Worker => "worker",
            Self::QueryService => "query-service",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.program())
    }
}

/// One process, running or not.
pub struct Member {
    /// Its name, for people.
    pub name: String,
    role: Role,
    data_dir: PathBuf,
    environment: Vec<(String, String)>,
    log: Option<PathBuf>,
    api: Option<Api>,
    program: Option<Program>,
}

impl Member {
    /// A process that does not run yet.
    pub(crate) fn new(
        name: String,
        role: Role,
        data_dir: PathBuf,
        mut environment: Vec<(String, String)>,
        log: Option<PathBuf>,
    ) -> Result<Self> {
        let address = if role == Role::Worker { "127.0.0.1:0".to_owned() } else { format!("127.0.0.1:{}", free_port()?) };
        environment.push(("WARREN__DATA_DIR".to_owned(), data_dir.display().to_string()));
        environment.push(("WARREN__HTTP__LISTEN".to_owned(), address.clone()));
        let api = if role == Role::Worker { None } else { Some(Api::new(address)?) };
        Ok(Self { name, role, data_dir, environment, log, api, program: None })
    }

    /// Starts it, for the first time or again.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.program.is_none(), "{} runs already", self.name);
        let environment: Vec<_> = self.environment.iter().map(|(variable, value)| (variable.as_str(), value.as_str())).collect();
        let program = match &self.log {
            Some(log) => Program::start_logged(self.role.program(), &[], &environment, log)?,
            None => Program::start(self.role.program(), &[], &environment)?,
        };
        self.program = Some(program);
        Ok(())
    }

    /// Starts it, and waits until it is ready; a worker is ready at once.
    pub async fn start_ready(&mut self) -> Result<()> {
        self.start()?;
        match &self.api {
            Some(api) => api.ready().await.with_context(|| self.name.clone()),
            None => Ok(()),
        }
    }

    /// What it serves; workers serve nothing.
    pub fn api(&self) -> Result<&Api> {
        self.api.as_ref().with_context(|| format!("{} serves no HTTP", self.name))
    }

    /// Where it keeps its files.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Whether it was started and not ended by this harness.
    pub fn runs(&self) -> bool {
        self.program.is_some()
    }

    /// Fails if it has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        let ended = self.program.as_mut().map(Program::ended).transpose()?.flatten();
        ensure!(ended.is_none(), "{} has ended by itself: {ended:?}", self.name);
        Ok(())
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Result<u32> {
        Ok(self.program.as_ref().with_context(|| format!("{} does not run", self.name))?.id())
    }

    /// What it said since its last start.
    pub fn said(&self) -> String {
        self.program.as_ref().map(Program::said).unwrap_or_default()
    }

    /// SIGKILL.
    pub fn kill9(&mut self) -> Result<()> {
        self.running()?.kill9()?;
        self.program = None;
        Ok(())
    }

    /// SIGSTOP.
    pub fn freeze(&mut self) -> Result<()> {
        self.running()?.signal("STOP")
    }

    /// SIGCONT.
    pub fn thaw(&mut self) -> Result<()> {
        self.running()?.signal("CONT")
    }

    /// SIGTERM; it must end in time, with exit code 0. Says how long that took.
    pub async fn stop(&mut self) -> Result<Duration> {
        let began = std::time::Instant::now();
        let program = self.running()?;
        program.signal("TERM")?;
        let status = program.wait(STOP_LIMIT).await?;
        self.program = None;
        ensure!(status.success(), "{} stopped with {status}", self.name);
        Ok(began.elapsed())
    }

    fn running(&mut self) -> Result<&mut Program> {
        self.program.as_mut().with_context(|| format!("{} does not run", self.name))
    }
}

fn free_port() -> Result<u16> {
    (0..100)
        .map(|_| fastrand::u16(PORTS))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no free port was found")
}
