//! How to reach the broker, and how much to entrust to it at a time.

use std::fmt;
use std::num::{NonZeroU8, NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};

/// The section `broker` of the configuration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `amqp://user:password@host:5672/vhost` or `amqps://…`; without it, the embedded broker.
    pub url: Option<String>,
    /// Seconds between heartbeats; a silent broker is given up after twice that time. 0 takes the broker's value.
    pub heartbeat_s: u16,
    /// Milliseconds that one attempt to connect may take, and the start of a process may await the broker.
    pub connect_timeout_ms: NonZeroU64,
    /// Milliseconds that the broker has for each confirm and each answer.
    pub timeout_ms: NonZeroU64,
    /// The most bytes handed over to partition logs and not confirmed yet, all logs together.
    pub max_unconfirmed_bytes: NonZeroU32,
    /// Connections that append to partition logs; each log keeps to one of them.
    pub publish_connections: NonZeroU8,
    /// The most dead letters on RabbitMQ; when there are so many, the intakes wait. For a queue that does not exist yet.
    pub dead_letters_max_messages: NonZeroU32,
    /// The most bytes of dead letters, likewise.
    pub dead_letters_max_bytes: NonZeroU64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            heartbeat_s: 10,
            connect_timeout_ms: NonZeroU64::MIN.saturating_add(9_999),
            timeout_ms: NonZeroU64::MIN.saturating_add(29_999),
            max_unconfirmed_bytes: NonZeroU32::MIN.saturating_add(32 * 1024 * 1024 - 1),
            publish_connections: NonZeroU8::MIN,
            dead_letters_max_messages: NonZeroU32::MIN.saturating_add(99_999),
            dead_letters_max_bytes: NonZeroU64::MIN.saturating_add((1 << 30) - 1),
        }
    }
}

impl Settings {
    /// The address with `***` in place of the password; `None` for the embedded broker.
    pub fn redacted_url(&self) -> Option<String> {
        self.url.as_deref().map(redact)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &self.redacted_url())
            .field("heartbeat_s", &self.heartbeat_s)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("timeout_ms", &self.timeout_ms)
            .field("max_unconfirmed_bytes", &self.max_unconfirmed_bytes)
            .field("publish_connections", &self.publish_connections)
            .field("dead_letters_max_messages", &self.dead_letters_max_messages)
            .field("dead_letters_max_bytes", &self.dead_letters_max_bytes)
            .finish()
    }
}

/// Replaces the password, also in a text that is no valid address: everything between the first ':' of what stands
/// before the last '@' and that '@'.
pub(crate) fn redact(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let Some(end) = url.rfind('@').filter(|end| *end >= start) else { return url.to_owned() };
    match url[start..end].find(':') {
        Some(colon) => format!("{}:***{}", &url[..start + colon], &url[end..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_shown() {
        for (url, shown) in [
            ("amqp://user:secret@host:5672/%2f", "amqp://user:***@host:5672/%2f"),
            ("amqps://user:se:c/r@et@host", "amqps://user:***@host"),
            ("amqp://host:5672/vhost", "amqp://host:5672/vhost"),
            ("amqp://user@host", "amqp://user@host"),
            ("user:secret@host", "user:***@host"),
            ("amqp://:secret@host", "amqp://:***@host"),
        ] {
            assert_eq!(redact(url), shown);
            let settings = Settings { url: Some(url.to_owned()), ..Settings::default() };
            assert!(!format!("{settings:?}").contains("secret"), "{settings:?}");
        }
    }
}
