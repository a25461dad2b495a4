//! `/v1/organizations/api_keys`: every key that called or is in the ring.

use super::books::KnownKey;
use crate::call::Reply;
use crate::config::KeyRing;
use crate::error::{ApiError, quoted};
use crate::headers::rfc3339;
use crate::page::{Page, PageQuery};
use crate::request::NEW_VERSION;
use crate::simulator::Core;

/// `GET /v1/organizations/api_keys`
pub(super) fn list(core: &Core, query: &PageQuery, version: &str) -> Result<Reply, ApiError> {
    let is_wanted = |key: &KnownKey| {
        query.get("status").is_none_or(|status| status == "active")
            && query.get("workspace_id").is_none_or(|id| id == key.workspace_id)
            && query.get("created_by_user_id").is_none()
    };
    let books = known(core);
    let rows = books.keys().into_iter().filter(|key| is_wanted(key));
    let rows = rows.map(|key| (key.id.clone(), json(key, version))).collect();
    Page::of(rows, query).map(|page| Reply::json(page.id_json()))
}

/// `GET /v1/organizations/api_keys/{id}`
pub(super) fn get(core: &Core, id: &str, version: &str) -> Result<Reply, ApiError> {
    let books = known(core);
    let found = books.keys().into_iter().find(|key| key.id == id).map(|key| json(key, version));
    found.map(Reply::json).ok_or_else(|| ApiError::not_found(format!("API key not found: {id}")))
}

/// The books, with the ring's keys in them.
fn known(core: &Core) -> std::sync::MutexGuard<'_, super::books::Books> {
    let mut books = core.books();
    if let KeyRing::Only(keys) = &core.config.keys {
        for (key, workspace) in keys.iter().filter(|(key, _)| !super::is_admin_key(key)) {
            books.meet(key, workspace, 0);
        }
    }
    books
}

fn json(key: &KnownKey, version: &str) -> String {
    let workspace = quoted(&key.workspace_id);
    let place = if version == NEW_VERSION {
        format!(r#""scope":{{"type":"workspace","workspace_id":{workspace}}}"#)
    } else {
        format!(r#""workspace_id":{workspace}"#)
    };
    format!(
        r#"{{"id":{},"type":"api_key","name":{},"status":"active","partial_key_hint":{},"created_at":{},"created_by":null,"expires_at":null,"principal":null,{place}}}"#,
        quoted(&key.id),
        quoted(&key.name),
        quoted(&key.hint),
        quoted(&rfc3339(key.created_ms)),
    )
}
