//! Files: a local folder, or a bucket of an S3-compatible service.

use std::fs;
use std::future::Future;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
pub use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStoreExt, RetryConfig};
use secrecy::ExposeSecret;
use tokio::io::AsyncWriteExt;

use super::ProviderError;
use crate::config::{ObjectsConfig, S3Config};

/// The provider's name in errors, logs and metrics.
const PROVIDER: &str = "object_store";

/// The longest one step may take: a piece of 5 MiB over a slow line.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// Collected before it is sent: the smallest part S3 takes, and the memory one upload costs, twice over.
const PART_BYTES: usize = 5 * 1024 * 1024;

/// The store `config` names. The local folder is created where it is missing.
///
/// # Errors
///
/// [`ProviderError::Refused`] where the folder cannot be made or the configuration makes no client, in words for the operator.
pub fn connect(config: &ObjectsConfig) -> Result<Arc<dyn ObjectStore>, ProviderError> {
    match &config.s3 {
        Some(s3) => connect_s3(s3),
        None => connect_folder(&config.data_dir.join("objects")),
    }
}

fn connect_folder(folder: &FilePath) -> Result<Arc<dyn ObjectStore>, ProviderError> {
    fs::create_dir_all(folder).map_err(|error| {
        refused(format!(
            "the folder {} cannot be made: {error}",
            folder.display()
        ))
    })?;
    let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| {
        refused(format!(
            "the folder {} cannot be used: {error}",
            folder.display()
        ))
    })?;
    // What was acknowledged must outlive a power cut, as the row that names it does.
    Ok(Arc::new(
        store.with_fsync(true).with_automatic_cleanup(true),
    ))
}

fn connect_s3(config: &S3Config) -> Result<Arc<dyn ObjectStore>, ProviderError> {
    let client = ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(5))
        .with_timeout(STEP_TIMEOUT)
        .with_allow_http(
            config
                .endpoint
                .as_deref()
                .is_some_and(|endpoint| endpoint.starts_with("http://")),
        );
    let mut builder = AmazonS3Builder::new()
        .with_client_options(client)
        // Jobs and callers try again themselves: a slot is not held for minutes.
        .with_retry(RetryConfig {
            max_retries: 2,
            retry_timeout: Duration::from_secs(10),
            ..RetryConfig::default()
        })
        .with_bucket_name(&config.bucket)
        .with_region(&config.region)
        .with_access_key_id(config.access_key_id.expose_secret())
        .with_secret_access_key(config.secret_access_key.expose_secret());
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let store = builder
        .build()
        .map_err(|error| refused(format!("the bucket cannot be used: {error}")))?;
    Ok(Arc::new(store))
}

/// Writes a small object in one step.
pub async fn put(store: &dyn ObjectStore, key: &str, bytes: Bytes) -> Result<(), ProviderError> {
    let path = parse(key)?;
    bounded(store.put(&path, bytes.into())).await?;
    Ok(())
}

/// Begins an object that is written piece by piece and exists only once it is [finished](ObjectWriter::finish).
pub fn writer(store: &Arc<dyn ObjectStore>, key: &str) -> Result<ObjectWriter, ProviderError> {
    let writer = BufWriter::with_capacity(Arc::clone(store), parse(key)?, PART_BYTES);
    Ok(ObjectWriter {
        writer: writer.with_max_concurrency(1),
    })
}

/// An object under way.
pub struct ObjectWriter {
    writer: BufWriter,
}

impl ObjectWriter {
    /// Appends `bytes`.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), ProviderError> {
        bounded(self.writer.put(bytes)).await
    }

    /// Makes the object exist.
    pub async fn finish(mut self) -> Result<(), ProviderError> {
        let generic = |error| object_store::Error::Generic {
            store: PROVIDER,
            source: Box::new(error),
        };
        bounded(async { self.writer.shutdown().await.map_err(generic) }).await
    }

    /// Throws away what was written. Best effort: a service drops unfinished uploads by itself in time.
    pub async fn abort(mut self) {
        if let Err(error) = bounded(self.writer.abort()).await {
            tracing::debug!(%error, "an unfinished object was not thrown away");
        }
    }
}

/// Copies an object into the file `target`, which is created or overwritten; answers its size.
///
/// # Errors
///
/// [`ProviderError::Refused`] where there is no such object, or it is longer than `limit`.
pub async fn get_to_file(
    store: &dyn ObjectStore,
    key: &str,
    target: &FilePath,
    limit: u64,
) -> Result<u64, ProviderError> {
    let path = parse(key)?;
    let found = bounded(store.get(&path)).await?;
    if found.meta.size > limit {
        return Err(refused(format!(
            "the object has {} bytes, more than {limit}",
            found.meta.size
        )));
    }
    let broken =
        |error: std::io::Error| unavailable(format!("the copy cannot be written: {error}"));
    let mut file = tokio::fs::File::create(target).await.map_err(broken)?;
    let mut stream = found.into_stream();
    let mut size = 0;
    while let Some(bytes) = bounded(async { stream.next().await.transpose() }).await? {
        size += bytes.len() as u64;
        file.write_all(&bytes).await.map_err(broken)?;
    }
    file.flush().await.map_err(broken)?;
    Ok(size)
}

/// Deletes an object; one that is not there is as good as deleted.
pub async fn delete(store: &dyn ObjectStore, key: &str) -> Result<(), ProviderError> {
    let path = parse(key)?;
    bounded(async {
        match store.delete(&path).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            other => other,
        }
    })
    .await
}

/// Deletes every object below the folder `prefix`; answers how many there were.
pub async fn delete_below(store: &dyn ObjectStore, prefix: &str) -> Result<u64, ProviderError> {
    let mut objects = store.list(Some(&parse(prefix)?));
    let mut deleted = 0;
    while let Some(object) = bounded(objects.next().map(Option::transpose)).await? {
        bounded(store.delete(&object.location)).await?;
        deleted += 1;
    }
    Ok(deleted)
}

/// Whether the store answers.
pub async fn ping(store: &dyn ObjectStore) -> Result<(), ProviderError> {
    let path = Path::from("ping");
    bounded(async {
        match store.head(&path).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    })
    .await
}

fn parse(key: &str) -> Result<Path, ProviderError> {
    Path::parse(key).map_err(|error| refused(format!("`{key}` is no key: {error}")))
}

async fn bounded<T>(
    step: impl Future<Output = object_store::Result<T>>,
) -> Result<T, ProviderError> {
    match tokio::time::timeout(STEP_TIMEOUT, step).await {
        Ok(result) => result.map_err(|error| classify(&error)),
        Err(_) => Err(unavailable("no answer in time".to_owned())),
    }
}

/// Every call may be repeated, so an unknown outcome is as good as none.
fn classify(error: &object_store::Error) -> ProviderError {
    use object_store::Error::{
        AlreadyExists, InvalidPath, NotFound, PermissionDenied, Unauthenticated,
    };
    let reason = error.to_string();
    match error {
        NotFound { .. }
        | AlreadyExists { .. }
        | InvalidPath { .. }
        | PermissionDenied { .. }
        | Unauthenticated { .. } => refused(reason),
        _ => unavailable(reason),
    }
}

fn refused(reason: String) -> ProviderError {
    ProviderError::Refused {
        provider: PROVIDER,
        reason,
    }
}

fn unavailable(reason: String) -> ProviderError {
    ProviderError::Unavailable {
        provider: PROVIDER,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> std::path::PathBuf {
        std::env::temp_dir().join(format!("relais-objects-{}", uuid::Uuid::now_v7()))
    }

    #[tokio::test]
    async fn what_is_written_is_read_back_and_deleted_twice() {
        let data_dir = folder();
        let store = connect(&ObjectsConfig {
            data_dir: data_dir.clone(),
            s3: None,
        })
        .unwrap();
        let mut writer = writer(&store, "documents/a/b").unwrap();
        for _ in 0..3 {
            writer
                .write(Bytes::from(vec![7; 4 * 1024 * 1024]))
                .await
                .unwrap();
        }
        writer.finish().await.unwrap();

        let copy = data_dir.join("copy");
        assert_eq!(
            get_to_file(&store, "documents/a/b", &copy, 20 << 20)
                .await
                .unwrap(),
            12 << 20
        );
        assert!(matches!(
            get_to_file(&store, "documents/a/b", &copy, 1).await,
            Err(ProviderError::Refused { .. })
        ));
        delete(&store, "documents/a/b").await.unwrap();
        delete(&store, "documents/a/b").await.unwrap();
        ping(&store).await.unwrap();
        fs::remove_dir_all(data_dir).unwrap();
    }

    #[tokio::test]
    async fn what_is_aborted_does_not_exist() {
        let data_dir = folder();
        let store = connect(&ObjectsConfig {
            data_dir: data_dir.clone(),
            s3: None,
        })
        .unwrap();
        let mut writer = writer(&store, "a").unwrap();
        for _ in 0..3 {
            writer
                .write(Bytes::from(vec![7; 4 * 1024 * 1024]))
                .await
                .unwrap();
        }
        writer.abort().await;

        assert!(
            get_to_file(&store, "a", &data_dir.join("copy"), 20 << 20)
                .await
                .is_err()
        );
        assert_eq!(fs::read_dir(data_dir.join("objects")).unwrap().count(), 0);
        fs::remove_dir_all(data_dir).unwrap();
    }
}
