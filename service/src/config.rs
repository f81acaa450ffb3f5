//! The one shape of configuration of every program: parsed once, into types that cannot be wrong.

mod load;
mod secret;

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use load::ConfigError;
pub use secret::Secret;

/// The settings in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the embedded broker and the workers keep their files.
    pub data_dir: PathBuf,
    /// How long a stop may take, in milliseconds; what is not finished then is given up.
    pub stop_timeout_ms: NonZeroU64,
    /// Which broker, and how to reach it.
    pub broker: warren_broker::Settings,
    /// The object store, for snapshots.
    pub store: warren_snapshot::Settings,
    /// The HTTP server.
    pub http: HttpConfig,
    /// Who may use the HTTP interface.
    pub auth: AuthConfig,
    /// How indexes come to be.
    pub indexes: IndexesConfig,
    /// The ways in.
    pub producer: ProducerConfig,
    /// Links: how pages are fetched.
    pub links: LinksConfig,
    /// Indexing and searching.
    pub worker: WorkerConfig,
    /// Fanning out and merging.
    pub query: QueryConfig,
    /// The server that the commands of `warren` talk to.
    pub client: ClientConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Where to listen; without it, the role's own default on the loopback interface.
    pub listen: Option<SocketAddr>,
    /// Whether to serve other addresses than the loopback ones without keys.
    pub insecure: bool,
    /// Names that requests may call this server by, besides `localhost` and addresses; matters without keys.
    pub hosts: Vec<String>,
    /// The largest body of an upload of documents, in bytes, as sent. It is unpacked and written as it comes, never kept whole.
    pub max_body_bytes: NonZeroU64,
    /// The largest document, in bytes.
    pub max_document_bytes: NonZeroU32,
    /// How many requests are worked on at once; beyond, they are answered 429.
    pub max_requests: NonZeroU32,
    /// How many connections are open at once; beyond, they wait in the backlog of the operating system.
    pub max_connections: NonZeroU32,
    /// How long a connection may be silent between requests, within a request's head, or within its body, in
    /// milliseconds.
    pub idle_timeout_ms: NonZeroU64,
}

/// Who may use the HTTP interface.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// The keys, any of which opens everything. None: no key is asked for.
    pub keys: Vec<Secret>,
}

/// How indexes come to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IndexesConfig {
    /// Whether the first document of an unknown index creates it.
    pub auto_create: bool,
    /// How many indexes may be created so.
    pub auto_create_limit: u32,
}

/// The ways in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProducerConfig {
    /// How many bytes of documents share a batch, before compression.
    pub batch_bytes: NonZeroU32,
    /// How long a batch waits for more documents, in milliseconds.
    pub linger_ms: u64,
    /// How many batches of one log are unconfirmed at a time.
    pub in_flight_batches: NonZeroU16,
    /// How many bytes of documents a process holds at a time in each of three places: what requests collect beyond 1 MiB each, what the
    /// intake queue and all sources have in hand, and what is on its way to the logs.
    pub buffer_bytes: NonZeroU32,
    /// How long a document may wait for its confirm, in milliseconds.
    pub confirm_timeout_ms: NonZeroU64,
    /// Whether to serve the intake queue and the sources.
    pub intake: bool,
    /// How many messages of the intake queue, and of each source, are unsettled at a time; fewer where they are large.
    pub intake_prefetch: NonZeroU16,
    /// The largest body of a message from a queue, in bytes, unpacked: all documents of a batch together.
    pub max_message_bytes: NonZeroU32,
    /// How often a message is tried that makes its handler fail, before it is a dead letter.
    pub max_attempts: NonZeroU32,
    /// For tests: whether a message with the header `warren-test-panic` makes its handler panic.
    pub test_panics: bool,
    /// How many rejected documents an answer lists, and how many that cannot be found yet; all are counted.
    pub max_rejected_listed: u32,
    /// How many uploads, and deletions by query, are worked on at once; beyond, they are answered 429.
    pub max_uploads: NonZeroU32,
    /// How long a receipt is waited for, in milliseconds; after that it is unknown when the document can be found.
    pub receipt_timeout_ms: NonZeroU64,
    /// How many documents wait for their receipts at a time; those beyond get none.
    pub max_receipts: NonZeroU32,
}

/// Links: how pages are fetched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinksConfig {
    /// Whether to fetch the pages of links that were fed.
    pub fetch: bool,
    /// How many pages are fetched at a time.
    pub concurrency: NonZeroU16,
    /// How many of them from one host.
    pub per_host: NonZeroU16,
    /// The pause between two requests to one host, in milliseconds.
    pub host_pause_ms: u64,
    /// How long a page may take, from the look-up of its host to its last byte, redirects included, in milliseconds.
    pub timeout_ms: NonZeroU64,
    /// The largest page, in bytes, as sent and unpacked.
    pub max_bytes: NonZeroU32,
    /// How often a page that cannot be had is asked for, with growing pauses between; then its link is a dead letter.
    pub attempts: NonZeroU16,
    /// Whether addresses that are not public may be asked, and any port: those of this machine and its networks.
    pub allow_private: bool,
    /// What fetchers call themselves.
    pub user_agent: String,
}

/// Indexing and searching.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerConfig {
    /// The memory for indexing, of all partitions together, in bytes.
    pub memory_bytes: NonZeroU64,
    /// How long written documents may wait until a search sees them, in milliseconds, when there is no load.
    pub refresh_interval_ms: NonZeroU64,
    /// How many searches run at a time, besides the long and the dear ones; without it, as many as there are cores.
    pub search_threads: Option<NonZeroU16>,
    /// How many bytes the hits of one answer have, with the documents that they carry along; what is beyond is fetched by id if it is needed.
    pub max_answer_bytes: NonZeroU32,
    /// How many commits are kept at a time for searches whose documents are still to be fetched; beyond, they are fetched from the
    /// present one.
    pub max_views: NonZeroU32,
    /// How many bytes the aggregations of one search may take while a partition collects them.
    pub max_aggregation_bytes: NonZeroU32,
    /// The pause between two looks at the slots, in milliseconds.
    pub claim_interval_ms: NonZeroU64,
}

/// Fanning out and merging.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryConfig {
    /// How many searches are under way at a time; beyond, they are answered 429.
    pub max_concurrent: NonZeroU32,
    /// How many bytes the hits of one answer may have, with their documents and passages; beyond, it is answered 413.
    pub max_answer_bytes: NonZeroU64,
    /// How many bytes of hits all searches under way may hold, from when they come until they are sent; beyond, searches are answered 429. While
    /// an answer is written it takes twice as much for a moment.
    pub max_memory_bytes: NonZeroU64,
    /// How many of them may come over AMQP; beyond, they wait in their queue.
    pub amqp_concurrent: NonZeroU16,
    /// How many requests may wait for a merge at a time; beyond, they are answered 429.
    pub max_merges: NonZeroU32,
    /// How many bytes of a partition's log a replay of dead letters reads to learn what was written since.
    pub max_replay_bytes: NonZeroU64,
    /// For how long the statistics of a query are taken for those of now, in milliseconds; 0: not at all.
    pub statistics_cache_ms: u64,
    /// How many buckets the aggregations of one search may have, in a partition and in the answer; terms aggregations are exact up to
    /// there.
    pub max_buckets: NonZeroU32,
}

/// The server that the commands of `warren` talk to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientConfig {
    /// Its URL.
    pub server: String,
    /// One of its keys, if it asks for one.
    pub key: Option<Secret>,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// A filter such as `info` or `warn,warren_worker=debug`.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// A text that is no form of log lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no form of log lines: take text or json")]
pub struct InvalidLogFormat(String);

impl TryFrom<String> for LogFormat {
    type Error = InvalidLogFormat;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(InvalidLogFormat(text)),
        }
    }
}

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;

const fn n16(value: u16) -> NonZeroU16 {
    match NonZeroU16::new(value) {
        Some(value) => value,
        None => NonZeroU16::MIN,
    }
}

const fn n32(value: u32) -> NonZeroU32 {
    match NonZeroU32::new(value) {
        Some(value) => value,
        None => NonZeroU32::MIN,
    }
}

const fn n64(value: u64) -> NonZeroU64 {
    match NonZeroU64::new(value) {
        Some(value) => value,
        None => NonZeroU64::MIN,
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("warren-data"),
            stop_timeout_ms: n64(10_000),
            broker: warren_broker::Settings::default(),
            store: warren_snapshot::Settings::default(),
            http: HttpConfig::default(),
            auth: AuthConfig::default(),
            indexes: IndexesConfig::default(),
            producer: ProducerConfig::default(),
            links: LinksConfig::default(),
            worker: WorkerConfig::default(),
            query: QueryConfig::default(),
            client: ClientConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: None,
            insecure: false,
            hosts: Vec::new(),
            max_body_bytes: n64(1 << 30),
            max_document_bytes: n32(8 * MIB),
            max_requests: n32(256),
            max_connections: n32(1024),
            idle_timeout_ms: n64(60_000),
        }
    }
}

impl Default for IndexesConfig {
    fn default() -> Self {
        Self { auto_create: true, auto_create_limit: 100 }
    }
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            batch_bytes: n32(128 * KIB),
            linger_ms: 5,
            in_flight_batches: n16(8),
            buffer_bytes: n32(64 * MIB),
            confirm_timeout_ms: n64(30_000),
            intake: true,
            intake_prefetch: n16(1000),
            max_message_bytes: n32(64 * MIB),
            max_attempts: n32(3),
            test_panics: false,
            max_rejected_listed: 100,
            max_uploads: n32(64),
            receipt_timeout_ms: n64(60_000),
            max_receipts: n32(100_000),
        }
    }
}

impl Default for LinksConfig {
    fn default() -> Self {
        Self {
            fetch: true,
            concurrency: n16(16),
            per_host: n16(2),
            host_pause_ms: 250,
            timeout_ms: n64(30_000),
            max_bytes: n32(4 * MIB),
            attempts: n16(5),
            allow_private: false,
            user_agent: concat!("warren/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            memory_bytes: n64(256 << 20),
            refresh_interval_ms: n64(100),
            search_threads: None,
            max_answer_bytes: n32(MIB),
            max_views: n32(256),
            max_aggregation_bytes: n32(32 * MIB),
            claim_interval_ms: n64(1000),
        }
    }
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            max_concurrent: n32(256),
            max_answer_bytes: n64(64 << 20),
            max_memory_bytes: n64(512 << 20),
            amqp_concurrent: n16(32),
            max_merges: n32(4),
            max_replay_bytes: n64(1 << 30),
            statistics_cache_ms: 1000,
            max_buckets: n32(65_536),
        }
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { server: "http://127.0.0.1:8080".to_owned(), key: None }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "warn,warren=info,lapin=off".to_owned(), format: LogFormat::Text }
    }
}

impl Config {
    /// The largest document that a configuration can allow, in bytes: with its batch around it, it must stay below
    /// what the broker takes in one message.
    pub const MAX_DOCUMENT_BYTES: u32 = 12 * MIB;
    /// Batches stay below it, in bytes.
    pub const MAX_BATCH_BYTES: u32 = MIB;

    /// Pages that are fetched at a time: the queue hands out three times as many.
    pub const MAX_FETCHERS: u16 = 1000;

    /// Checks the rules that span more than one type; the error names the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, rule: String| Err(ConfigError::Rule { key: key.to_owned(), rule });
        let document = self.http.max_document_bytes.get();
        if document > Self::MAX_DOCUMENT_BYTES {
            let rule = format!("is {document}: take at most {}, brokers have a limit too", Self::MAX_DOCUMENT_BYTES);
            return refuse("http.max_document_bytes", rule);
        }
        if self.http.max_body_bytes.get() < u64::from(document) {
            let rule = format!("is {}, less than http.max_document_bytes, {document}", self.http.max_body_bytes);
            return refuse("http.max_body_bytes", rule);
        }
        if let Some(host) = self.http.hosts.iter().find(|host| host.is_empty() || host.contains(['/', ':', ' '])) {
            return refuse("http.hosts", format!("holds {host:?}: write names alone, without scheme and port"));
        }
        if self.producer.batch_bytes.get() >= Self::MAX_BATCH_BYTES {
            let rule = format!("is {}: take less than {}", self.producer.batch_bytes, Self::MAX_BATCH_BYTES);
            return refuse("producer.batch_bytes", rule);
        }
        if self.producer.buffer_bytes.get() < document {
            let rule = format!("is {}, less than http.max_document_bytes, {document}", self.producer.buffer_bytes);
            return refuse("producer.buffer_bytes", rule);
        }
        if self.links.concurrency.get() > Self::MAX_FETCHERS {
            let rule = format!("is {}: take at most {}", self.links.concurrency, Self::MAX_FETCHERS);
            return refuse("links.concurrency", rule);
        }
        if self.links.host_pause_ms > 60_000 {
            return refuse("links.host_pause_ms", format!("is {}: take at most 60000", self.links.host_pause_ms));
        }
        let printable = |text: &str| !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !printable(&self.links.user_agent) {
            return refuse("links.user_agent", format!("is {:?}: take printable ASCII", self.links.user_agent));
        }
        if self.producer.max_message_bytes.get() < document {
            let rule = format!("is {}, less than http.max_document_bytes, {document}", self.producer.max_message_bytes);
            return refuse("producer.max_message_bytes", rule);
        }
        if self.worker.max_answer_bytes.get() > Self::MAX_DOCUMENT_BYTES {
            let rule = format!("is {}: take at most {}", self.worker.max_answer_bytes, Self::MAX_DOCUMENT_BYTES);
            return refuse("worker.max_answer_bytes", rule);
        }
        if self.query.max_answer_bytes.get() < u64::from(document) {
            let rule = format!("is {}, less than http.max_document_bytes, {document}", self.query.max_answer_bytes);
            return refuse("query.max_answer_bytes", rule);
        }
        if self.query.max_memory_bytes < self.query.max_answer_bytes {
            let rule =
                format!("is {}, less than query.max_answer_bytes, {}", self.query.max_memory_bytes, self.query.max_answer_bytes);
            return refuse("query.max_memory_bytes", rule);
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.level) {
            return refuse("log.level", format!("is {:?}: {error}; take error, warn, info, debug or trace", self.log.level));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_keep_the_rules() {
        Config::default().validate().unwrap();
    }

    #[test]
    fn each_rule_names_its_key() {
        type Spoil = fn(&mut Config);
        let cases: [(&str, Spoil); 13] = [
            ("http.max_document_bytes", |c| c.http.max_document_bytes = n32(33 * MIB)),
            ("http.max_body_bytes", |c| c.http.max_body_bytes = n64(5)),
            ("http.hosts", |c| c.http.hosts = vec!["http://a".to_owned()]),
            ("producer.batch_bytes", |c| c.producer.batch_bytes = n32(MIB)),
            ("producer.buffer_bytes", |c| c.producer.buffer_bytes = n32(MIB)),
            ("links.concurrency", |c| c.links.concurrency = n16(1001)),
            ("links.host_pause_ms", |c| c.links.host_pause_ms = 60_001),
            ("links.user_agent", |c| c.links.user_agent = "a\nb".to_owned()),
            ("producer.max_message_bytes", |c| c.producer.max_message_bytes = n32(MIB)),
            ("worker.max_answer_bytes", |c| c.worker.max_answer_bytes = n32(13 * MIB)),
            ("query.max_answer_bytes", |c| c.query.max_answer_bytes = n64(5)),
            ("query.max_memory_bytes", |c| c.query.max_memory_bytes = n64(5)),
            ("log.level", |c| c.log.level = "a=b=c".to_owned()),
        ];
        for (key, spoil) in cases {
            let mut config = Config::default();
            spoil(&mut config);
            let error = config.validate().unwrap_err();
            assert!(matches!(&error, ConfigError::Rule { key: named, .. } if named == key), "{error}");
        }
    }
}
