//! An object store that fails when it is told to, and knows what was in memory at once.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, UploadPart,
};

#[derive(Debug, Default)]
pub(super) struct Faulty {
    inner: InMemory,
    /// What the path of a request that fails contains.
    refused: Mutex<Option<&'static str>>,
    traffic: Arc<Traffic>,
}

/// The bytes that requests carry.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    now: AtomicUsize,
    pub(super) most: AtomicUsize,
    pub(super) largest: AtomicUsize,
}

impl Traffic {
    async fn carry<T>(&self, bytes: usize, request: impl Future<Output = T>) -> T {
        self.largest.fetch_max(bytes, Ordering::Relaxed);
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most.fetch_max(now, Ordering::Relaxed);
        // Gives others the time to send more.
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        let answer = request.await;
        self.now.fetch_sub(bytes, Ordering::Relaxed);
        answer
    }
}

impl Faulty {
    /// Fails requests for these paths from now on.
    pub(super) fn refuse(&self, part_of_path: Option<&'static str>) {
        *self.refused.lock().unwrap() = part_of_path;
    }

    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    fn ask(&self, path: Option<&Path>) -> Result<()> {
        let path = path.map(ToString::to_string).unwrap_or_default();
        match *self.refused.lock().unwrap() {
            Some(refused) if path.contains(refused) => Err(Error::Generic { store: "Faulty", source: "no route to host".into() }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.ask(Some(location))?;
        self.traffic.carry(payload.content_length(), self.inner.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.ask(Some(location))?;
        let upload = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(Upload { upload, traffic: self.traffic.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.ask(Some(location))?;
        let result = self.inner.get_opts(location, options).await?;
        let bytes = (result.range.end - result.range.start) as usize;
        self.traffic.carry(bytes, async { Ok(result) }).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.ask(prefix) {
            Ok(()) => self.inner.list(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.ask(prefix)?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct Upload {
    upload: Box<dyn MultipartUpload>,
    traffic: Arc<Traffic>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (bytes, part, traffic) = (data.content_length(), self.upload.put_part(data), self.traffic.clone());
        async move { traffic.carry(bytes, part).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
