//! The port to announcements: to all who watch, and words to one who listens.

use std::fmt;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use uuid::Uuid;

use crate::announcement::Announcement;
use crate::ports::Message;

/// News to all who watch, and words to one who listens. Nothing is kept: a watcher or listener hears what is said after it
/// began, and may miss some.
#[async_trait]
pub trait Bulletin: Send + Sync {
    /// Tells all watchers.
    async fn announce(&self, announcement: &Announcement) -> Result<(), BulletinError>;

    /// Watches. A watcher that is too slow loses the oldest announcements. Lost connections are made again, silently.
    async fn watch(&self) -> Result<BoxStream<'static, Announcement>, BulletinError>;

    /// Tells the one who listens at this address: the body with its content type and correlation id. `Ok` does not mean
    /// that anybody heard it: it says nothing if nobody listens there, and nothing if the listener is too slow.
    async fn tell(&self, to: &Address, word: Message) -> Result<(), BulletinError>;

    /// Listens at an address that nobody else listens at; it is free again once the stream is dropped. A listener that is
    /// too slow misses some. Lost connections are made again, silently.
    async fn listen(&self, at: &Address) -> Result<BoxStream<'static, Message>, BulletinError>;
}

/// Where one listens: the name of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address(String);

impl Address {
    /// The longest name, in bytes: AMQP's limit.
    pub const MAX_BYTES: usize = 255;
    /// The names that are Warren's own.
    const OWN: &str = "warren.";

    /// Where a producer hears what its batches have become.
    pub fn of_producer(producer: Uuid) -> Self {
        Self(format!("warren.reply.{}", producer.simple()))
    }

    /// An address that a client gave. Warren's own queues are none: what stands in them is believed.
    pub fn of_client(name: impl Into<String>) -> Result<Self, InvalidAddress> {
        let name = name.into();
        if name.is_empty() || name.len() > Self::MAX_BYTES {
            return Err(InvalidAddress::Length(name.len()));
        }
        if name.starts_with(Self::OWN) {
            return Err(InvalidAddress::Own(name));
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a client's text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// Nothing, or more than AMQP takes.
    #[error("a reply address has 1 to 255 bytes, not {0}")]
    Length(usize),
    /// One of Warren's own queues.
    #[error("{0:?} is one of Warren's own queues: take a queue of another name, or direct reply-to")]
    Own(String),
}

/// What an announcement ends with besides success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BulletinError {
    /// The broker cannot be reached, or did not answer in time; or somebody listens at the address already.
    #[error("the broker does not answer: {0}")]
    Unavailable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_cannot_have_words_sent_to_warrens_own_queues() {
        for good in ["amq.rabbitmq.reply-to.g1h2", "replies", "warrens", "Warren.x"] {
            assert_eq!(Address::of_client(good).unwrap().as_str(), good);
        }
        for bad in ["warren.intake", "warren.", "", &"x".repeat(256)] {
            assert!(Address::of_client(bad).is_err(), "{bad:?}");
        }
        assert!(Address::of_client(Address::of_producer(Uuid::nil()).as_str()).is_err());
    }
}
