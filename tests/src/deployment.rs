//! Warren as it is deployed: processes, their folders, a broker between them.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

pub use crate::api::{PATIENCE, hits, ids};
use crate::member::{Member, Role};
use crate::{Api, Node, Program};

/// Processes that share a virtual host of RabbitMQ.
pub struct Deployment {
    node: Node,
    vhost: String,
    url: String,
    folder: TempDir,
    environment: Vec<(String, String)>,
    logs: Option<PathBuf>,
    started: usize,
    members: Vec<Role>,
}

/// A process that serves HTTP.
pub struct Server {
    /// The process.
    pub program: Program,
    api: Api,
}

impl Deref for Server {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Deployment {
    /// On a virtual host of its own on the node that all tests share.
    pub async fn new() -> Result<Self> {
        Self::on(Node::shared().await?).await
    }

    /// On a virtual host of its own on this node.
    pub async fn on(node: Node) -> Result<Self> {
        let vhost = node.vhost().await?;
        let url = node.url(&vhost);
        let folder = tempfile::tempdir()?;
        Ok(Self { node, vhost, url, folder, environment: Vec::new(), logs: None, started: 0, members: Vec::new() })
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The name of the virtual host.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// The address of the virtual host.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Goes on with another virtual host, an empty one: as if the broker had lost everything.
    pub async fn lose_broker(&mut self) -> Result<()> {
        self.vhost = self.node.vhost().await?;
        self.url = self.node.url(&self.vhost);
        Ok(())
    }

    /// A setting of every process that is made from now on.
    pub fn set(&mut self, variable: &str, value: impl ToString) {
        self.environment.push((variable.to_owned(), value.to_string()));
    }

    /// Lets members write what they say to files in this folder, instead of showing it at their end.
    pub fn log_to(&mut self, folder: &Path) {
        self.logs = Some(folder.to_owned());
    }

    /// One object store for all processes that are made from now on, and how often it gets snapshots. Gives its folder.
    pub fn share_store(&mut self, interval: Duration) -> Result<PathBuf> {
        let folder = self.folder.path().join("store");
        std::fs::create_dir_all(&folder)?;
        self.set("WARREN__STORE__URL", format!("file://{}", folder.display()));
        self.set("WARREN__STORE__SNAPSHOT_INTERVAL_MS", interval.as_millis());
        Ok(folder)
    }

    /// A process that can be started again, not started yet.
    pub fn member(&mut self, role: Role) -> Result<Member> {
        self.members.push(role);
        let name = format!("{role}-{}", self.members.iter().filter(|other| **other == role).count());
        let log = self.logs.as_ref().map(|folder| folder.join(format!("{name}.log")));
        let data_dir = self.folder.path().join(&name);
        let mut environment = vec![("WARREN__BROKER__URL".to_owned(), self.url.clone())];
        environment.extend(self.environment.iter().cloned());
        Member::new(name, role, data_dir, environment, log)
    }

    /// Starts a role in a folder of its own.
    pub fn start(&mut self, role: &str, environment: &[(&str, &str)]) -> Result<Program> {
        self.started += 1;
        self.start_in(&format!("data-{}", self.started), role, environment)
    }

    /// Starts a role in this folder, where another process may have run before.
    pub fn start_in(&self, folder: &str, role: &str, environment: &[(&str, &str)]) -> Result<Program> {
        let folder = self.folder.path().join(folder);
        let folder = folder.to_str().context("the folder's name is text")?;
        let mut all = vec![
            ("WARREN__BROKER__URL", self.url.as_str()),
            ("WARREN__DATA_DIR", folder),
            ("WARREN__HTTP__LISTEN", "127.0.0.1:0"),
        ];
        all.extend(self.environment.iter().map(|(variable, value)| (variable.as_str(), value.as_str())));
        all.extend(environment);
        Program::start(role, &[], &all)
    }

    /// Starts a role that serves HTTP, and waits until it is ready.
    pub async fn serve(&mut self, role: &str, environment: &[(&str, &str)]) -> Result<Server> {
        Server::ready(self.start(role, environment)?).await
    }
}

impl Server {
    /// Waits until a program listens and is ready.
    pub async fn ready(mut program: Program) -> Result<Self> {
        let api = Api::new(program.address().await?)?;
        api.ready().await?;
        Ok(Self { program, api })
    }
}
