//! Tables of comma-separated values (RFC 4180): quoted fields, doubled quotes, either end of line.

/// A table that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CsvError {
    /// A quoted field that does not end.
    #[error("line {0}: a quoted field does not end")]
    Unclosed(usize),
    /// Something behind a closing quote.
    #[error("line {0}: expected a comma after a closing quote")]
    AfterQuote(usize),
}

/// A row, and the line on which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// From 1.
    pub line: usize,
    /// Its fields.
    pub fields: Vec<String>,
}

/// Reads all rows. Empty lines are passed over.
///
/// # Errors
/// [`CsvError`] names the line.
pub fn read(text: &str) -> Result<Vec<Row>, CsvError> {
    let mut rows = Vec::new();
    let mut line = 1;
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while !rest.is_empty() {
        let begin = line;
        let mut fields = Vec::new();
        let ended = loop {
            let (field, after) = if let Some(quoted) = rest.strip_prefix('"') {
                quoted_field(quoted, &mut line)?
            } else {
                let end = rest.find([',', '\n']).unwrap_or(rest.len());
                (rest[..end].trim_end_matches('\r').trim().to_owned(), &rest[end..])
            };
            fields.push(field);
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None => break after,
            }
        };
        let ended = ended.strip_prefix('\r').unwrap_or(ended);
        rest = match ended.strip_prefix('\n') {
            Some(next) => next,
            None if ended.is_empty() => ended,
            None => return Err(CsvError::AfterQuote(line)),
        };
        line += 1;
        if fields.iter().any(|field| !field.is_empty()) {
            rows.push(Row { line: begin, fields });
        }
    }
    Ok(rows)
}

/// What stands between quotes, and what follows the closing one.
fn quoted_field<'a>(text: &'a str, line: &mut usize) -> Result<(String, &'a str), CsvError> {
    let (mut field, mut rest, begin) = (String::new(), text, *line);
    loop {
        let end = rest.find('"').ok_or(CsvError::Unclosed(begin))?;
        field.push_str(&rest[..end]);
        *line += rest[..end].matches('\n').count();
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Ok((field, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<Vec<String>> {
        read(text).unwrap().into_iter().map(|row| row.fields).collect()
    }

    #[test]
    fn quotes_commas_and_ends_of_lines_are_read() {
        assert_eq!(fields("a,b\r\n1, 2 \n\n\"x,\"\"y\"\"\",\n"), [["a", "b"], ["1", "2"], ["x,\"y\"", ""]]);
        assert_eq!(fields("\u{feff}a\n\"b\nc\""), [["a"], ["b\nc"]]);
        assert_eq!(fields(""), Vec::<Vec<String>>::new());
    }

    #[test]
    fn what_cannot_be_read_names_its_line() {
        assert_eq!(read("a\n\"b\nc"), Err(CsvError::Unclosed(2)));
        assert_eq!(read("a\n\"b\"c\n"), Err(CsvError::AfterQuote(2)));
    }

    #[test]
    fn rows_know_their_lines() {
        let rows = read("a\n\n\"b\nc\"\nd\n").unwrap();
        assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 3, 5]);
    }
}
