//! What can go wrong with a link, and what follows from it: the one place that decides what is tried again, when, and what is not.

use std::time::Duration;

use warren_protocol::Problem;
use warren_protocol::ports::QueueName;

use super::guard::Forbidden;
use super::link::InvalidLink;
use super::resolve::LookupError;
use crate::admission::Refused;
use crate::extract::ExtractError;
use crate::publisher::WriteError;

/// Why a link is not indexed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the job is not understood: {0}")]
    Job(String),
    #[error(transparent)]
    Invalid(#[from] InvalidLink),
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error("{0}")]
    ForbiddenName(String),
    #[error("the redirect to {to:?} cannot be followed: {why}")]
    Redirect { to: String, why: String },
    #[error("more than {0} redirects")]
    Redirects(usize),
    #[error("the server answers {status}")]
    Status { status: u16, retry_after: Option<Duration> },
    #[error("it redirects to {host}, which wants to be left alone for {} s", .wait.as_secs())]
    Resting { host: String, wait: Duration },
    #[error("{0}: only HTML, Markdown and plain text are indexed")]
    Type(String),
    #[error("the server compresses the page as {0:?}: only gzip, br and zstd are read")]
    Encoding(String),
    #[error("the page has more than {0} bytes (links.max_bytes)")]
    TooLarge(u64),
    #[error("the page cannot be read: {0}")]
    Unreadable(#[from] ExtractError),
    #[error("the page was not there within {} ms (links.timeout_ms)", .0.as_millis())]
    Timeout(Duration),
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    #[error("the page broke off: {0}")]
    BrokenOff(String),
    #[error("{0}")]
    Refused(Problem),
    #[error("{0}")]
    NotWritten(Problem),
    #[error("a defect: {0}")]
    Defect(String),
}

/// What becomes of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Trying again would not help: a dead letter, with this reason.
    Never(String),
    /// It is tried again, as often as it may be, and not before this has passed; then it is a dead letter with this reason.
    Again { reason: String, not_before: Duration },
    /// It is tried again, however often: the link is not at fault.
    Later,
}

impl FetchError {
    pub(super) fn verdict(&self) -> Verdict {
        let never = |reason: &str| Verdict::Never(reason.to_owned());
        let again_after = |reason: &str, not_before| Verdict::Again { reason: reason.to_owned(), not_before };
        let again = |reason: &str| again_after(reason, Duration::ZERO);
        match self {
            Self::Job(_) => never("invalid_request"),
            Self::Invalid(_) => never("invalid_link"),
            Self::Forbidden(_) | Self::ForbiddenName(_) => never("forbidden_address"),
            Self::Redirect { .. } | Self::Redirects(_) => never("bad_redirect"),
            Self::Status { status: 404 | 410, .. } => never("page_not_found"),
            // Too early, too many, the server's own trouble.
            Self::Status { status: 408 | 425 | 429 | 500 | 502.., retry_after } => {
                again_after("page_unavailable", retry_after.unwrap_or_default())
            }
            Self::Resting { wait, .. } => again_after("page_unavailable", *wait),
            Self::Status { .. } => never("page_refused"),
            Self::Type(_) | Self::Encoding(_) => never("unsupported_media_type"),
            Self::TooLarge(_) => never("too_large"),
            Self::Unreadable(_) => never("unreadable_page"),
            Self::Timeout(_) => again("page_timeout"),
            Self::Unreachable(_) | Self::BrokenOff(_) => again("page_unavailable"),
            Self::Refused(problem) => never(problem.code.as_str()),
            Self::NotWritten(_) => Verdict::Later,
            Self::Defect(_) => never("internal"),
        }
    }
}

/// The pause after so many attempts: longer each time.
pub(super) fn pause_after(attempts: u32) -> Duration {
    let pauses = QueueName::LINK_PAUSES;
    let at = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    pauses[at.min(pauses.len() - 1)]
}

/// The pause that ends at that time at the latest, if there is one: it may take several.
pub(super) fn pause_until(wait: Duration) -> Duration {
    let [shortest, ..] = QueueName::LINK_PAUSES;
    QueueName::LINK_PAUSES.into_iter().rfind(|pause| *pause <= wait).unwrap_or(shortest)
}

impl From<Refused> for FetchError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Index(problem) if problem.status >= 500 => Self::NotWritten(problem),
            Refused::Index(problem) | Refused::Document(problem) => Self::Refused(problem),
        }
    }
}

impl From<WriteError> for FetchError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::TooLarge(_) => Self::Refused(error.into()),
            _ => Self::NotWritten(error.into()),
        }
    }
}

impl From<reqwest::Error> for FetchError {
    /// The client buries the reasons of the resolver; the URL in its own texts is known already.
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut reasons = Vec::new();
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(current) = source {
            if let Some(lookup) = current.downcast_ref::<LookupError>() {
                return match lookup {
                    LookupError::Forbidden { .. } => Self::ForbiddenName(lookup.to_string()),
                    _ => Self::Unreachable(lookup.to_string()),
                };
            }
            reasons.push(current.to_string());
            source = current.source();
        }
        Self::Unreachable(reasons.join(": "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_get_better_is_not_tried_again() {
        let status = |status| FetchError::Status { status, retry_after: None }.verdict();
        for code in [404, 410] {
            assert_eq!(status(code), Verdict::Never("page_not_found".to_owned()));
        }
        for code in [301, 400, 401, 403, 405, 451, 501] {
            assert_eq!(status(code), Verdict::Never("page_refused".to_owned()), "{code}");
        }
        for code in [408, 425, 429, 500, 502, 503, 504, 520] {
            assert!(matches!(status(code), Verdict::Again { not_before: Duration::ZERO, .. }), "{code}");
        }
        let asked = FetchError::Status { status: 503, retry_after: Some(Duration::from_secs(7)) };
        let expected = Verdict::Again { reason: "page_unavailable".into(), not_before: Duration::from_secs(7) };
        assert_eq!(asked.verdict(), expected);
        assert_eq!(FetchError::from(WriteError::IndexGone).verdict(), Verdict::Later);
    }

    #[test]
    fn pauses_grow() {
        let pauses: Vec<_> = (1..9).map(pause_after).collect();
        assert!(pauses.is_sorted() && pauses[0] < pauses[4], "{pauses:?}");
        assert_eq!(pauses[7], QueueName::LINK_PAUSES[4]);
        for (wait, pause) in [(0, 1), (1, 1), (9, 1), (10, 10), (59, 10), (75, 60), (9999, 3600)] {
            assert_eq!(pause_until(Duration::from_secs(wait)), Duration::from_secs(pause));
        }
    }
}
