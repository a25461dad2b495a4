//! What a probe reports.

use std::time::Duration;

use claviger_domain::{clock::Timestamp, secret::SecretBytes};
use claviger_upstream::{Probe, ProbeReport, ProviderKey, Target, Transport, UpstreamConfig, Verdict, probe};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;

use crate::{
    fixture::{Body, Server, full, ok, status},
    secured::{open_gate, pki, tls_server},
};

const KEY: &str = "sk-ant-api03-not-a-key";

fn answer(request: &Request<Incoming>) -> Response<Body> {
    let asked =
        request.uri() == "/v1/models?limit=1000" && request.headers()["anthropic-version"] == "2023-06-01";
    let key = request.headers().get("x-api-key").map(HeaderValue::as_bytes);
    let mut answer = match key {
        _ if !asked => status(404),
        Some(key) if key == KEY.as_bytes() => {
            ok(full(r#"{"data":[{"id":"a","x":1},{"id":"b"}],"has_more":false}"#))
        }
        Some(b"slow down") => status(429),
        Some(b"broken") => status(500),
        Some(b"strange") => ok(full("<html>")),
        Some(b"narrow") => status(403),
        Some(_) | None => status(401),
    };
    answer.headers_mut().insert("request-id", HeaderValue::from_static("req_1"));
    answer.headers_mut().insert("retry-after", HeaderValue::from_static("3"));
    answer
}

async fn look(transport_config: &UpstreamConfig, target: &Target, key: Option<&str>) -> ProbeReport {
    let key = key.map(|k| ProviderKey::new(SecretBytes::new(k.into())).expect("key"));
    let transport = Transport::new(transport_config).expect("transport");
    let now = Timestamp::from_secs(0);
    probe(&transport, Probe { target, key: key.as_ref(), timeout: Duration::from_secs(10), now }).await
}

#[tokio::test]
async fn probe_tells_what_the_upstream_thinks_of_the_key() {
    let server = Server::http(|request| async move { answer(&request) }).await;
    let target = server.target();
    for (key, verdict, code) in [
        (Some(KEY), Verdict::Ok, 200),
        (Some("wrong"), Verdict::KeyRefused, 401),
        (None, Verdict::Ok, 401),
        (Some("narrow"), Verdict::Forbidden, 403),
        (Some("slow down"), Verdict::Limited, 429),
        (Some("broken"), Verdict::Failing, 500),
        (Some("strange"), Verdict::Unexpected, 200),
    ] {
        let report = look(&UpstreamConfig::default(), &target, key).await;
        assert_eq!((report.verdict, report.status), (verdict, Some(code)), "{key:?}");
        assert_eq!(report.model_count, (key == Some(KEY)).then_some(2));
        assert_eq!((report.request_id.as_deref(), report.retry_after_ms), (Some("req_1"), Some(3_000)));
        assert!(report.tcp_us.is_some() && report.first_byte_us.is_some() && report.tls_us.is_none());
        assert!(!serde_json::to_string(&report).expect("json").contains("sk-ant"));
    }
}

#[tokio::test]
async fn probe_says_where_an_unreachable_upstream_failed() {
    let pki = pki("localhost");
    let server = tls_server(pki.acceptor.clone(), open_gate()).await;
    let target =
        Target::parse(&format!("https://localhost:{}", server.address.port()), false).expect("target");
    let report = look(&UpstreamConfig::default(), &target, Some(KEY)).await;
    assert_eq!((report.verdict, report.error_kind), (Verdict::Unreachable, Some("tls")));
    assert!(report.tcp_us.is_some() && report.first_byte_us.is_none());
    assert!(report.error.expect("error").contains("certificate"));

    let config = UpstreamConfig {
        extra_roots: Some(pki.roots.path().into()),
        http2: true,
        ..UpstreamConfig::default()
    };
    let report = look(&config, &target, Some(KEY)).await;
    assert_eq!((report.verdict, report.http_version.as_deref()), (Verdict::Unexpected, Some("HTTP/2.0")));
    assert_eq!(report.tls_version.as_deref(), Some("TLSv1_3"));
}
