//! Receiving a file: from the request into object storage, piece by piece.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use common::Error;
use common::domain::document_kind::{DocumentKind, SNIFF_BYTES};
use common::providers::object_store::{self, ObjectStore};
use poem::error::ParseMultipartError;
use poem::web::{Field, Multipart};
use poem::{FromRequest, Request, RequestBody};
use poem_openapi::impl_apirequest_for_payload;
use poem_openapi::payload::{ParsePayload, Payload};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::body::refuse_declared;
use crate::error::ApiError;

/// 20 MB, in the sense that lets more files in.
const FILE_LIMIT: u64 = 20 * 1024 * 1024;

/// What the form adds to the file.
const FORM_OVERHEAD: u64 = 64 * 1024;

/// How long the next piece may take to arrive.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);

/// Read at once, at most.
const PIECE_BYTES: usize = 64 * 1024;

const LONGEST_FILENAME: usize = 255;

/// A form with a `file`.
pub(super) struct UploadForm(Multipart);

impl Payload for UploadForm {
    const CONTENT_TYPE: &'static str = "multipart/form-data";

    fn check_content_type(content_type: &str) -> bool {
        content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .eq_ignore_ascii_case(Self::CONTENT_TYPE)
    }

    fn schema_ref() -> MetaSchemaRef {
        let file = MetaSchema {
            format: Some("binary"),
            ..MetaSchema::new("string")
        };
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            required: vec!["file"],
            properties: vec![("file", MetaSchemaRef::Inline(Box::new(file)))],
            ..MetaSchema::new("object")
        }))
    }
}

impl ParsePayload for UploadForm {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        let body = refuse_declared(request, body.take()?, FILE_LIMIT + FORM_OVERHEAD).await;
        let body = body.map_err(|_| ApiError::too_large(FILE_LIMIT))?;
        let form = Multipart::from_request(request, &mut RequestBody::new(body)).await;
        Ok(Self(form.map_err(|error| {
            ApiError::invalid("body", error.to_string())
        })?))
    }
}

impl_apirequest_for_payload!(UploadForm);

/// A file that lies in object storage.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) filename: String,
    pub(super) kind: DocumentKind,
    pub(super) size_bytes: i64,
    pub(super) sha256: Vec<u8>,
}

/// Puts the form's `file` into `store` as `key`. Nothing is kept of one that is refused.
pub(super) async fn receive(
    store: &Arc<dyn ObjectStore>,
    key: &str,
    mut form: UploadForm,
) -> Result<Received, ApiError> {
    while let Some(field) = next_field(&mut form.0).await? {
        if field.name() == Some("file") {
            return receive_file(store, key, field).await;
        }
    }
    Err(ApiError::invalid("file", "is missing"))
}

async fn next_field(form: &mut Multipart) -> Result<Option<Field>, ApiError> {
    match tokio::time::timeout(PIECE_TIMEOUT, form.next_field()).await {
        Ok(Ok(field)) => Ok(field),
        Ok(Err(error)) => Err(malformed(&error)),
        Err(_) => Err(ApiError::too_slow()),
    }
}

async fn receive_file(
    store: &Arc<dyn ObjectStore>,
    key: &str,
    field: Field,
) -> Result<Received, ApiError> {
    let filename = clean_filename(field.file_name().unwrap_or_default())?;
    let media_type = field.content_type().map(str::to_owned);
    let mut file = Box::pin(field.into_async_read());

    let head = read_head(&mut file).await?;
    let kind = match DocumentKind::detect(&filename, media_type.as_deref(), &head) {
        Ok(kind) => kind,
        Err(error) => {
            drain(&mut file).await;
            return Err(ApiError::unsupported(error.to_string()));
        }
    };
    let mut writer = object_store::writer(store, key).map_err(Error::from)?;
    let mut hash = Sha256::new();
    let mut size = 0_u64;
    let mut piece = head;
    let refusal = loop {
        if piece.is_empty() {
            break None;
        }
        size += piece.len() as u64;
        if size > FILE_LIMIT {
            drain(&mut file).await;
            break Some(ApiError::too_large(FILE_LIMIT));
        }
        hash.update(&piece);
        if let Err(error) = writer.write(piece).await {
            break Some(Error::from(error).into());
        }
        piece = match read_piece(&mut file).await {
            Ok(piece) => piece,
            Err(error) => break Some(error),
        };
    };
    if let Some(refusal) = refusal {
        writer.abort().await;
        return Err(refusal);
    }
    writer.finish().await.map_err(Error::from)?;
    let size_bytes = i64::try_from(size).unwrap_or(i64::MAX);
    Ok(Received {
        filename,
        kind,
        size_bytes,
        sha256: hash.finalize().to_vec(),
    })
}

/// As much as the kind is told by, or all where there is less.
async fn read_head(file: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, ApiError> {
    let mut head = BytesMut::new();
    while head.len() < SNIFF_BYTES {
        let piece = read_piece(file).await?;
        if piece.is_empty() {
            break;
        }
        head.extend_from_slice(&piece);
    }
    Ok(head.freeze())
}

/// The next piece; empty at the end.
async fn read_piece(file: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, ApiError> {
    let mut piece = BytesMut::with_capacity(PIECE_BYTES);
    match tokio::time::timeout(PIECE_TIMEOUT, file.read_buf(&mut piece)).await {
        Ok(Ok(_)) => Ok(piece.freeze()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "upload broke off");
            Err(ApiError::invalid("body", "broke off, or is not a form"))
        }
        Err(_) => Err(ApiError::too_slow()),
    }
}

/// Reads the rest away for a while, so that the caller hears why it was refused.
async fn drain(file: &mut (impl AsyncRead + Unpin)) {
    let mut rest = file.take(FILE_LIMIT);
    let mut nowhere = tokio::io::sink();
    let draining = tokio::io::copy(&mut rest, &mut nowhere);
    tokio::time::timeout(PIECE_TIMEOUT, draining).await.ok();
}

/// The last part of a path, without what does not belong into a name.
fn clean_filename(name: &str) -> Result<String, ApiError> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).collect();
    let clean = clean.trim();
    if clean.is_empty() {
        return Err(ApiError::invalid("file", "has no file name"));
    }
    if clean.chars().count() > LONGEST_FILENAME {
        return Err(ApiError::invalid(
            "file",
            format!("its name has more than {LONGEST_FILENAME} characters"),
        ));
    }
    Ok(clean.to_owned())
}

fn malformed(error: &ParseMultipartError) -> ApiError {
    tracing::debug!(%error, "form refused");
    ApiError::invalid("body", "is not a well-formed form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filename_is_the_last_part_of_a_path() {
        let clean = |name| clean_filename(name).ok();
        assert_eq!(
            clean("C:\\Users\\a\\rapport été.pdf").as_deref(),
            Some("rapport été.pdf")
        );
        assert_eq!(clean("../../etc/passwd\0").as_deref(), Some("passwd"));
        assert_eq!(clean(" \n"), None);
        assert_eq!(clean("a/"), None);
        assert_eq!(clean(&"x".repeat(256)), None);
    }
}
