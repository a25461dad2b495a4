//! Files: uploads kept in memory.

mod multipart;

use std::collections::VecDeque;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use crate::call::{Call, Full, Reply};
use crate::error::{ApiError, quoted};
use crate::headers::{Kind, rfc3339};
use crate::page::{Page, PageQuery};
use crate::workspace::Workspace;

/// The files of one workspace, newest first.
#[derive(Debug, Default)]
pub(crate) struct Files {
    all: VecDeque<StoredFile>,
    bytes: usize,
}

#[derive(Debug)]
struct StoredFile {
    id: String,
    filename: String,
    mime_type: String,
    created_at: String,
    downloadable: bool,
    content: Bytes,
}

impl StoredFile {
    fn json(&self) -> String {
        format!(
            r#"{{"id":{},"type":"file","filename":{},"mime_type":{},"size_bytes":{},"created_at":{},"downloadable":{}}}"#,
            quoted(&self.id),
            quoted(&self.filename),
            quoted(&self.mime_type),
            self.content.len(),
            quoted(&self.created_at),
            self.downloadable
        )
    }
}

impl Files {
    pub(crate) fn has(&self, id: &str) -> bool {
        self.all.iter().any(|file| file.id == id)
    }

    fn find(&self, id: &str) -> Result<&StoredFile, ApiError> {
        let found = self.all.iter().find(|file| file.id == id);
        found.ok_or_else(|| ApiError::not_found(format!("File not found: {id}")))
    }
}

/// `POST /v1/files`. Only files made by tools can be downloaded; the directive `downloadable` plays the tool.
pub(crate) fn create(call: &mut Call, workspace: &Workspace, body: &Bytes) -> Result<Reply, ApiError> {
    let content_type =
        call.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let part = multipart::file_part(content_type, body)?;
    let limits = &call.core.config.limits;
    let mut files = workspace.files();
    if files.all.len() >= limits.objects
        || files.bytes.saturating_add(part.content.len()) > limits.workspace_bytes
    {
        return Err(ApiError::full());
    }
    let file = StoredFile {
        id: call.ids.id("file_011C"),
        filename: part.filename,
        mime_type: part.mime_type,
        created_at: rfc3339(call.now_ms),
        downloadable: call.steer.shape.downloadable,
        content: part.content,
    };
    let json = file.json();
    files.bytes += file.content.len();
    files.all.push_front(file);
    Ok(Reply::json(json))
}

/// `GET /v1/files`.
pub(crate) fn list(workspace: &Workspace, query: &PageQuery) -> Result<Reply, ApiError> {
    let rows = workspace.files().all.iter().map(|file| (file.id.clone(), file.json())).collect();
    Page::of(rows, query).map(|page| Reply::json(page.json()))
}

/// `GET /v1/files/{id}`.
pub(crate) fn get(workspace: &Workspace, id: &str) -> Result<Reply, ApiError> {
    workspace.files().find(id).map(|file| Reply::json(file.json()))
}

/// `DELETE /v1/files/{id}`.
pub(crate) fn delete(workspace: &Workspace, id: &str) -> Result<Reply, ApiError> {
    let mut files = workspace.files();
    let freed = files.find(id)?.content.len();
    files.bytes = files.bytes.saturating_sub(freed);
    files.all.retain(|file| file.id != id);
    Ok(Reply::json(format!(r#"{{"id":{},"type":"file_deleted"}}"#, quoted(id))))
}

/// `GET /v1/files/{id}/content`.
pub(crate) fn content(workspace: &Workspace, id: &str) -> Result<Reply, ApiError> {
    let files = workspace.files();
    let file = files.find(id)?;
    if !file.downloadable {
        return Err(ApiError::invalid(format!("File {id} is not downloadable")));
    }
    Ok(Reply::Full(Full {
        status: StatusCode::OK,
        kind: Kind::Text,
        bytes: file.content.clone(),
        content_type: HeaderValue::from_str(&file.mime_type).ok(),
    }))
}
