//! What can go wrong between lapin and the ports, in the few kinds that make a difference to them.

use std::time::Duration;

use lapin::{Confirmation, ErrorKind};
use tokio::time::{Instant, timeout_at};
use warren_protocol::ports::{BulletinError, ClaimError, LogError, QueueError, QueueName, RpcError};

/// An unsuccessful step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// No such queue, or no route to one.
    #[error("there is no queue {0}")]
    NotFound(String),
    /// Another connection holds the exclusive queue.
    #[error("another connection holds the queue")]
    Locked,
    /// The broker refused the message.
    #[error("the broker refused the message")]
    Full,
    /// The broker takes no messages for now; this one was not handed to it.
    #[error("the broker has a memory or disk alarm and takes no messages")]
    Alarm,
    /// The message is larger than the broker takes; holds that limit in bytes.
    #[error("the broker takes messages of at most {0} bytes")]
    TooLarge(u64),
    /// The broker forbids it, or has it with other arguments: trying again does not help.
    #[error("{0}")]
    Refused(String),
    /// The broker does not let this user in: trying again does not help.
    #[error("{0}")]
    Denied(String),
    /// Anything else: the outcome is unknown.
    #[error("{0}")]
    Unavailable(String),
}

impl Failure {
    pub(super) fn timeout(limit: Duration) -> Self {
        Self::Unavailable(format!("no answer within {} ms", limit.as_millis()))
    }

    /// Of an attempt to connect.
    pub(super) fn of_login(error: lapin::Error) -> Self {
        match error.into() {
            Self::Refused(reason) => Self::Denied(reason),
            other => other,
        }
    }

    pub(super) fn late() -> Self {
        Self::Unavailable("the broker did not answer in time".to_owned())
    }

    pub(super) fn closed() -> Self {
        Self::Unavailable("this process has closed its connections".to_owned())
    }
}

impl From<lapin::Error> for Failure {
    /// The texts of lapin and the broker hold neither address nor password.
    fn from(error: lapin::Error) -> Self {
        let ErrorKind::ProtocolError(protocol) = error.kind() else { return Self::Unavailable(error.to_string()) };
        let text = protocol.get_message().to_string();
        match protocol.get_id() {
            // `home node 'x' of durable queue 'y' … is down or inaccessible` has the same code while a broker starts.
            404 if text.contains("NOT_FOUND - no ") => Self::NotFound(quoted(&text).unwrap_or(&text).to_owned()),
            405 => Self::Locked,
            406 => too_large(&text).map_or(Self::Refused(text), Self::TooLarge),
            403 | 530 => Self::Refused(text),
            _ => Self::Unavailable(text),
        }
    }
}

/// The name in `NOT_FOUND - no queue 'warren.log.a.1.0' in vhost '/'`.
fn quoted(text: &str) -> Option<&str> {
    text.split('\'').nth(1)
}

/// The limit in `PRECONDITION_FAILED - message size 135266304 is larger than configured max size 134217728`.
fn too_large(text: &str) -> Option<u64> {
    let (_, limit) = text.contains("message size").then(|| text.rsplit_once("max size "))??;
    limit.trim().parse().ok()
}

/// Only an acknowledgement without a returned message means that a queue has the message.
pub(super) fn confirmed(confirmation: Confirmation) -> Result<(), Failure> {
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(returned)) => Err(Failure::NotFound(returned.routing_key.to_string())),
        Confirmation::Nack(_) => Err(Failure::Full),
        Confirmation::NotRequested => Err(Failure::Unavailable("the channel does not confirm".to_owned())),
    }
}

/// Awaits one answer of the broker, until `deadline` at the latest.
pub(super) async fn until<T>(deadline: Instant, work: impl Future<Output = lapin::Result<T>>) -> Result<T, Failure> {
    match timeout_at(deadline, work).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::late()),
    }
}

impl From<Failure> for LogError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotFound(name) => Self::NotFound(name),
            Failure::Full | Failure::Alarm => Self::Full,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<Failure> for RpcError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotFound(name) => Self::NotFound(name),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<Failure> for ClaimError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(failure.to_string())
    }
}

impl From<Failure> for BulletinError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(failure.to_string())
    }
}

/// The failure of an operation on `queue`.
pub(super) fn queue_error(queue: QueueName, failure: Failure) -> QueueError {
    match failure {
        Failure::Full | Failure::Alarm => QueueError::Full(queue),
        other => QueueError::Unavailable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use lapin::protocol::{AMQPError, AMQPErrorKind};

    use super::*;

    fn failure(id: u16, text: &str) -> Failure {
        let kind = AMQPErrorKind::from_id(id).unwrap();
        Failure::from(lapin::Error::from(ErrorKind::ProtocolError(AMQPError::new(kind, text.into()))))
    }

    #[test]
    fn the_brokers_codes_become_kinds() {
        assert_eq!(failure(404, "NOT_FOUND - no queue 'a.b' in vhost '/'"), Failure::NotFound("a.b".to_owned()));
        let starting = "NOT_FOUND - home node 'rabbit@a' of durable queue 'a.b' in vhost '/' is down or inaccessible";
        assert!(matches!(failure(404, starting), Failure::Unavailable(_)));
        assert_eq!(failure(405, "RESOURCE_LOCKED - cannot obtain"), Failure::Locked);
        let large = "PRECONDITION_FAILED - message size 135266304 is larger than configured max size 134217728";
        assert_eq!(failure(406, large), Failure::TooLarge(134_217_728));
        assert!(matches!(failure(406, "PRECONDITION_FAILED - inequivalent arg 'x-overflow'"), Failure::Refused(_)));
        assert!(matches!(failure(541, "INTERNAL_ERROR"), Failure::Unavailable(_)));
    }
}
