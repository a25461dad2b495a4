//! What an operation's handler says about itself by its types: parameters, body, answers. The served document is made
//! of nothing else, so it cannot say something that the code does not do.

use std::collections::{BTreeMap, BTreeSet};

use axum::{Json, extract::State, http::StatusCode};
use utoipa::{
    ToSchema,
    openapi::{Ref, RefOr, Schema, path::Parameter},
};

use crate::{problem::Problem, state::ControlState};

/// A named schema of the document.
pub type Named = (String, RefOr<Schema>);

/// An answer that is not a problem.
#[derive(Clone)]
pub struct AnswerShape {
    /// What it holds.
    pub schema: RefOr<Schema>,
    /// Its media type.
    pub media: &'static str,
    /// Whether an `ETag` with the row's version comes along.
    pub tagged: bool,
}

/// What is known of one operation.
#[derive(Clone, Default)]
pub struct Shape {
    /// Query and header parameters. Those in the path are read from the path.
    pub parameters: Vec<Parameter>,
    /// Names of the query parameters; any other is refused.
    pub query: BTreeSet<String>,
    /// The JSON body.
    pub body: Option<RefOr<Schema>>,
    /// The answers that are not problems.
    pub answers: BTreeMap<u16, AnswerShape>,
    /// Statuses of problems beside those that every operation of its kind has.
    pub problems: BTreeSet<u16>,
    /// Every schema that is named above.
    pub schemas: Vec<Named>,
}

impl Shape {
    /// Names a schema and gives the reference to it.
    pub fn name<T: ToSchema>(&mut self) -> RefOr<Schema> {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        RefOr::Ref(Ref::from_schema_name(T::name()))
    }

    /// Names of the body's fields.
    #[must_use]
    pub fn fields(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        if let Some(body) = &self.body {
            self.collect_fields(body, &mut found);
        }
        found
    }

    fn collect_fields(&self, schema: &RefOr<Schema>, found: &mut BTreeSet<String>) {
        match schema {
            RefOr::Ref(to) => {
                let name = to.ref_location.rsplit('/').next().unwrap_or_default();
                let named = self.schemas.iter().find(|(known, _)| known == name);
                if let Some((_, schema @ RefOr::T(_))) = named {
                    self.collect_fields(schema, found);
                }
            }
            RefOr::T(Schema::Object(object)) => found.extend(object.properties.keys().cloned()),
            RefOr::T(Schema::AllOf(all)) => {
                all.items.iter().for_each(|item| self.collect_fields(item, found))
            }
            RefOr::T(_) => {}
        }
    }

    /// Adds an answer.
    pub fn answer<T: ToSchema>(&mut self, status: StatusCode, media: &'static str, tagged: bool) {
        let schema = self.name::<T>();
        self.answers.insert(status.as_u16(), AnswerShape { schema, media, tagged });
    }
}

/// Something that a handler takes.
pub trait Part {
    /// Says what it is.
    fn describe(shape: &mut Shape);
}

/// Something that a handler answers.
pub trait Answer {
    /// Says what it is.
    fn describe(shape: &mut Shape);
}

/// A handler whose parts are all described.
pub trait Described<Parts> {
    /// Says what it takes and answers.
    fn describe(shape: &mut Shape);
}

impl Part for State<ControlState> {
    fn describe(_shape: &mut Shape) {}
}

impl<T: ToSchema> Answer for Json<T> {
    fn describe(shape: &mut Shape) {
        shape.answer::<T>(StatusCode::OK, "application/json", false);
    }
}

impl<T: Answer> Answer for Result<T, Problem> {
    fn describe(shape: &mut Shape) {
        T::describe(shape);
    }
}

macro_rules! described {
    ($($part:ident)*) => {
        impl<F, Fut, R, $($part),*> Described<($($part,)*)> for F
        where
            F: Fn($($part),*) -> Fut,
            Fut: Future<Output = R>,
            R: Answer,
            $($part: Part,)*
        {
            fn describe(shape: &mut Shape) {
                $($part::describe(shape);)*
                R::describe(shape);
            }
        }
    };
}

described!();
described!(A);
described!(A B);
described!(A B C);
described!(A B C D);
described!(A B C D E);
described!(A B C D E G);
described!(A B C D E G H);
