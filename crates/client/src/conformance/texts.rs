use serde::Deserialize;

use super::{Headers, vectors};
use crate::{Secret, dotenv, redact::Redactor};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redaction {
    #[serde(rename = "about")]
    _about: String,
    cases: Vec<Text>,
    known: Known,
    plain: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    secret: String,
    cases: Vec<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    name: String,
    text: String,
    expect: String,
}

#[test]
fn texts_are_redacted_as_the_vectors_say() {
    let file: Redaction = vectors("redaction.json");
    for case in &file.cases {
        assert_eq!(Redactor::new().redact(&case.text), case.expect, "{}", case.name);
    }
    let knowing = Redactor::new().knowing(&Secret::new(&file.known.secret).unwrap());
    for case in &file.known.cases {
        assert_eq!(knowing.redact(&case.text), case.expect, "{}", case.name);
    }
    for plain in &file.plain {
        assert_eq!(&Redactor::new().redact(plain), plain);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dotenv {
    #[serde(rename = "about")]
    _about: String,
    cases: Vec<DotenvCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DotenvCase {
    name: String,
    text: String,
    values: Option<Headers>,
    error_line: Option<usize>,
}

#[test]
fn dotenv_files_read_as_the_vectors_say() {
    let file: Dotenv = vectors("dotenv.json");
    for case in &file.cases {
        let read = dotenv::parse(&case.text);
        let line = read.as_ref().err().map(|error| error.line);
        assert_eq!((read.ok(), line), (case.values.clone(), case.error_line), "{}", case.name);
    }
}
