//! What an operation reads from its request. Whatever cannot be read is answered as a problem that names the field.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, Required, SchemaFormat, Type,
        path::{ParameterBuilder, ParameterIn},
    },
};

use crate::{
    describe::{Part, Shape},
    problem::Problem,
    state::ControlState,
};

/// A JSON body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<ControlState> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ControlState) -> Result<Self, Problem> {
        let kind =
            request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind != "application/json" {
            let why = "expected a body with content-type: application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", why));
        }
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|r| Problem::new(r.status(), "unreadable_body", r.body_text()))?;
        read_json(&bytes).map(Self)
    }
}

/// The field that a complaint of serde's names without its place: one that is missing, or there twice.
fn named(why: &str) -> Option<&str> {
    let rest = why.strip_prefix("missing field `").or_else(|| why.strip_prefix("duplicate field `"))?;
    rest.split('`').next()
}

/// A query parameter that cannot be read: `Failed to deserialize query string: limit: …`.
fn unreadable_query(text: &str) -> Problem {
    let said = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text);
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match (said.split_once(": "), named(said)) {
        (_, Some(field)) => Problem::invalid(field, said),
        (Some((field, why)), None) if is_name(field) => Problem::invalid(field, why),
        (Some(_) | None, None) => Problem::new(StatusCode::BAD_REQUEST, "invalid", said),
    }
}

/// A value from JSON; the problem names the field.
fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let unreadable = |why: String| Problem::new(StatusCode::BAD_REQUEST, "unreadable_body", why);
    // A list would be read as the fields in their order.
    if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(unreadable("expected a JSON object".to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = Some(error.path().to_string()).filter(|path| path != ".");
        let inner = error.into_inner();
        let why = inner.to_string();
        let field = match (path, named(&why)) {
            (Some(path), Some(name)) if path != name && !path.ends_with(&format!(".{name}")) => {
                Some(format!("{path}.{name}"))
            }
            (Some(path), _) => Some(path),
            (None, name) => name.map(str::to_owned),
        };
        match field {
            Some(field) if inner.is_data() => Problem::invalid(&field, why),
            Some(_) | None => unreadable(why),
        }
    })?;
    reader.end().map_err(|e| unreadable(e.to_string()))?;
    Ok(value)
}

impl<T: ToSchema> Part for Body<T> {
    fn describe(shape: &mut Shape) {
        let schema = shape.name::<T>();
        shape.body = Some(schema);
    }
}

/// Query parameters. Those that nobody asked for are refused before.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<ControlState> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &ControlState) -> Result<Self, Problem> {
        let read = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        let read = read.map_err(|r| unreadable_query(&r.body_text()))?;
        Ok(Self(read.0))
    }
}

impl<T: IntoParams> Part for Query<T> {
    fn describe(shape: &mut Shape) {
        for parameter in T::into_params(|| Some(ParameterIn::Query)) {
            shape.query.insert(parameter.name.clone());
            shape.parameters.push(parameter);
        }
    }
}

/// What varies in the path: one value, or a tuple of them.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<ControlState> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, Problem> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        let read = read.map_err(|r| Problem::new(StatusCode::BAD_REQUEST, "invalid", r.body_text()))?;
        Ok(Self(read.0))
    }
}

impl<T> Part for Path<T> {
    fn describe(_shape: &mut Shape) {}
}

/// `If-Match: <version>`, with or without quotes; absent: whatever version.
pub struct IfMatch(pub Option<i64>);

impl FromRequestParts<ControlState> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &ControlState) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH).filter(|v| *v != "*") else {
            return Ok(Self(None));
        };
        let version = value.to_str().ok().and_then(|v| v.trim().trim_matches('"').parse().ok());
        let bad = || Problem::invalid("If-Match", "expected a row's version, such as \"3\"");
        version.map(|v| Self(Some(v))).ok_or_else(bad)
    }
}

impl Part for IfMatch {
    fn describe(shape: &mut Shape) {
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^\"[0-9]+\"$")).build();
        let parameter = ParameterBuilder::new()
            .name("If-Match")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("Only if the row still has this version (its `ETag`)."))
            .schema(Some(text));
        shape.parameters.push(parameter.build());
        shape.problems.insert(StatusCode::PRECONDITION_FAILED.as_u16());
    }
}

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paging {
    /// At most so many rows: 1 to 1,000.
    pub limit: u32,
    /// Only after this row: `next` of the page before.
    pub after: Option<String>,
}

/// Rows of a page when nothing is said.
pub const DEFAULT_PAGE: u32 = 100;
/// The most rows of a page.
pub const MAX_PAGE: u32 = 1_000;

#[derive(serde::Deserialize)]
struct PagingParams {
    limit: Option<u32>,
    after: Option<String>,
}

impl FromRequestParts<ControlState> for Paging {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, Problem> {
        let Query(params) = Query::<PagingParams>::from_request_parts(parts, state).await?;
        let limit = params.limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Problem::invalid("limit", format!("expected 1 to {MAX_PAGE}")));
        }
        Ok(Self { limit, after: params.after })
    }
}

impl Part for Paging {
    fn describe(shape: &mut Shape) {
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
            .minimum(Some(1))
            .maximum(Some(MAX_PAGE))
            .default(Some(DEFAULT_PAGE.into()))
            .build();
        let after = ObjectBuilder::new().schema_type(Type::String).build();
        let parameters = [
            ("limit", limit, "At most so many rows."),
            ("after", after, "Only after this row: `next` of the page before."),
        ];
        for (name, schema, description) in parameters {
            shape.query.insert(name.to_owned());
            let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query);
            let parameter = parameter.required(Required::False).description(Some(description));
            shape.parameters.push(parameter.schema(Some(schema)).build());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wish {
        #[expect(dead_code, reason = "only its reading is tested")]
        limits: Limits,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limits {
        #[expect(dead_code, reason = "only its reading is tested")]
        rpm: u32,
    }

    fn refused(text: &str) -> (u16, Option<String>) {
        let problem = read_json::<Wish>(text.as_bytes()).unwrap_err();
        (problem.status, problem.field)
    }

    #[test]
    fn a_body_that_cannot_be_read_names_the_field() {
        assert!(read_json::<Wish>(br#"{"limits":{"rpm":1}}"#).is_ok());
        assert_eq!(refused(r#"{"limits":{"rpm":"x"}}"#), (400, Some("limits.rpm".into())));
        assert_eq!(refused(r#"{"limits":{"rpm":1,"x":2}}"#), (400, Some("limits.x".into())));
        assert_eq!(refused(r#"{"limits":{"rpm":1},"color":2}"#), (400, Some("color".into())));
        assert_eq!(refused("{}"), (400, Some("limits".into())));
        assert_eq!(refused(r#"{"limits":{}}"#), (400, Some("limits.rpm".into())));
        assert_eq!(refused(r#"{"limits":{"rpm":1},"limits":{"rpm":1}}"#), (400, Some("limits".into())));
        assert_eq!(refused(r#"[{"rpm":1}]"#), (400, None), "a list is no object");
        assert_eq!(refused("null"), (400, None));
        assert_eq!(refused(r#"{"limits""#), (400, None));
        assert_eq!(refused(r#"{"limits":{"rpm":1}} x"#), (400, None));
    }

    #[test]
    fn a_query_that_cannot_be_read_names_the_parameter() {
        for query in ["limit=-1", "limit=x", "limit=1&limit=2"] {
            let uri = format!("/keys?{query}").parse().unwrap();
            let refused = axum::extract::Query::<PagingParams>::try_from_uri(&uri).err().unwrap();
            let problem = unreadable_query(&refused.body_text());
            assert_eq!((problem.status, problem.field.as_deref()), (400, Some("limit")), "{query}");
            assert!(!problem.detail.contains("deserialize"), "{}", problem.detail);
        }
    }
}
