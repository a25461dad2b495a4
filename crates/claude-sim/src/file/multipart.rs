//! Just enough of `multipart/form-data` (RFC 7578) to find the field `file`.

use bytes::Bytes;
use memchr::memmem;

use crate::error::ApiError;

/// The uploaded file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilePart {
    pub(super) filename: String,
    pub(super) mime_type: String,
    pub(super) content: Bytes,
}

/// The part named `file` of a form.
///
/// # Errors
/// 400 when the body is no form, or has no such part.
pub(super) fn file_part(content_type: &str, body: &Bytes) -> Result<FilePart, ApiError> {
    let boundary = content_type
        .strip_prefix("multipart/form-data")
        .and_then(|rest| parameter(rest, "boundary"))
        .ok_or_else(|| ApiError::invalid("Content-Type: multipart/form-data with a boundary is required"))?;
    let missing = || ApiError::invalid("file: Field required");
    let first = format!("--{boundary}");
    let border = format!("\r\n--{boundary}");
    let mut at = memmem::find(body, first.as_bytes()).ok_or_else(missing)? + first.len();
    while body.get(at..at + 2) == Some(b"\r\n") {
        let head_end = at + memmem::find(&body[at..], b"\r\n\r\n").ok_or_else(missing)?;
        let start = head_end + 4;
        let end = start + memmem::find(&body[start..], border.as_bytes()).ok_or_else(missing)?;
        let head = String::from_utf8_lossy(&body[at..head_end]);
        if let Some(part) = read_head(&head, || body.slice(start..end)) {
            return Ok(part);
        }
        at = end + border.len();
    }
    Err(missing())
}

fn read_head(head: &str, content: impl FnOnce() -> Bytes) -> Option<FilePart> {
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let disposition = header("content-disposition")?;
    if parameter(disposition, "name")? != "file" {
        return None;
    }
    Some(FilePart {
        filename: parameter(disposition, "filename").unwrap_or_else(|| "upload".to_owned()),
        mime_type: header("content-type").unwrap_or("application/octet-stream").to_owned(),
        content: content(),
    })
}

/// The value of `; name=value` or `; name="value"`.
fn parameter(text: &str, name: &str) -> Option<String> {
    text.split(';').find_map(|part| {
        let (found, value) = part.split_once('=')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_file_is_found_behind_other_fields_byte_for_byte() {
        let body = Bytes::from_static(
            b"--B\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n--B\r\nContent-Disposition: form-data; \
              name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nline\r\n\r\nmore\r\n\r\n--B--\r\n",
        );
        let part = file_part("multipart/form-data; boundary=B", &body).expect("a part");
        assert_eq!((part.filename.as_str(), part.mime_type.as_str()), ("a.txt", "text/plain"));
        assert_eq!(part.content.as_ref(), b"line\r\n\r\nmore\r\n");
    }

    #[test]
    fn a_form_without_the_field_is_refused() {
        let body = Bytes::from_static(b"--B\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n--B--");
        assert!(file_part("multipart/form-data; boundary=B", &body).is_err());
        assert!(file_part("application/json", &body).is_err());
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut form = b"--B\r\n".to_vec();
            form.extend(body);
            let _ = file_part("multipart/form-data; boundary=B", &form.into());
        }
    }
}
