//! What the tests of the ways in by queue share: a client of the intake, a service bus, `warren` as a command.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use warren_broker::{Broker, Settings};
use warren_protocol::ports::{Message, QueueName};
use warren_tests::{Program, eventually};

use crate::deployment::{PATIENCE, Server};

/// So many messages wait for their confirms at a time.
const AT_A_TIME: usize = 16;

/// Any AMQP client.
pub struct Client {
    broker: Broker,
}

impl Client {
    pub async fn connect(url: &str) -> Result<Self> {
        let settings = Settings { url: Some(url.to_owned()), ..Settings::default() };
        Ok(Self { broker: warren_broker::connect(&settings, "client", std::path::Path::new(".")).await? })
    }

    /// Publishes one message to an index, and waits for the confirm.
    pub async fn send(&self, index: &str, message: Message) -> Result<()> {
        let message = Message { routing_key: index.to_owned(), ..message };
        Ok(self.broker.ports.queue.publish(QueueName::Intake, message).await?)
    }

    /// Publishes one document, and waits for the confirm.
    pub async fn document(&self, index: &str, document: &Value) -> Result<()> {
        self.send(index, Message { body: document.to_string().into(), ..Message::default() }).await
    }

    /// Publishes bodies, a message each, several at a time: not in their order.
    pub async fn bodies(&self, index: &str, bodies: impl IntoIterator<Item = Vec<u8>>) -> Result<()> {
        stream::iter(bodies)
            .map(|body| self.send(index, Message { body: body.into(), ..Message::default() }))
            .buffer_unordered(AT_A_TIME)
            .try_collect()
            .await
    }

    pub async fn close(self) {
        self.broker.close().await;
    }
}

/// What the service bus answers.
pub async fn service_bus(url: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/end_to_end/service_bus.py")).arg(url).args(arguments);
    ends_well("the service bus", Program::spawn("service_bus.py", command)?).await
}

/// What `warren` says to a command.
pub async fn warren(server: &Server, arguments: &[&str]) -> Result<String> {
    let url = server.url();
    ends_well("warren", Program::start("warren", &[arguments, &["--server", &url]].concat(), &[])?).await
}

async fn ends_well(what: &str, mut program: Program) -> Result<String> {
    let status = program.wait(PATIENCE).await?;
    let said = program.all();
    ensure!(status.success(), "{what}: {status}: {said}");
    Ok(said)
}

/// The dead letters, once there are so many.
pub async fn letters(server: &Server, filter: &str, count: usize) -> Result<Vec<Value>> {
    eventually(&format!("{count} dead letters"), PATIENCE, async || {
        let (status, answer) = server.get(&format!("/dead-letters?limit=100{filter}")).await?;
        ensure!(status == 200, "{answer}");
        let letters = answer["letters"].as_array().context("letters")?;
        ensure!(letters.len() == count && answer["more"] == false, "{} letters, more: {}", letters.len(), answer["more"]);
        Ok(letters.clone())
    })
    .await
}

/// A part of the status, once it is as it has to be.
pub async fn status(server: &Server, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    eventually(what, PATIENCE, async || {
        let (_, status) = server.get("/status").await?;
        ensure!(holds(&status), "{} {} {}", status["intake"], status["sources"], status["warnings"]);
        Ok(status)
    })
    .await
}
