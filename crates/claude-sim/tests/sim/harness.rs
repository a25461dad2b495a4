//! A running simulator and a raw client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use claviger_claude_sim::{SimConfig, Simulator, WallClock};
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// 2026-11-18T09:46:40Z.
const START_MS: u64 = 1_795_000_000_000;

/// A simulator on a loopback port; stopped when dropped.
pub struct Sim {
    pub address: std::net::SocketAddr,
    now_ms: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

/// An answer, read as far as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The connection broke before the body ended.
    pub broken: bool,
}

impl Sim {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(adjust: impl FnOnce(&mut SimConfig)) -> Self {
        let now_ms = Arc::new(AtomicU64::new(START_MS));
        let read = Arc::clone(&now_ms);
        let mut config = SimConfig::stand_alone(WallClock::new(move || read.load(Ordering::Relaxed)));
        adjust(&mut config);
        let simulator = Simulator::new(config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { simulator.serve(listener, std::future::pending()).await });
        Self { address, now_ms, tasks }
    }

    pub fn advance_ms(&self, millis: u64) {
        self.now_ms.fetch_add(millis, Ordering::Relaxed);
    }

    pub fn post(&self, path: &str, body: impl Into<Bytes>) -> Call<'_> {
        Call::new(self, Method::POST, path, body.into())
    }

    pub fn get(&self, path: &str) -> Call<'_> {
        Call::new(self, Method::GET, path, Bytes::new())
    }

    pub fn request(&self, method: Method, path: &str) -> Call<'_> {
        Call::new(self, method, path, Bytes::new())
    }

    /// `POST /v1/messages` with these fields beside a plain prompt.
    pub fn ask(&self, more: Value) -> Call<'_> {
        self.post("/v1/messages", prompt(more).to_string())
    }

    /// The last line of the log.
    pub async fn last_line(&self) -> Value {
        self.lines().await.pop().expect("a line")
    }

    pub async fn lines(&self) -> Vec<Value> {
        let text = self.get("/__sim/log").send().await.text();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The log once `count` lines are there: a line is written when the connection has noticed its end.
    pub async fn lines_when(&self, count: usize) -> Vec<Value> {
        for _ in 0..500 {
            let lines = self.lines().await;
            if lines.len() >= count {
                return lines;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        panic!("the log did not reach {count} lines");
    }
}

/// A request body with `more` merged in.
pub fn prompt(more: Value) -> Value {
    let mut body = json!({
        "model": "claude-opus-5-5", "max_tokens": 1000, "messages": [{"role": "user", "content": "hello"}]
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// A request being put together. Key and version are there unless removed.
pub struct Call<'a> {
    sim: &'a Sim,
    request: Request<Full<Bytes>>,
}

impl<'a> Call<'a> {
    fn new(sim: &'a Sim, method: Method, path: &str, body: Bytes) -> Self {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "sim.test")
            .header(CONTENT_TYPE, "application/json")
            .header("x-api-key", "key-1")
            .header("anthropic-version", "2023-06-01")
            .body(Full::new(body))
            .unwrap();
        Self { sim, request }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.request.headers_mut().insert(name, value.parse().unwrap());
        self
    }

    pub fn without(mut self, name: &'static str) -> Self {
        self.request.headers_mut().remove(name);
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = Full::new(body.into());
        self
    }

    pub fn fault(self, list: &str) -> Self {
        self.header("x-sim-fault", list)
    }

    /// Sends it; `Err` when no head of an answer came.
    pub async fn open(self) -> Result<(Response<Incoming>, JoinSet<()>), hyper::Error> {
        let stream = TcpStream::connect(self.sim.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        let response = sender.send_request(self.request).await?;
        Ok((response, tasks))
    }

    pub async fn send(self) -> Answer {
        let (response, _connection) = self.open().await.expect("an answer");
        read(response).await
    }

    /// Over HTTP/2 with prior knowledge.
    pub async fn send_h2(mut self) -> Answer {
        let stream = TcpStream::connect(self.sim.address).await.unwrap();
        *self.request.uri_mut() = format!("http://sim.test{}", self.request.uri()).parse().unwrap();
        self.request.headers_mut().remove(HOST);
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        read(sender.send_request(self.request).await.unwrap()).await
    }
}

async fn read(response: Response<Incoming>) -> Answer {
    let (head, mut incoming) = response.into_parts();
    let (mut body, mut broken) = (Vec::new(), false);
    while let Some(frame) = incoming.frame().await {
        match frame {
            Ok(frame) => body.extend(frame.into_data().unwrap_or_default()),
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    Answer { status: head.status, headers: head.headers, body, broken }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The names of the events, in order.
    pub fn events(&self) -> Vec<String> {
        let text = self.text().replace("\r\n", "\n");
        text.lines().filter_map(|line| line.strip_prefix("event: ")).map(str::to_owned).collect()
    }

    /// The data of each event.
    pub fn data(&self) -> Vec<Value> {
        let text = self.text().replace("\r\n", "\n");
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
        lines.map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    /// `type: message` of an error envelope.
    pub fn refusal(&self) -> String {
        let json = self.json();
        assert_eq!(json["type"], "error");
        assert_eq!(json["request_id"], self.header("request-id"));
        let text = |name: &str| json["error"][name].as_str().unwrap().to_owned();
        format!("{} {}: {}", self.status.as_u16(), text("type"), text("message"))
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}
