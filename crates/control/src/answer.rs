//! What operations answer with beside plain JSON.

use axum::{
    Json,
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    describe::{Answer, Shape},
    once::HoldsSecret,
};

/// Something whose row has a version.
pub trait Versioned {
    /// The row's version, for `ETag` and `If-Match`.
    fn version(&self) -> i64;
    /// Whether it shows a secret this time: it is kept nowhere on the way then.
    fn holds_secret(&self) -> bool {
        false
    }
}

fn tagged<T: Versioned + Serialize>(status: StatusCode, view: T) -> Response {
    let tag = HeaderValue::try_from(format!("\"{}\"", view.version()));
    let secret = view.holds_secret();
    let mut response = (status, Json(view)).into_response();
    if secret {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.extensions_mut().insert(HoldsSecret);
    }
    // Digits between quotes are always a header's value.
    if let Ok(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// One row: 200, with its version as `ETag`.
pub struct One<T>(pub T);

impl<T: Versioned + Serialize> IntoResponse for One<T> {
    fn into_response(self) -> Response {
        tagged(StatusCode::OK, self.0)
    }
}

impl<T: ToSchema> Answer for One<T> {
    fn describe(shape: &mut Shape) {
        shape.answer::<T>(StatusCode::OK, "application/json", true);
    }
}

/// A row that was made: 201, with its version as `ETag`.
pub struct Made<T>(pub T);

impl<T: Versioned + Serialize> IntoResponse for Made<T> {
    fn into_response(self) -> Response {
        tagged(StatusCode::CREATED, self.0)
    }
}

impl<T: ToSchema> Answer for Made<T> {
    fn describe(shape: &mut Shape) {
        shape.answer::<T>(StatusCode::CREATED, "application/json", true);
    }
}

/// Something that was made and has no version: 201.
pub struct Created<T>(pub T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

impl<T: ToSchema> Answer for Created<T> {
    fn describe(shape: &mut Shape) {
        shape.answer::<T>(StatusCode::CREATED, "application/json", false);
    }
}

/// Something that was made and is a secret, or holds one: 201, kept nowhere on the way.
pub struct Secret<T>(pub T);

impl<T: Serialize> IntoResponse for Secret<T> {
    fn into_response(self) -> Response {
        let kind = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        let mut response = (StatusCode::CREATED, kind, Json(self.0)).into_response();
        response.extensions_mut().insert(HoldsSecret);
        response
    }
}

impl<T: ToSchema> Answer for Secret<T> {
    fn describe(shape: &mut Shape) {
        shape.answer::<T>(StatusCode::CREATED, "application/json", false);
    }
}

/// Something that may hold a secret: 200, kept nowhere on the way.
pub struct Shown<T>(pub T);

impl<T: Serialize> IntoResponse for Shown<T> {
    fn into_response(self) -> Response {
        let kind = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        let mut response = (kind, Json(self.0)).into_response();
        response.extensions_mut().insert(HoldsSecret);
        response
    }
}

impl<T: ToSchema> Answer for Shown<T> {
    fn describe(shape: &mut Shape) {
        shape.answer::<T>(StatusCode::OK, "application/json", false);
    }
}

/// Lines of JSON, as they come.
pub struct Lines(pub Body);

impl IntoResponse for Lines {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/x-ndjson")], self.0).into_response()
    }
}

impl Answer for Lines {
    fn describe(shape: &mut Shape) {
        shape.answer::<String>(StatusCode::OK, "application/x-ndjson", false);
    }
}
