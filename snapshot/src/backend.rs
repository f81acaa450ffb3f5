//! The object store behind the URL: every request has a deadline, every error is told apart from "there is none".

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, ClientOptions, Error, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, ObjectStoreScheme, PutMode,
    PutPayload, RetryConfig,
};
// Not named below: object_store's requests go through it, and get TLS by the features that the workspace asks of it.
use reqwest as _;
use url::Url;

use crate::error::StoreError;
use crate::hashes::blocking;
use crate::settings::Settings;

/// The longest wait for one answer, with its retries; the upper limit for a part of a file as well.
const DEADLINE: Duration = Duration::from_secs(120);
/// Of one attempt; a part of [`PART_BYTES`](crate::save::PART_BYTES) has to get through.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RETRIES: usize = 4;
/// After this, no further attempt begins.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Backend {
    objects: Arc<dyn ObjectStore>,
    /// How people call it.
    url: String,
    /// The folder, if it is one of this machine.
    folder: Option<PathBuf>,
}

/// Whether a new object is there now, or another one had been there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Created {
    Yes,
    Existed,
}

impl Backend {
    /// Prepares the store; only that of a folder is touched: the folder is created.
    pub(crate) fn open(settings: &Settings, data_dir: &FilePath) -> Result<Self, StoreError> {
        let Some(text) = &settings.url else { return Self::folder(&data_dir.join("store"), &settings.options) };
        let bad = |detail: &str| StoreError::BadUrl(format!("store.url {text:?} {detail}"));
        const FORMS: &str = "take file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix";
        let url: Url = text.parse().map_err(|error| bad(&format!("is not a URL ({error}): {FORMS}")))?;
        if url.query().is_some() || url.fragment().is_some() || url.password().is_some() {
            return Err(bad("has more than a place: what the store wants to know besides goes into store.options"));
        }
        let (scheme, prefix) = ObjectStoreScheme::parse(&url).map_err(|_| bad(&format!("names no kind of store: {FORMS}")))?;
        // Fails only if a provider is installed already, which is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = &settings.options;
        let objects: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::Local => {
                let folder = url.to_file_path().map_err(|()| bad("is not a folder of this machine: take file:///folder"))?;
                return Self::folder(&folder, options);
            }
            ObjectStoreScheme::AmazonS3 => {
                let builder = AmazonS3Builder::new().with_url(text).with_retry(retries()).with_client_options(client());
                let builder = parse_options::<AmazonS3ConfigKey>(options, "S3")?
                    .into_iter()
                    .fold(builder, |builder, (key, value)| builder.with_config(key, value));
                Arc::new(builder.build().map_err(|error| unusable(text, &error))?)
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let builder = GoogleCloudStorageBuilder::new().with_url(text).with_retry(retries()).with_client_options(client());
                let builder = parse_options::<GoogleConfigKey>(options, "Google Cloud Storage")?
                    .into_iter()
                    .fold(builder, |builder, (key, value)| builder.with_config(key, value));
                Arc::new(builder.build().map_err(|error| unusable(text, &error))?)
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let builder = MicrosoftAzureBuilder::new().with_url(text).with_retry(retries()).with_client_options(client());
                let builder = parse_options::<AzureConfigKey>(options, "Azure")?
                    .into_iter()
                    .fold(builder, |builder, (key, value)| builder.with_config(key, value));
                Arc::new(builder.build().map_err(|error| unusable(text, &error))?)
            }
            _ => return Err(bad(&format!("names no kind of store that keeps snapshots: {FORMS}"))),
        };
        Ok(Self { objects: Arc::new(PrefixStore::new(objects, prefix)), url: text.clone(), folder: None })
    }

    fn folder(folder: &FilePath, options: &BTreeMap<String, String>) -> Result<Self, StoreError> {
        if let Some(key) = options.keys().next() {
            return Err(StoreError::BadUrl(format!("store.options.{key}: a store that is a folder has no options, remove it")));
        }
        fs::create_dir_all(folder).map_err(StoreError::local(folder))?;
        let url = format!("file://{}", folder.display());
        // What a snapshot holds goes from the log: it has to be on the disk. Without the cleanup, what is removed would
        // stay as empty folders.
        let objects = LocalFileSystem::new_with_prefix(folder).map_err(|error| unusable(&url, &error))?;
        let objects = Arc::new(objects.with_fsync(true).with_automatic_cleanup(true));
        Ok(Self { objects, url, folder: Some(folder.to_owned()) })
    }

    #[cfg(test)]
    pub(crate) fn with(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, url: "test".to_owned(), folder: None }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn unavailable(&self, detail: String) -> StoreError {
        StoreError::Unavailable { url: self.url.clone(), detail }
    }

    /// The answer to one request, or why there is none.
    async fn ask<T>(
        &self,
        what: &str,
        path: &Path,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Refusal> {
        match tokio::time::timeout(DEADLINE, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Error::NotFound { source, .. })) => Err(Refusal::NotFound(format!("{what} {path}: {}", told(&*source)))),
            Ok(Err(Error::AlreadyExists { source, .. })) => Err(Refusal::Exists(format!("{what} {path}: {}", told(&*source)))),
            Ok(Err(error)) => Err(Refusal::Other(format!("{what} {path}: {}", told(&error)))),
            Err(_) => Err(Refusal::Other(format!("{what} {path}: no answer within {} s", DEADLINE.as_secs()))),
        }
    }

    fn any(&self, refusal: Refusal) -> StoreError {
        let (Refusal::NotFound(detail) | Refusal::Exists(detail) | Refusal::Other(detail)) = refusal;
        self.unavailable(detail)
    }

    fn unless_missing<T>(&self, answer: Result<T, Refusal>) -> Result<Option<T>, StoreError> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(Refusal::NotFound(_)) => Ok(None),
            Err(refusal) => Err(self.any(refusal)),
        }
    }

    /// A small object; `None` if there is none.
    pub(crate) async fn read(&self, path: &Path, max_bytes: u64) -> Result<Option<Bytes>, StoreError> {
        let request = async {
            let object = self.objects.get(path).await?;
            let bytes = object.meta.size;
            Ok(if bytes > max_bytes { Err(bytes) } else { Ok(object.bytes().await?) })
        };
        match self.unless_missing(self.ask("reading", path, request).await)? {
            Some(Err(bytes)) => Err(StoreError::damaged(path, format!("it has {bytes} bytes, more than {max_bytes}"))),
            Some(Ok(content)) => Ok(Some(content)),
            None => Ok(None),
        }
    }

    /// A part of an object; `None` if there is none.
    pub(crate) async fn read_range(&self, path: &Path, range: std::ops::Range<u64>) -> Result<Option<Bytes>, StoreError> {
        self.unless_missing(self.ask("reading", path, self.objects.get_range(path, range)).await)
    }

    /// Writes an object, whether there is one or not.
    pub(crate) async fn write(&self, path: &Path, content: Bytes) -> Result<(), StoreError> {
        let request = self.objects.put(path, PutPayload::from_bytes(content));
        self.ask("writing", path, request).await.map(drop).map_err(|refusal| self.any(refusal))
    }

    /// Writes an object that is not there yet.
    pub(crate) async fn create(&self, path: &Path, content: Bytes) -> Result<Created, StoreError> {
        let request = self.objects.put_opts(path, PutPayload::from_bytes(content), PutMode::Create.into());
        match self.ask("creating", path, request).await {
            Ok(_) => Ok(Created::Yes),
            Err(Refusal::Exists(_)) => Ok(Created::Existed),
            Err(refusal) => Err(self.any(refusal)),
        }
    }

    /// Begins to write an object in parts, which is there once it is completed.
    pub(crate) async fn begin(&self, path: &Path) -> Result<Parts<'_>, StoreError> {
        let upload = self.ask("writing", path, self.objects.put_multipart(path)).await.map_err(|refusal| self.any(refusal))?;
        Ok(Parts { backend: self, path: path.clone(), upload })
    }

    /// All objects below `folder`, at any depth.
    pub(crate) async fn list(&self, folder: &Path) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut listed = self.objects.list(Some(folder));
        let mut found = Vec::new();
        loop {
            let next = self.ask("listing", folder, async { listed.try_next().await }).await;
            match next.map_err(|refusal| self.any(refusal))? {
                Some(object) => found.push(object),
                None => return Ok(found),
            }
        }
    }

    /// The names of the folders in `folder`.
    pub(crate) async fn folders(&self, folder: &Path) -> Result<Vec<String>, StoreError> {
        let request = self.objects.list_with_delimiter(Some(folder));
        let listed = self.ask("listing", folder, request).await.map_err(|refusal| self.any(refusal))?;
        Ok(listed.common_prefixes.iter().filter_map(|path| Some(path.filename()?.to_owned())).collect())
    }

    /// Deletes objects; those that are gone already are as well.
    pub(crate) async fn delete(&self, paths: Vec<Path>) -> Result<(), StoreError> {
        let Some(first) = paths.first().cloned() else { return Ok(()) };
        let mut deleted = self.objects.delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed());
        loop {
            match self.ask("deleting from", &first, async { deleted.try_next().await }).await {
                Ok(Some(_)) | Err(Refusal::NotFound(_)) => {}
                Ok(None) => return Ok(()),
                Err(refusal) => return Err(self.any(refusal)),
            }
        }
    }
}

impl Backend {
    /// In a store that is a folder: deletes the unfinished uploads below `below` that are older, which no listing shows, and empty folders.
    pub(crate) async fn sweep(&self, below: &Path, older_than: Duration) -> Result<(), StoreError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let folder = folder.join(below.as_ref());
        blocking(folder.clone(), move |folder| sweep(folder, older_than)).await.map_err(StoreError::local(folder))
    }
}

fn sweep(folder: &FilePath, older_than: Duration) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let (path, entry) = entry.map(|entry| (entry.path(), entry))?;
        let meta = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            meta => meta?,
        };
        // As object_store names them; no object of ours has that character.
        let unfinished = entry.file_name().as_encoded_bytes().contains(&b'#');
        if meta.is_dir() {
            sweep(&path, older_than)?;
        } else if unfinished && meta.modified()?.elapsed().is_ok_and(|age| age >= older_than) {
            fs::remove_file(&path)?;
        }
    }
    // Only if it is empty.
    let _ = fs::remove_dir(folder);
    Ok(())
}

enum Refusal {
    NotFound(String),
    Exists(String),
    Other(String),
}

/// An object on its way; [`Parts::abort`] it if it is not to be.
pub(crate) struct Parts<'a> {
    backend: &'a Backend,
    path: Path,
    upload: Box<dyn MultipartUpload>,
}

impl Parts<'_> {
    pub(crate) async fn add(&mut self, part: Bytes) -> Result<(), StoreError> {
        let request = self.upload.put_part(PutPayload::from_bytes(part));
        self.backend.ask("writing", &self.path, request).await.map_err(|refusal| self.backend.any(refusal))
    }

    pub(crate) async fn complete(&mut self) -> Result<(), StoreError> {
        let request = self.upload.complete();
        self.backend.ask("writing", &self.path, request).await.map(drop).map_err(|refusal| self.backend.any(refusal))
    }

    /// Gives the space of the parts back; what fails is left to the rules of the store for unfinished uploads.
    pub(crate) async fn abort(&mut self) {
        if let Err(Refusal::NotFound(detail) | Refusal::Exists(detail) | Refusal::Other(detail)) =
            self.backend.ask("giving up", &self.path, self.upload.abort()).await
        {
            tracing::debug!(store = self.backend.url, detail, "an unfinished upload stays in the store");
        }
    }
}

/// An error with its causes, such as a certificate that nobody knows: not every one names its own.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |error| error.source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn unusable(url: &str, error: &Error) -> StoreError {
    StoreError::BadUrl(format!("store.url {url:?} or store.options cannot be used: {error}"))
}

fn parse_options<K: std::str::FromStr>(options: &BTreeMap<String, String>, kind: &str) -> Result<Vec<(K, String)>, StoreError> {
    let parse = |(name, value): (&String, &String)| match name.to_ascii_lowercase().parse() {
        Ok(key) => Ok((key, value.clone())),
        Err(_) => {
            Err(StoreError::BadUrl(format!("store.options.{name}: a store on {kind} has no such option, correct or remove it")))
        }
    };
    options.iter().map(parse).collect()
}

fn retries() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT }
}

fn client() -> ClientOptions {
    ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT)
}
