//! What is sent: a prompt of a given size, answered as JSON or as a stream.

use std::fmt::Write;
use std::time::Duration;

/// One kind of exchange and the pace at which it is measured.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    /// Size of the request's body in bytes.
    pub body_bytes: usize,
    pub is_stream: bool,
    /// Between the events of a stream, where capacity is measured.
    pub gap: Duration,
    /// Connections of the closed loop.
    pub connections: usize,
    /// Rate at which the CPU of all sides is compared: what each can do, and none is pressed by.
    pub steady_per_second: f64,
    /// Rate of the open loop; `None`: its latency is not measured.
    pub per_second: Option<f64>,
}

/// The list.
pub const CASES: [Case; 5] = [
    Case {
        name: "json-1k",
        about: "JSON, 1 KB",
        body_bytes: 1 << 10,
        is_stream: false,
        gap: Duration::ZERO,
        connections: 64,
        steady_per_second: 4000.0,
        per_second: Some(300.0),
    },
    Case {
        name: "stream-20",
        about: "stream of 20 deltas, 1 KB",
        body_bytes: 1 << 10,
        is_stream: true,
        gap: Duration::ZERO,
        connections: 64,
        steady_per_second: 1000.0,
        per_second: Some(100.0),
    },
    Case {
        name: "stream-20-paced",
        about: "the same, 5 ms between events",
        body_bytes: 1 << 10,
        is_stream: true,
        gap: Duration::from_millis(5),
        connections: 64,
        steady_per_second: 400.0,
        per_second: None,
    },
    Case {
        name: "json-100k",
        about: "JSON, 100 KB",
        body_bytes: 100 << 10,
        is_stream: false,
        gap: Duration::ZERO,
        connections: 32,
        steady_per_second: 1000.0,
        per_second: Some(100.0),
    },
    Case {
        name: "json-1m",
        about: "JSON, 1 MB",
        body_bytes: 1 << 20,
        is_stream: false,
        gap: Duration::ZERO,
        connections: 8,
        steady_per_second: 100.0,
        per_second: Some(30.0),
    },
];

impl Case {
    /// The whole request, as an SDK sends it, with the header lines that say who calls.
    pub fn request(&self, caller: &str) -> Vec<u8> {
        let body = self.body();
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\n\
             host: gateway.example\r\n\
             accept: application/json\r\n\
             accept-encoding: identity\r\n\
             user-agent: Anthropic/Python 0.75.0\r\n\
             x-stainless-lang: python\r\n\
             x-stainless-package-version: 0.75.0\r\n\
             x-stainless-retry-count: 0\r\n\
             x-stainless-timeout: 600\r\n\
             anthropic-version: 2023-06-01\r\n\
             {caller}\
             content-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body.as_bytes()].concat()
    }

    /// A conversation whose turns hold quotes and line ends, as code does; exactly `body_bytes` long.
    pub fn body(&self) -> String {
        const TURN_BYTES: usize = 2000;
        const LINE: &str = r#"let name = \"value\"; // a line of a file that somebody asks about\n"#;
        let mut body = format!(
            r#"{{"model":"claude-opus-5","max_tokens":1024,"stream":{},"messages":["#,
            self.is_stream
        );
        let tail = r#"{"role":"user","content":""}]}"#;
        let mut role = "user";
        while body.len() + tail.len() + TURN_BYTES + 100 < self.body_bytes {
            // Writing to a string does not fail.
            let _ =
                write!(body, r#"{{"role":"{role}","content":"{}"}},"#, LINE.repeat(TURN_BYTES / LINE.len()));
            role = if role == "user" { "assistant" } else { "user" };
        }
        body.push_str(r#"{"role":"user","content":""#);
        while body.len() + LINE.len() + 4 < self.body_bytes {
            body.push_str(LINE);
        }
        while body.len() + 4 < self.body_bytes {
            body.push('x');
        }
        body.push_str(r#""}]}"#);
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_of_exactly_their_size() {
        for case in CASES {
            let body = case.body();
            assert_eq!(body.len(), case.body_bytes, "{}", case.name);
            let value: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(value["stream"], case.is_stream);
        }
    }
}
