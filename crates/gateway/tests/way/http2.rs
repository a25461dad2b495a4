//! Clients that speak HTTP/2.

use claviger_testkit::{Answer, RawServer};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, runtime::Builder};
use tokio_util::task::TaskTracker;

use super::JSON;
use crate::house::{House, body};

type Sender = SendRequest<Full<Bytes>>;

async fn connect(house: &House) -> Sender {
    let stream = TcpStream::connect(house.address).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    drop(TaskTracker::new().spawn(connection));
    sender
}

async fn ask(
    sender: &mut Sender,
    house: &House,
    method: Method,
    path: &str,
    body: &str,
) -> Response<Incoming> {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", house.address))
        .header("x-api-key", &house.key)
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    sender.send_request(request.unwrap()).await.unwrap()
}

#[test]
fn head_is_answered_without_a_body_and_leaves_the_connection_whole() {
    let upstream = RawServer::start(|_| Answer::ok("application/json", JSON));
    let house = House::before(&upstream.url());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut sender = connect(&house).await;
        // A probe, two answers that have a body for GET, and a refusal.
        for (path, status) in [("/", 200), ("/healthz", 200), ("/readyz", 200), ("/v1/organizations/me", 501)]
        {
            let answer = ask(&mut sender, &house, Method::HEAD, path, "").await;
            assert_eq!(answer.status(), status, "{path}");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(body.is_empty(), "{path}: {body:?}");
        }
        let answer = ask(&mut sender, &house, Method::POST, "/v1/messages", &body(false)).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), JSON);
    });
}
