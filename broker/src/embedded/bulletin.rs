//! Announcements within one process: a broadcast channel.

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;
use warren_protocol::announcement::Announcement;
use warren_protocol::ports::{Bulletin, BulletinError};

/// The announcements that a slow watcher may be behind before it loses the oldest.
const CAPACITY: usize = 1024;

/// The bulletin of this process.
pub(super) struct LocalBulletin {
    announcements: broadcast::Sender<Announcement>,
    closing: CancellationToken,
}

impl LocalBulletin {
    pub(super) fn new(closing: CancellationToken) -> Self {
        Self { announcements: broadcast::Sender::new(CAPACITY), closing }
    }
}

#[async_trait]
impl Bulletin for LocalBulletin {
    async fn announce(&self, announcement: &Announcement) -> Result<(), BulletinError> {
        if self.closing.is_cancelled() {
            return Err(BulletinError::Unavailable(super::CLOSED.into()));
        }
        // An error means that nobody watches.
        let _ = self.announcements.send(announcement.clone());
        Ok(())
    }

    async fn watch(&self) -> Result<BoxStream<'static, Announcement>, BulletinError> {
        let heard = stream::unfold(self.announcements.subscribe(), |mut announcements| async {
            loop {
                match announcements.recv().await {
                    Ok(announcement) => return Some((announcement, announcements)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        Ok(heard.take_until(self.closing.clone().cancelled_owned()).boxed())
    }
}
