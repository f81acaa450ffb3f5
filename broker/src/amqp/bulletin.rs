//! Announcements over a fanout exchange: JSON, not persistent, not confirmed.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use lapin::options::BasicAckOptions;
use lapin::{BasicProperties, Channel};
use tokio::sync::Mutex;
use tokio::time::timeout_at;
use tracing::debug;
use uuid::Uuid;
use warren_protocol::announcement::Announcement;
use warren_protocol::ports::{Bulletin, BulletinError};

use super::connection::{Context, Link};
use super::consumer::{Source, Subscription};
use super::failure::{Failure, until};
use super::names;
use super::publisher::send_unconfirmed;

const PREFETCH: u16 = 64;

pub(super) struct FanoutBulletin {
    pub(super) context: Arc<Context>,
    /// For announcing.
    pub(super) publishing: Arc<Link>,
    /// For watching.
    pub(super) consuming: Arc<Link>,
    pub(super) channel: Mutex<Option<Channel>>,
}

#[async_trait]
impl Bulletin for FanoutBulletin {
    async fn announce(&self, announcement: &Announcement) -> Result<(), BulletinError> {
        let body = serde_json::to_vec(announcement).map_err(|error| BulletinError::Unavailable(error.to_string()))?;
        let deadline = self.context.deadline();
        let channel = timeout_at(deadline, self.channel(deadline)).await.unwrap_or_else(|_| Err(Failure::late()))?;
        let properties = BasicProperties::default().with_delivery_mode(1).with_content_type("application/json".into());
        Ok(until(deadline, send_unconfirmed(&channel, names::BULLETIN, "".into(), &body, properties)).await?)
    }

    async fn watch(&self) -> Result<BoxStream<'static, Announcement>, BulletinError> {
        let name = format!("{}.{}", names::BULLETIN, Uuid::new_v4().simple());
        let watching = Subscription::open(&self.context, &self.consuming, name, Source::Watcher, PREFETCH).await?;
        let announcements = stream::unfold(watching, |mut watching| async {
            loop {
                let delivery = watching.next().await?;
                let deadline = watching.context().deadline();
                // It fails with the connection, which the next call sees.
                let _ = until(deadline, delivery.ack(BasicAckOptions::default())).await;
                match serde_json::from_slice(&delivery.data) {
                    Ok(announcement) => return Some((announcement, watching)),
                    Err(error) => debug!(%error, "an announcement that this program cannot read"),
                }
            }
        });
        Ok(announcements.boxed())
    }
}

impl FanoutBulletin {
    async fn channel(&self, deadline: tokio::time::Instant) -> Result<Channel, Failure> {
        let mut current = self.channel.lock().await;
        let connection = self.publishing.unblocked(deadline).await?;
        if let Some(channel) = &*current
            && channel.status().connected()
        {
            return Ok(channel.clone());
        }
        let channel = until(deadline, connection.create_channel()).await?;
        *current = Some(channel.clone());
        Ok(channel)
    }
}
