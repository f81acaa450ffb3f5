//! The messages of version 1, as they are read and answered for one more release.

use serde::{Deserialize, Serialize};

use super::{Answer, DocumentParts, Failure, Fetch, Found, Hits, Item, PartialHit, Question, Search};
use crate::index_name::IndexRef;
use crate::ports::WorkerId;
use crate::query::Query;
use crate::search::Highlight;

/// Requests that share one message.
#[derive(Serialize, Deserialize)]
pub struct Request {
    remaining_ms: u32,
    items: Vec<FirstItem>,
}

#[derive(Serialize, Deserialize)]
struct FirstItem {
    index: IndexRef,
    partition: u32,
    question: FirstQuestion,
}

#[derive(Serialize, Deserialize)]
enum FirstQuestion {
    Search { query: String, lenient: bool, hits: u32, count: bool, highlight: bool },
    Fetch { ids: Vec<String>, highlight: Option<String> },
}

/// The answers to one request.
#[derive(Serialize, Deserialize)]
pub struct Reply {
    worker: WorkerId,
    answers: Vec<Result<FirstAnswer, FirstFailure>>,
}

#[derive(Serialize, Deserialize)]
enum FirstAnswer {
    Hits { total: Option<u64>, hits: Vec<FirstHit> },
    Documents(Vec<Option<Found>>),
}

#[derive(Serialize, Deserialize)]
struct FirstHit {
    id: String,
    score: f32,
    found: Option<Found>,
}

#[derive(Serialize, Deserialize)]
enum FirstFailure {
    InvalidQuery(String),
    NotHere,
    Deadline,
    Internal(String),
}

impl TryFrom<Request> for super::Request {
    type Error = String;

    fn try_from(Request { remaining_ms, items }: Request) -> Result<Self, String> {
        let item = |FirstItem { index, partition, question }| {
            Ok(Item { index, partition, at_least: None, question: question_of(question)? })
        };
        Ok(Self { remaining_ms, items: items.into_iter().map(item).collect::<Result<_, String>>()? })
    }
}

fn question_of(question: FirstQuestion) -> Result<Question, String> {
    let passages = |wanted: bool| DocumentParts { fields: None, highlight: wanted.then(Highlight::default) };
    let parse = |text: &str, lenient| Query::parse(text, lenient).map_err(|error| error.to_string());
    Ok(match question {
        FirstQuestion::Search { query, lenient, hits, count, highlight } => Question::Search(Box::new(Search {
            query: parse(&query, lenient)?,
            hits,
            count,
            document: passages(highlight),
            ..Search::default()
        })),
        FirstQuestion::Fetch { ids, highlight } => Question::Fetch(Box::new(Fetch {
            ids,
            view: None,
            document: passages(highlight.is_some()),
            query: highlight.map(|query| parse(&query, true)).transpose()?,
        })),
    })
}

impl TryFrom<Reply> for super::Reply {
    type Error = String;

    fn try_from(Reply { worker, answers }: Reply) -> Result<Self, String> {
        let hit = |FirstHit { id, score, found }| PartialHit { id, score: Some(score), sort: Vec::new(), found };
        let answer = |answer| match answer {
            FirstAnswer::Hits { total, hits } => {
                Answer::Hits(Hits { total, hits: hits.into_iter().map(hit).collect(), ..Hits::default() })
            }
            FirstAnswer::Documents(documents) => Answer::Documents(documents),
        };
        let failure = |failure| match failure {
            FirstFailure::InvalidQuery(text) => Failure::InvalidQuery(text),
            FirstFailure::NotHere => Failure::NotHere,
            FirstFailure::Deadline => Failure::Deadline,
            FirstFailure::Internal(text) => Failure::Internal(text),
        };
        Ok(Self { worker, answers: answers.into_iter().map(|each| each.map(answer).map_err(failure)).collect() })
    }
}

impl From<super::Reply> for Reply {
    fn from(super::Reply { worker, answers }: super::Reply) -> Self {
        let hit = |PartialHit { id, score, found, .. }| FirstHit { id, score: score.unwrap_or_default(), found };
        let answer = |answer| match answer {
            Answer::Hits(Hits { total, hits, .. }) => Ok(FirstAnswer::Hits { total, hits: hits.into_iter().map(hit).collect() }),
            Answer::Documents(documents) => Ok(FirstAnswer::Documents(documents)),
            Answer::Statistics(_) | Answer::Suggestions(_) | Answer::Merge(_) => {
                Err(FirstFailure::Internal("nobody asks for that in version 1".to_owned()))
            }
        };
        let failure = |failure| match failure {
            Failure::InvalidQuery(text) => FirstFailure::InvalidQuery(text),
            Failure::NotHere => FirstFailure::NotHere,
            Failure::Deadline => FirstFailure::Deadline,
            Failure::Internal(text) => FirstFailure::Internal(text),
            other => FirstFailure::Internal(other.to_string()),
        };
        Self { worker, answers: answers.into_iter().map(|each| each.map_err(failure).and_then(answer)).collect() }
    }
}
