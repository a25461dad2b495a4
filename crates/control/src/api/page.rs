//! Lists, a page at a time.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ArrayBuilder, ObjectBuilder, Ref, RefOr, Schema, Type, schema::SchemaType},
};

use crate::{input::Paging, problem::Problem};

/// One page of a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Whether there are more after them.
    pub has_more: bool,
    /// What to give as `after` for the next page; `null` on the last.
    pub next: Option<String>,
}

/// Each list has its own name in the document, which the derive would not give it.
impl<T: ToSchema> PartialSchema for Page<T> {
    fn schema() -> RefOr<Schema> {
        let rows = ArrayBuilder::new().items(RefOr::<Schema>::Ref(Ref::from_schema_name(T::name())));
        let flag = ObjectBuilder::new().schema_type(Type::Boolean);
        let cursor = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null]));
        let more = "Whether there are more after them.";
        let next = "What to give as `after` for the next page; `null` on the last.";
        ObjectBuilder::new()
            .description(Some("One page of a list."))
            .property("data", rows)
            .required("data")
            .property("has_more", flag.description(Some(more)))
            .required("has_more")
            .property("next", cursor.description(Some(next)))
            .required("next")
            .into()
    }
}

impl<T: ToSchema> ToSchema for Page<T> {
    fn name() -> Cow<'static, str> {
        format!("{}Page", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

impl<T> Page<T> {
    /// A list that is whole.
    #[must_use]
    pub fn whole<R: Into<T>>(rows: Vec<R>) -> Self {
        Self { data: rows.into_iter().map(Into::into).collect(), has_more: false, next: None }
    }

    /// The page of rows that were read with one more than its limit, to know whether there are more.
    #[must_use]
    pub fn of<R: Into<T>>(mut rows: Vec<R>, paging: &Paging, cursor: impl Fn(&R) -> String) -> Self {
        let limit = paging.limit as usize;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(cursor);
        Self { data: rows.into_iter().map(Into::into).collect(), has_more, next }
    }

    /// The page of a list that is short enough to be held whole.
    ///
    /// # Errors
    /// A problem with status 400 when no row has this cursor.
    pub fn cut<R: Into<T>>(
        mut rows: Vec<R>,
        paging: &Paging,
        cursor: impl Fn(&R) -> String,
    ) -> Result<Self, Problem> {
        if let Some(after) = &paging.after {
            let found = rows.iter().position(|row| cursor(row) == *after);
            let unknown = || Problem::invalid("after", "no row of this list has this cursor");
            rows.drain(..=found.ok_or_else(unknown)?);
        }
        Ok(Self::of(rows, paging, cursor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: u32, after: Option<&str>) -> Result<Page<String>, Problem> {
        let rows = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        Page::cut(rows, &Paging { limit, after: after.map(str::to_owned) }, Clone::clone)
    }

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let first = page(3, None).unwrap();
        assert_eq!(
            (first.data.join(""), first.has_more, first.next.as_deref()),
            ("abc".into(), true, Some("c"))
        );
        let last = page(3, first.next.as_deref()).unwrap();
        assert_eq!((last.data.join(""), last.has_more, last.next), ("d".into(), false, None));
        let exact = page(4, None).unwrap();
        assert!(!exact.has_more && exact.next.is_none());
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        assert_eq!(page(3, Some("z")).unwrap_err().field.as_deref(), Some("after"));
        assert!(page(3, Some("d")).unwrap().data.is_empty());
    }
}
