use super::*;
use crate::json::tests::parts;
use proptest::prelude::*;

fn scan<'p>(chunks: impl IntoIterator<Item = &'p [u8]>) -> Result<(Vec<BatchItem>, u32), BatchError> {
    let mut items = Vec::new();
    let mut scanner = BatchScanner::new();
    for chunk in chunks {
        scanner.feed(chunk, &mut |item| items.push(item))?;
    }
    let count = scanner.finish()?;
    Ok((items, count))
}

fn fault(body: &str) -> String {
    scan([body.as_bytes()]).unwrap_err().to_string()
}

const BODY: &str = r#"{"requests":[
  {"custom_id":"a-1","params":{"messages":[{"content":[{"file_id":"file_1"}]}],"model":"claude-haiku-4-5","max_tokens":10}},
  {"params":{"model":"opus\u002d5","stream":true,"container":{"id":"c1","skills":[{"skill_id":"s1"}]},"speed":"fast","inference_geo":"us"},"custom_id":"b\u005f2","later":{"params":{"model":7}}}
 ],"later":[{"custom_id":7}]}"#;

#[test]
fn every_request_is_handed_on_with_its_deciding_fields() {
    let (items, count) = scan([BODY.as_bytes()]).unwrap();
    assert_eq!((items.len(), count), (2, 2));
    assert_eq!(
        (&*items[0].custom_id, &*items[0].model, items[0].max_tokens),
        ("a-1", "claude-haiku-4-5", Some(10))
    );
    assert_eq!(items[0].file_ids, ["file_1".into()]);
    assert_eq!((&*items[1].custom_id, &*items[1].model, items[1].stream), ("b_2", "opus-5", true));
    assert_eq!(items[1].container_ids, ["c1".into()]);
    assert_eq!(items[1].skill_ids, ["s1".into()]);
    assert_eq!((items[1].speed.as_deref(), items[1].inference_geo.as_deref()), (Some("fast"), Some("us")));
    let span = items[1].model_span.start as usize..items[1].model_span.end as usize;
    assert_eq!(&BODY[span], r"opus\u002d5");
    let params =
        r#"{"messages":[{"content":[{"file_id":"file_1"}]}],"model":"claude-haiku-4-5","max_tokens":10}"#;
    assert_eq!(items[0].params_len, params.len() as u64);
}

#[test]
fn every_split_reads_alike() {
    let whole = scan([BODY.as_bytes()]).unwrap();
    for cut in 0..=BODY.len() {
        let (left, right) = BODY.as_bytes().split_at(cut);
        assert_eq!(scan([left, right]).unwrap(), whole, "cut at {cut}");
    }
    assert_eq!(scan(BODY.as_bytes().chunks(1)).unwrap(), whole);
}

#[test]
fn faults_name_the_request_and_the_field() {
    let one = |item: &str| {
        format!("{{\"requests\":[{{\"custom_id\":\"ok\",\"params\":{{\"model\":\"m\"}}}},{item}]}}")
    };
    let cases = [
        ("{}".to_owned(), "requests: Field required"),
        ("[]".to_owned(), "The request body must be a JSON object"),
        (r#"{"requests":{}}"#.to_owned(), "requests: expected an array"),
        (r#"{"requests":null}"#.to_owned(), "requests: expected an array"),
        (r#"{"requests":[],"requests":[]}"#.to_owned(), "requests: given more than once"),
        (
            r#"{"requests":["#.to_owned(),
            "The request body is not valid JSON: it ends at byte 13, inside a value",
        ),
        (one("7"), "requests.1.request: expected an object"),
        (one("{}"), "requests.1.custom_id: Field required"),
        (one(r#"{"custom_id":"b"}"#), "requests.1.params: Field required"),
        (one(r#"{"custom_id":7}"#), "requests.1.custom_id: expected a string"),
        (one(r#"{"custom_id":""}"#), "requests.1.custom_id: must match ^[a-zA-Z0-9_-]{1,64}$"),
        (one(r#"{"custom_id":"a b"}"#), "requests.1.custom_id: must match ^[a-zA-Z0-9_-]{1,64}$"),
        (one(r#"{"custom_id":"é"}"#), "requests.1.custom_id: must match ^[a-zA-Z0-9_-]{1,64}$"),
        (one(r#"{"custom_id":"b","custom_id":"c"}"#), "requests.1.custom_id: given more than once"),
        (one(r#"{"params":[]}"#), "requests.1.params: expected an object"),
        (one(r#"{"params":{},"params":{}}"#), "requests.1.params: given more than once"),
        (one(r#"{"custom_id":"b","params":{}}"#), "requests.1.params.model: Field required"),
        (
            one(r#"{"custom_id":"b","params":{"model":"m","model":"n"}}"#),
            "requests.1.params.model: given more than once",
        ),
        (
            one(r#"{"custom_id":"b","params":{"stream":1}}"#),
            "requests.1.params.stream: expected true or false",
        ),
        (one(r#"{"custom_id":"ok","params":{"model":"m"}}"#), "requests.1.custom_id: given more than once"),
        (
            one(r#"{"custom_id":"\u006fk","params":{"model":"m"}}"#),
            "requests.1.custom_id: given more than once",
        ),
    ];
    for (body, message) in cases {
        assert_eq!(fault(&body), message, "{body}");
    }
    let long = one(&format!(r#"{{"custom_id":"{}","params":{{"model":"m"}}}}"#, "x".repeat(65)));
    assert!(fault(&long).contains("must match"));
}

#[test]
fn more_requests_than_the_api_takes_are_refused() {
    let mut scanner = BatchScanner::new();
    scanner.feed(b"{\"requests\":[", &mut |_| {}).unwrap();
    for n in 0..MAX_REQUESTS {
        let comma = if n == 0 { "" } else { "," };
        let item = format!("{comma}{{\"custom_id\":\"r{n}\",\"params\":{{\"model\":\"m\"}}}}");
        scanner.feed(item.as_bytes(), &mut |_| {}).unwrap();
    }
    assert_eq!(scanner.feed(b",{", &mut |_| {}), Err(BatchError::TooManyRequests));
}

proptest! {
    #[test]
    fn any_bytes_read_alike_however_they_are_cut(bytes in crate::json::tests::hostile_json(), lengths in prop::collection::vec(1usize..9, 1..6)) {
        let body = [b"{\"requests\":[{\"custom_id\":\"a\",\"params\":{\"model\":\"m\",\"x\":", &bytes[..], b"}}]}"].concat();
        let whole = scan([&body[..]]);
        let split = scan(parts(&body, &lengths));
        prop_assert_eq!(whole.is_ok(), split.is_ok());
        if let (Ok(whole), Ok(split)) = (whole, split) {
            prop_assert_eq!(whole, split);
        }
    }
}

#[test]
fn each_item_tells_what_it_holds_beside_text() {
    let image = serde_json::json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
    let item = |id: &str, content: serde_json::Value| serde_json::json!({"custom_id": id, "params": {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": content}]}});
    let body =
        serde_json::json!({"requests": [item("a", serde_json::json!([image])), item("b", "text".into())]})
            .to_string();
    for step in [1, 7, body.len()] {
        let mut found = Vec::new();
        let mut scanner = BatchScanner::new();
        for chunk in body.as_bytes().chunks(step) {
            scanner
                .feed(chunk, &mut |item| found.push((item.exposure.images, item.exposure.image_bytes)))
                .unwrap();
        }
        scanner.finish().unwrap();
        assert_eq!(found, [(1, 4), (0, 0)]);
    }
}
