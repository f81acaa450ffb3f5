//! Announcements within one process: a broadcast channel; and a channel for each who listens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use warren_protocol::announcement::Announcement;
use warren_protocol::ports::{Address, Bulletin, BulletinError, Message};

use super::lock;

/// The announcements that a slow watcher may be behind before it loses the oldest.
const CAPACITY: usize = 1024;
/// The words that a slow listener may be behind before it misses some.
const WORDS: usize = 10_000;

type Listeners = Arc<Mutex<HashMap<Address, mpsc::Sender<Message>>>>;

/// The bulletin of this process.
pub(super) struct LocalBulletin {
    announcements: broadcast::Sender<Announcement>,
    listeners: Listeners,
    closing: CancellationToken,
}

impl LocalBulletin {
    pub(super) fn new(closing: CancellationToken) -> Self {
        Self { announcements: broadcast::Sender::new(CAPACITY), listeners: Listeners::default(), closing }
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

    async fn tell(&self, to: &Address, word: Message) -> Result<(), BulletinError> {
        if self.closing.is_cancelled() {
            return Err(BulletinError::Unavailable(super::CLOSED.into()));
        }
        // As over a network: what does not travel is not there.
        let Message { body, content_type, correlation_id, .. } = word;
        let word = Message { body, content_type, correlation_id, ..Message::default() };
        if let Some(listener) = lock(&self.listeners).get(to) {
            // An error means that the listener is too slow, or has just gone.
            let _ = listener.try_send(word);
        }
        Ok(())
    }

    async fn listen(&self, at: &Address) -> Result<BoxStream<'static, Message>, BulletinError> {
        let (sender, words) = mpsc::channel(WORDS);
        {
            let mut listeners = lock(&self.listeners);
            if listeners.contains_key(at) {
                return Err(BulletinError::Unavailable(format!("somebody listens at {at} already")));
            }
            listeners.insert(at.clone(), sender);
        }
        let listening = Listening { words, at: at.clone(), listeners: Arc::clone(&self.listeners) };
        let heard = stream::unfold(listening, |mut listening| async { Some((listening.words.recv().await?, listening)) });
        Ok(heard.take_until(self.closing.clone().cancelled_owned()).boxed())
    }
}

/// One who listens, until it is dropped.
struct Listening {
    words: mpsc::Receiver<Message>,
    at: Address,
    listeners: Listeners,
}

impl Drop for Listening {
    fn drop(&mut self) {
        lock(&self.listeners).remove(&self.at);
    }
}
