use super::*;

const BATCH: &str = r#"{"id":"msgbatch_01","type":"message_batch","processing_status":"ended","request_counts":{"id":"no","succeeded":1},"results_url": "https:\/\/api.anthropic.com/v1/messages/batches/msgbatch_01/results"}"#;

#[test]
fn a_batch_shows_its_id_and_where_its_results_url_stands() {
    let batch = read_resource(BATCH.as_bytes()).unwrap();
    assert_eq!(batch.id.as_deref(), Some("msgbatch_01"));
    assert_eq!(batch.kind.as_deref(), Some("message_batch"));
    assert_eq!(batch.processing_status.as_deref(), Some("ended"));
    assert_eq!(batch.span, 0..BATCH.len());
    let span = batch.results_url.unwrap();
    assert_eq!(&BATCH[span.clone()], r"https:\/\/api.anthropic.com/v1/messages/batches/msgbatch_01/results");
    let spliced = splice(BATCH.as_bytes(), &[(span.clone(), "http://gw:8787/a\"b")]);
    let expected = format!("{}http://gw:8787/a\\\"b{}", &BATCH[..span.start], &BATCH[span.end..]);
    assert_eq!(String::from_utf8(spliced).unwrap(), expected);
}

#[test]
fn a_batch_that_has_not_ended_has_no_results_url() {
    let batch = read_resource(br#"{"id":"b","results_url":null}"#).unwrap();
    assert_eq!(batch.results_url, None);
}

#[test]
fn an_id_that_no_store_can_keep_is_none() {
    assert_eq!(read_resource(br#"{"id":"b\u0000"}"#).unwrap().id, None);
}

#[test]
fn a_page_shows_its_items_in_place() {
    let page = format!(
        r#"{{"data":[{BATCH}, {{"type":"file","id":"file_2","x":[{{"id":"no","results_url":"no"}}]}}],"has_more":true,"first_id":"msgbatch_01","last_id":"file_2","next_page":"p2"}}"#
    );
    let read = read_page(page.as_bytes()).unwrap();
    assert_eq!(read.items.len(), 2);
    assert_eq!(&page[read.items[0].span.clone()], BATCH);
    assert_eq!(read.items[1].id.as_deref(), Some("file_2"));
    assert_eq!(read.items[1].results_url, None);
    assert!(page[read.items[1].span.clone()].starts_with(r#"{"type":"file""#));
    assert!(read.has_more);
    assert_eq!((read.first_id.as_deref(), read.last_id.as_deref()), (Some("msgbatch_01"), Some("file_2")));
    assert_eq!(read.next_page.as_deref(), Some("p2"));
    let url = read.items[0].results_url.clone().unwrap();
    let spliced = splice(page.as_bytes(), &[(url, "u")]);
    let again = read_page(&spliced).unwrap();
    assert_eq!(&spliced[again.items[0].results_url.clone().unwrap()], b"u");
}

#[test]
fn an_empty_page_and_what_is_no_page() {
    let empty = read_page(br#"{"data":[],"has_more":false,"first_id":null}"#).unwrap();
    assert!(empty.items.is_empty() && !empty.has_more && empty.first_id.is_none());
    assert_eq!(read_page(br#"{"data":{}}"#), Err(ResourceError::Shape));
    assert_eq!(read_page(b"[]"), Err(ResourceError::Shape));
    assert!(matches!(read_page(b"{"), Err(ResourceError::NotJson(_))));
}
