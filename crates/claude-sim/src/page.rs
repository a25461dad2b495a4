//! Lists: the query's paging words and the envelope of a page.

use std::borrow::Cow;

use crate::error::{ApiError, quoted};

/// The query string, decoded.
#[derive(Debug, Clone, Default)]
pub(crate) struct PageQuery(Vec<(String, String)>);

impl PageQuery {
    pub(crate) fn of(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or("").split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(20) };
        match text.parse() {
            Ok(limit @ 1..=1000) => Ok(limit),
            Ok(_) | Err(_) => Err(ApiError::invalid("limit: Input should be between 1 and 1000")),
        }
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, hex.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// One page of `(id, JSON)` rows.
#[derive(Debug)]
pub(crate) struct Page {
    rows: Vec<(String, String)>,
    has_more: bool,
}

impl Page {
    /// Cuts the page that `query` asks for out of all rows, newest first.
    ///
    /// # Errors
    /// 400 when `limit` is out of range or both cursors are given.
    pub(crate) fn of(mut rows: Vec<(String, String)>, query: &PageQuery) -> Result<Self, ApiError> {
        let limit = query.limit()?;
        let after = query.get("after_id").or_else(|| query.get("page"));
        let (start, end) = match (query.get("before_id"), after) {
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid("before_id and after_id cannot be used together"));
            }
            (Some(before), None) => {
                let end = rows.iter().position(|(id, _)| id == before).unwrap_or(rows.len());
                (end.saturating_sub(limit), end)
            }
            (None, after) => {
                let start = match after {
                    Some(after) => {
                        rows.iter().position(|(id, _)| id == after).map_or(rows.len(), |at| at + 1)
                    }
                    None => 0,
                };
                (start, rows.len().min(start.saturating_add(limit)))
            }
        };
        let backwards = query.get("before_id").is_some();
        let has_more = if backwards { start > 0 } else { end < rows.len() };
        rows.truncate(end);
        rows.drain(..start);
        Ok(Self { rows, has_more })
    }

    /// `data, has_more, first_id, last_id`: lists that page by ids alone.
    pub(crate) fn id_json(&self) -> String {
        let id = |row: Option<&(String, String)>| row.map_or_else(|| "null".to_owned(), |(id, _)| quoted(id));
        let data: Vec<&str> = self.rows.iter().map(|(_, json)| json.as_str()).collect();
        format!(
            r#"{{"data":[{}],"has_more":{},"first_id":{},"last_id":{}}}"#,
            data.join(","),
            self.has_more,
            id(self.rows.first()),
            id(self.rows.last())
        )
    }

    /// `data, has_more, first_id, last_id, next_page`.
    pub(crate) fn json(&self) -> String {
        let id =
            |row: Option<&(String, String)>| row.map_or(Cow::Borrowed("null"), |(id, _)| quoted(id).into());
        let first = id(self.rows.first());
        let last = id(self.rows.last());
        let next = if self.has_more { last.clone() } else { Cow::Borrowed("null") };
        let data: Vec<&str> = self.rows.iter().map(|(_, json)| json.as_str()).collect();
        format!(
            r#"{{"data":[{}],"has_more":{},"first_id":{first},"last_id":{last},"next_page":{next}}}"#,
            data.join(","),
            self.has_more
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> (Vec<String>, bool) {
        let rows = ["e", "d", "c", "b", "a"].map(|id| (id.to_owned(), quoted(id))).to_vec();
        let page = Page::of(rows, &PageQuery::of(Some(query))).expect("a page");
        (page.rows.into_iter().map(|(id, _)| id).collect(), page.has_more)
    }

    #[test]
    fn pages_walk_forwards_and_backwards() {
        assert_eq!(page("limit=2"), (vec!["e".into(), "d".into()], true));
        assert_eq!(page("limit=2&after_id=d"), (vec!["c".into(), "b".into()], true));
        assert_eq!(page("limit=2&after_id=b"), (vec!["a".into()], false));
        assert_eq!(page("limit=2&before_id=b"), (vec!["d".into(), "c".into()], true));
        assert_eq!(page("limit=9&before_id=d"), (vec!["e".into()], false));
    }

    #[test]
    fn query_values_are_decoded() {
        let query = PageQuery::of(Some("lifecycle%5B%5D=active&lifecycle[]=retired&x=a+b%zz"));
        assert_eq!(query.all("lifecycle[]"), ["active", "retired"]);
        assert_eq!(query.get("x"), Some("a b%zz"));
        assert!(Page::of(Vec::new(), &PageQuery::of(Some("limit=0"))).is_err());
    }
}
