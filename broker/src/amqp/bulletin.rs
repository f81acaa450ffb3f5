//! Announcements over a fanout exchange: JSON, not persistent, not confirmed. Words to one who listens go the same way,
//! to a queue of the listener's own.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use lapin::options::BasicAckOptions;
use lapin::{BasicProperties, Channel};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tracing::debug;
use uuid::Uuid;
use warren_protocol::announcement::Announcement;
use warren_protocol::ports::{Address, Bulletin, BulletinError, Message};

use super::connection::{Context, Link};
use super::consumer::{Source, Subscription};
use super::failure::{Failure, until};
use super::message::{from_amqp, short};
use super::names;
use super::publisher::send_unconfirmed;

const PREFETCH: u16 = 64;

pub(super) struct FanoutBulletin {
    pub(super) context: Arc<Context>,
    /// For saying something.
    publishing: Arc<Link>,
    /// For hearing it.
    consuming: Arc<Link>,
    announcing: Mutex<Option<Channel>>,
    /// Clients choose where words go: what the broker holds against such a channel must not end the other one.
    telling: Mutex<Option<Channel>>,
}

impl FanoutBulletin {
    pub(super) fn new(context: &Arc<Context>, publishing: &Arc<Link>, consuming: &Arc<Link>) -> Self {
        let (context, publishing, consuming) = (Arc::clone(context), Arc::clone(publishing), Arc::clone(consuming));
        Self { context, publishing, consuming, announcing: Mutex::default(), telling: Mutex::default() }
    }
}

#[async_trait]
impl Bulletin for FanoutBulletin {
    async fn announce(&self, announcement: &Announcement) -> Result<(), BulletinError> {
        let body = serde_json::to_vec(announcement).map_err(|error| BulletinError::Unavailable(error.to_string()))?;
        let deadline = self.context.deadline();
        let channel = self.channel(&self.announcing, deadline).await?;
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

    async fn tell(&self, to: &Address, word: Message) -> Result<(), BulletinError> {
        let deadline = self.context.deadline();
        let mut properties = BasicProperties::default().with_delivery_mode(1);
        if let Some(value) = &word.content_type {
            properties = properties.with_content_type(short("content_type", value)?);
        }
        if let Some(value) = &word.correlation_id {
            properties = properties.with_correlation_id(short("correlation_id", value)?);
        }
        let address = short("a reply address", to.as_str())?;
        let channel = self.channel(&self.telling, deadline).await?;
        // Not mandatory: the broker drops what is for a queue that is gone.
        let telling = send_unconfirmed(&channel, names::DEFAULT_EXCHANGE, address, &word.body, properties);
        Ok(until(deadline, telling).await?)
    }

    async fn listen(&self, at: &Address) -> Result<BoxStream<'static, Message>, BulletinError> {
        let source = Source::Listener;
        let listening = Subscription::open(&self.context, &self.consuming, at.to_string(), source, PREFETCH).await?;
        let words = stream::unfold(listening, |mut listening| async {
            let mut delivery = listening.next().await?;
            let deadline = listening.context().deadline();
            // It fails with the connection, which the next call sees.
            let _ = until(deadline, delivery.ack(BasicAckOptions::default())).await;
            Some((from_amqp(&mut delivery), listening))
        });
        Ok(words.boxed())
    }
}

impl FanoutBulletin {
    async fn channel(&self, channel: &Mutex<Option<Channel>>, deadline: Instant) -> Result<Channel, Failure> {
        timeout_at(deadline, self.open(channel, deadline)).await.unwrap_or_else(|_| Err(Failure::late()))
    }

    async fn open(&self, channel: &Mutex<Option<Channel>>, deadline: Instant) -> Result<Channel, Failure> {
        let mut current = channel.lock().await;
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
