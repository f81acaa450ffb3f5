//! A link on its way through the queue.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use warren_protocol::dead_letter;
use warren_protocol::ports::{Message, QueueName, WorkQueue};
use warren_protocol::{IndexName, Problem, problem::Code};

use super::failure::FetchError;
use super::link::{InvalidLink, Link};

/// How often a job went back to the queue because Warren could not write.
pub(super) const HEADER_POSTPONED: &str = "warren-postponed";
/// When the job should have its turn at its host, in Unix milliseconds.
pub(super) const HEADER_TURN: &str = "warren-turn";

/// What is to be fetched, as clients and messages say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// The link; `url` or `link`.
    #[serde(alias = "link")]
    pub url: String,
    /// The title of the document; without one, the page's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl JobRequest {
    /// The longest title, in bytes.
    pub const MAX_TITLE_BYTES: usize = 1024;

    /// Checks it: the link, in its normal form.
    pub fn check(&self) -> Result<Link, Problem> {
        let invalid = |error: InvalidLink| Problem::invalid("url", error.to_string());
        let link = Link::new(&self.url).map_err(invalid)?;
        match &self.title {
            Some(title) if title.len() > Self::MAX_TITLE_BYTES => {
                let detail = format!("the title has {} bytes: at most {} are taken", title.len(), Self::MAX_TITLE_BYTES);
                Err(Problem::invalid("title", detail))
            }
            _ => Ok(link),
        }
    }
}

/// A job as the fetchers take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub index: IndexName,
    pub link: Link,
    pub title: Option<String>,
}

impl Job {
    pub(super) fn of(message: &Message) -> Result<Self, FetchError> {
        let index = IndexName::new(message.routing_key.as_str())
            .map_err(|error| FetchError::Job(format!("the routing key must be the name of an index: {error}")))?;
        let request: JobRequest = serde_json::from_slice(&message.body)
            .map_err(|error| FetchError::Job(format!("the body must be {{\"url\": …, \"title\": …}}: {error}")))?;
        let link = Link::new(&request.url)?;
        let title = request.title.filter(|title| !title.trim().is_empty());
        Ok(Self { index, link, title })
    }
}

/// Puts a link that was checked into the queue; `Ok` once the broker has confirmed it.
pub async fn publish(queue: &dyn WorkQueue, index: &IndexName, link: &Link, title: Option<String>) -> Result<(), Problem> {
    let request = JobRequest { url: link.to_string(), title };
    let body = serde_json::to_vec(&request).map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    let message = Message {
        body: body.into(),
        routing_key: index.to_string(),
        content_type: Some("application/json".to_owned()),
        ..Message::default()
    };
    queue.publish(QueueName::Links, message).await.map_err(|error| {
        Problem::new(Code::Unavailable, format!("{error}: feed it again later, a link that was kept is only replaced by itself"))
    })
}

/// The number in a header, if there is one.
pub(super) fn number<T: FromStr>(message: &Message, header: &str) -> Option<T> {
    message.headers.get(header)?.parse().ok()
}

/// The attempts that were made before.
pub(super) fn attempts(message: &Message) -> u32 {
    number(message, dead_letter::ATTEMPTS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(routing_key: &str, body: &str) -> Message {
        Message { body: body.to_owned().into(), routing_key: routing_key.to_owned(), ..Message::default() }
    }

    #[test]
    fn jobs_are_read_and_bad_ones_say_why() {
        for body in [r#"{"url":"http://a/b#c","title":"T"}"#, r#"{"link":"http://a/b","title":"T"}"#] {
            let job = Job::of(&message("pages", body)).unwrap();
            assert_eq!(
                (job.index.as_str(), job.link.to_string().as_str(), job.title.as_deref()),
                ("pages", "http://a/b", Some("T"))
            );
        }
        assert_eq!(Job::of(&message("pages", r#"{"url":"http://a/","title":" "}"#)).unwrap().title, None);
        for (key, body) in [
            ("No Index", r#"{"url":"http://a/"}"#),
            ("pages", "{"),
            ("pages", r#"{"title":"x"}"#),
            ("pages", r#"{"url":"http://a/","x":1}"#),
        ] {
            assert!(matches!(Job::of(&message(key, body)), Err(FetchError::Job(_))), "{key} {body}");
        }
        assert!(matches!(Job::of(&message("pages", r#"{"url":"ftp://a/"}"#)), Err(FetchError::Invalid(_))));
    }

    #[test]
    fn requests_name_the_field_at_fault() {
        let request = |url: &str, title: usize| JobRequest { url: url.to_owned(), title: Some("t".repeat(title)) };
        assert_eq!(request("nowhere", 1).check().unwrap_err().field.as_deref(), Some("url"));
        assert_eq!(request("http://a/", 2000).check().unwrap_err().field.as_deref(), Some("title"));
        assert_eq!(request("http://A/#x", 1).check().unwrap().to_string(), "http://a/");
    }
}
