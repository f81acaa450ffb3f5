//! The port to announcements.

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::announcement::Announcement;

/// News to all who watch. Nothing is kept: a watcher hears what is announced after it began, and may miss some.
#[async_trait]
pub trait Bulletin: Send + Sync {
    /// Tells all watchers.
    async fn announce(&self, announcement: &Announcement) -> Result<(), BulletinError>;

    /// Watches. A watcher that is too slow loses the oldest announcements. Lost connections are made again, silently.
    async fn watch(&self) -> Result<BoxStream<'static, Announcement>, BulletinError>;
}

/// What an announcement ends with besides success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BulletinError {
    /// The broker cannot be reached, or did not answer in time.
    #[error("the broker does not answer: {0}")]
    Unavailable(String),
}
