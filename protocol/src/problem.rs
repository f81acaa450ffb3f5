//! What went wrong, in the form that clients get: RFC 9457 problem details with a stable code.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An error as a client sees it (`application/problem+json`, RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// A stable word for programs, such as `unknown_index`.
    pub code: Code,
    /// The same for people, one for each code.
    pub title: String,
    /// What happened this time, and what to do about it.
    pub detail: String,
    /// The field of the request or of the document that is at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $status:literal, $title:literal;)+) => {
        /// The stable codes of problems. A code keeps its meaning for ever; new ones may come.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        pub enum Code {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $name,)+
        }

        impl Code {
            /// The code as it stands in messages.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The HTTP status that goes with it.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            /// One line for people.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }
        }
    };
}

codes! {
    /// A parameter, a header or a body of the request is not what the route takes.
    InvalidRequest = "invalid_request", 400, "The request is not valid";
    /// The query cannot be understood.
    InvalidQuery = "invalid_query", 400, "The query is not valid";
    /// The definition of an index breaks a rule.
    InvalidDefinition = "invalid_definition", 400, "The index definition is not valid";
    /// The name does not fit the pattern of index names.
    InvalidIndexName = "invalid_index_name", 400, "The index name is not valid";
    /// The document is not one JSON object.
    InvalidJson = "invalid_json", 400, "The document is not a JSON object";
    /// The id is missing, too long, of the wrong type, or differs from the one in the URL.
    InvalidId = "invalid_id", 400, "The document's id is not valid";
    /// The definition of a source breaks a rule.
    InvalidSource = "invalid_source", 400, "The source is not valid";
    /// A pointer of a source finds nothing in a message.
    MissingPointer = "missing_pointer", 400, "The message lacks what the source looks for";
    /// A value does not have the type that the index definition gives its field.
    InvalidField = "invalid_field", 400, "A field does not have its defined type";
    /// A row of a table does not fit its header, or is no text.
    InvalidRow = "invalid_row", 400, "The row is not valid";
    /// Aggregations would make too many buckets, or take too much memory.
    TooManyBuckets = "too_many_buckets", 400, "The aggregations are too large";
    /// No key, or a wrong one.
    Unauthorized = "unauthorized", 401, "An API key is needed";
    /// The request's `Host` or `Origin` is not one that this server answers to.
    Forbidden = "forbidden", 403, "This server does not answer that host or origin";
    /// There is no such route.
    NotFound = "not_found", 404, "There is nothing here";
    /// There is no index of that name.
    UnknownIndex = "unknown_index", 404, "There is no such index";
    /// There is no document of that id.
    UnknownDocument = "unknown_document", 404, "There is no such document";
    /// There is no source of that name.
    UnknownSource = "unknown_source", 404, "There is no such source";
    /// There is no dead letter of that id.
    UnknownDeadLetter = "unknown_dead_letter", 404, "There is no such dead letter";
    /// The route exists, with other methods.
    MethodNotAllowed = "method_not_allowed", 405, "The route does not take this method";
    /// An index of that name exists with another definition.
    IndexExists = "index_exists", 409, "The index exists with another definition";
    /// A source of that name exists with another definition.
    SourceExists = "source_exists", 409, "The source exists with another definition";
    /// No more sources can be created.
    TooManySources = "too_many_sources", 409, "There are too many sources";
    /// No more indexes can be created.
    TooManyIndexes = "too_many_indexes", 409, "There are too many indexes";
    /// The request or the document is larger than allowed.
    TooLarge = "too_large", 413, "Too large";
    /// The content type or encoding is not one that this route reads.
    UnsupportedMediaType = "unsupported_media_type", 415, "The content type or encoding is not supported";
    /// Every document was refused.
    AllRejected = "all_rejected", 422, "All documents were rejected";
    /// More requests than this server takes at once.
    TooManyRequests = "too_many_requests", 429, "Too many requests at once";
    /// A defect of Warren.
    Internal = "internal", 500, "Warren failed";
    /// A message made its handler fail, each time that it was tried.
    Poison = "poison", 500, "The message makes its handler fail";
    /// What was asked for needs RabbitMQ, and this is the embedded broker.
    NeedsRabbitMq = "needs_rabbitmq", 501, "This needs RabbitMQ";
    /// The broker cannot be reached or does not confirm; nothing is known to be kept.
    Unavailable = "unavailable", 503, "The broker does not answer";
    /// The partition log is full: it takes no more writes for now.
    LogFull = "log_full", 503, "The partition log is full";
    /// No partition answered within the deadline.
    NoPartition = "no_partition", 503, "No partition answered";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)?;
        match &self.field {
            Some(field) if !self.detail.contains(field.as_str()) => write!(f, " (field {field})"),
            _ => Ok(()),
        }
    }
}

impl Problem {
    /// A problem of that code, with the status and the title that go with it.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { status: code.status(), code, title: code.title().to_owned(), detail: detail.into(), field: None }
    }

    /// That a field of a request is not what the route takes.
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail).with_field(field)
    }

    /// Refuses a number of a request that is out of its range.
    pub fn check_range(field: &str, number: u32, range: RangeInclusive<u32>) -> Result<(), Self> {
        let (least, most) = (range.start(), range.end());
        let refused = || Self::invalid(field, format!("{field} is {number}: take {least} to {most}"));
        if range.contains(&number) { Ok(()) } else { Err(refused()) }
    }

    /// The same, naming the field at fault.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_rfc_9457() {
        let problem = Problem::new(Code::UnknownIndex, "no index \"x\"; create it with PUT /indexes/x");
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["status"], 404);
        assert_eq!(json["code"], "unknown_index");
        assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
    }
}
