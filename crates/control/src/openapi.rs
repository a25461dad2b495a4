//! The document that describes the operations (OpenAPI 3.1), made of the list in [`crate::api`].

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use utoipa::{
    ToSchema,
    openapi::{
        ComponentsBuilder, ContentBuilder, HeaderBuilder, Info, License, ObjectBuilder, OpenApi,
        OpenApiBuilder, PathItem, Paths, Ref, RefOr, Required, ResponseBuilder, Schema, SecurityRequirement,
        Type,
        path::{HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::{RequestBody, RequestBodyBuilder},
        response::Response,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
        tag::TagBuilder,
    },
};

use crate::{
    api,
    authorize::PendingView,
    describe::AnswerShape,
    extract, judge, once,
    operation::{Access, Operation},
    problem::Problem,
};

/// Where the operations are.
pub const PREFIX: &str = "/admin/v1";
const SCHEME: &str = "operator";
const PROBLEM: &str = "application/problem+json";

/// The whole document.
#[must_use]
pub fn document() -> OpenApi {
    let mut paths = Paths::new();
    let mut schemas: BTreeMap<String, RefOr<Schema>> = BTreeMap::new();
    let mut tags: Vec<String> = Vec::new();
    for operation in api::operations() {
        let tag = tag(&operation);
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        schemas.extend(operation.shape.schemas.iter().cloned());
        let item = PathItem::new(method(&operation.method), described(&operation));
        let path = format!("{PREFIX}{}", operation.path);
        match paths.paths.get_mut(&path) {
            Some(known) => known.merge_operations(item),
            None => {
                paths.paths.insert(path, item);
            }
        }
    }
    schemas.insert(Problem::name().into_owned(), Problem::schema_of());
    schemas.insert(PendingView::name().into_owned(), <PendingView as utoipa::PartialSchema>::schema());
    schemas.extend(referred::<PendingView>());
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "A session's or an operator's token. On the socket in the data folder none is needed until the first operator is enrolled.",
    ));
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme(SCHEME, SecurityScheme::Http(bearer.build()));
    let mut info = Info::new("Claviger", env!("CARGO_PKG_VERSION"));
    info.description = Some("Issues, guards, rotates and revokes API keys for the Claude API.".to_owned());
    info.license = Some(License::new("MIT OR Apache-2.0"));
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components.build()))
        .tags(Some(tags.into_iter().map(|name| TagBuilder::new().name(name).build())))
        .build()
}

/// The document as text, indented, with a line feed at its end.
#[must_use]
pub fn text() -> String {
    // A document of strings, maps and lists always has a text.
    document().to_pretty_json().unwrap_or_default() + "\n"
}

/// The schemas that a schema names.
fn referred<T: ToSchema>() -> Vec<(String, RefOr<Schema>)> {
    let mut found = Vec::new();
    T::schemas(&mut found);
    found
}

fn method(method: &Method) -> HttpMethod {
    match method.as_str() {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

/// The first word of the path.
fn tag(operation: &Operation) -> String {
    operation.path.split('/').nth(1).unwrap_or_default().to_owned()
}

fn described(operation: &Operation) -> OperationBuilder {
    let mut built = OperationBuilder::new()
        .operation_id(Some(operation.id()))
        .summary(Some(operation.summary))
        .tag(tag(operation))
        .security(security(operation.access));
    for name in operation.path_names() {
        built = built.parameter(path_parameter(name));
    }
    for parameter in &operation.shape.parameters {
        built = built.parameter(parameter.clone());
    }
    if takes_idempotency_key(operation) {
        built = built.parameter(idempotency_key());
    }
    if let Access::Operator(verb) = operation.access {
        if judge::may_need_code(verb) {
            built = built.parameter(code_parameter());
        }
        if judge::may_wait(verb) {
            built = built.response("202", pending());
        }
    }
    if let Some(schema) = &operation.shape.body {
        built = built.request_body(Some(body(schema.clone())));
    }
    for (status, answer) in &operation.shape.answers {
        built = built.response(status.to_string(), answered(*status, answer));
    }
    for status in problems(operation) {
        built = built.response(status.to_string(), problem(status));
    }
    built
}

fn security(access: Access) -> SecurityRequirement {
    match access {
        Access::Operator(_) => SecurityRequirement::new(SCHEME, Vec::<String>::new()),
        Access::Anyone => SecurityRequirement::default(),
    }
}

fn path_parameter(name: &str) -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).build();
    let parameter =
        ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path).required(Required::True);
    parameter.schema(Some(text)).build()
}

fn takes_idempotency_key(operation: &Operation) -> bool {
    operation.method != Method::GET && matches!(operation.access, Access::Operator(_))
}

fn code_parameter() -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]{6}$")).build();
    let said = "A fresh code of the second factor, when the request needs one and no step-up for it was made: it is used \
                up by this request.";
    let parameter = ParameterBuilder::new().name(extract::TOTP_HEADER).parameter_in(ParameterIn::Header);
    parameter.required(Required::False).description(Some(said)).schema(Some(text)).build()
}

/// The answer to what needs a second person.
fn pending() -> Response {
    let schema = RefOr::<Schema>::Ref(Ref::from_schema_name(PendingView::name()));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let said = "Frozen until a second person has decided.";
    ResponseBuilder::new().description(said).content("application/json", content).build()
}

fn idempotency_key() -> Parameter {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(255))
        .pattern(Some("^[!-~]+$"))
        .build();
    let said = "A request with the same key and content is carried out once within 24 hours. A repetition gets the same \
                answer, or 409 with `made` when the answer held a secret.";
    let parameter = ParameterBuilder::new().name(once::HEADER).parameter_in(ParameterIn::Header);
    parameter.required(Required::False).description(Some(said)).schema(Some(text)).build()
}

fn body(schema: RefOr<Schema>) -> RequestBody {
    let content = ContentBuilder::new().schema(Some(schema)).build();
    RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True)).build()
}

fn answered(status: u16, answer: &AnswerShape) -> Response {
    let content = ContentBuilder::new().schema(Some(answer.schema.clone())).build();
    let said = if status == 201 { "Made." } else { "Done." };
    let built = ResponseBuilder::new().description(said).content(answer.media, content);
    if !answer.tagged {
        return built.build();
    }
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let tag = HeaderBuilder::new().schema(Some(text)).description(Some("The row's version, for `If-Match`."));
    built.header("ETag", tag.build()).build()
}

/// Which problems an operation can end with, by what it takes.
fn problems(operation: &Operation) -> Vec<u16> {
    let mut found = operation.shape.problems.clone();
    found.extend([400, 413, 500, 503]);
    if matches!(operation.access, Access::Operator(_)) {
        found.extend([401, 403, 429]);
    }
    if operation.path.contains('{') || operation.shape.body.is_some() || !operation.shape.query.is_empty() {
        found.insert(404);
    }
    if operation.method != Method::GET {
        found.extend([408, 409]);
    }
    if takes_idempotency_key(operation) {
        found.insert(422);
    }
    if operation.shape.body.is_some() {
        found.insert(415);
    }
    found.into_iter().collect()
}

fn problem(status: u16) -> Response {
    let said = match status {
        400 => "A parameter, a header or the body cannot be accepted; `field` names it.",
        401 => "Nobody known asks, or a second factor is needed.",
        403 => "The asker may not do this.",
        404 => "There is no such thing, or none that the asker may see.",
        408 => "The body did not come in time.",
        409 => {
            "The thing's state does not allow this, somebody else changed it meanwhile, or a name is taken."
        }
        412 => "The row does not have the version of `If-Match` any more.",
        413 => "The body is too large.",
        415 => "The body is not JSON.",
        422 => "The `Idempotency-Key` was used for another request.",
        429 => "Too often.",
        500 => "The store holds something that cannot be read.",
        503 => "A part that is needed does not answer now; try later.",
        other => StatusCode::from_u16(other).ok().and_then(|s| s.canonical_reason()).unwrap_or("A problem."),
    };
    let schema = Ref::from_schema_name(Problem::name());
    let content = ContentBuilder::new().schema(Some(RefOr::<Schema>::Ref(schema))).build();
    ResponseBuilder::new().description(said).content(PROBLEM, content).build()
}

impl Problem {
    fn schema_of() -> RefOr<Schema> {
        <Self as utoipa::PartialSchema>::schema()
    }
}
