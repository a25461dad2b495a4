use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use claviger_testkit::ManualClock;
use tempfile::TempDir;

use super::*;
use crate::{body::Body, error::BoxError};

const KEY: &str = "cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb";

fn file(folder: &TempDir, text: &str, mode: u32) -> PathBuf {
    let path = folder.path().join(format!("key-{mode:o}"));
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[tokio::test]
async fn key_files_that_others_can_read_are_refused() {
    let folder = TempDir::new().unwrap();
    for mode in [0o600, 0o400] {
        let key = FileKey::new(file(&folder, &format!("{KEY}\n"), mode)).key().await.unwrap();
        assert_eq!(key.reveal(), KEY);
    }
    for mode in [0o640, 0o604, 0o620, 0o644] {
        let refused = FileKey::new(file(&folder, KEY, mode)).key().await.unwrap_err();
        assert!(matches!(refused, KeyError::OpenToOthers { mode: seen, .. } if seen == mode), "{refused}");
    }
    assert!(matches!(FileKey::new(folder.path()).key().await, Err(KeyError::NoKey(_))));
}

#[tokio::test]
async fn texts_that_are_no_key_are_refused_without_showing_them() {
    let folder = TempDir::new().unwrap();
    for text in ["", " \n", "one\ntwo-secret", &"x".repeat(9_000)] {
        let refused = FileKey::new(file(&folder, text, 0o600)).key().await.unwrap_err();
        assert!(matches!(&refused, KeyError::NoKey(_)) && !refused.to_string().contains("two-secret"));
    }
    let dotenv = file(&folder, "ok=1\nsecret-line\n", 0o600);
    let refused = DotenvKey::new(dotenv, "CLAVIGER_TEST_UNSET").key().await.unwrap_err();
    assert!(matches!(&refused, KeyError::Dotenv { line: 2, .. }) && !refused.to_string().contains("secret-"));
}

struct Counting(AtomicUsize);

impl KeySource for Counting {
    fn key(&self) -> BoxFuture<'_, Result<Secret, KeyError>> {
        let read = self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { if read == 2 { Err(KeyError::Store(503)) } else { tidy(KEY, "test") } })
    }
}

#[tokio::test]
async fn a_kept_key_is_read_again_after_its_time_or_a_refusal() {
    let clock = ManualClock::default();
    let kept = Kept::new(Counting(AtomicUsize::new(0)), Duration::from_secs(60), Arc::new(clock.clone()));
    let reads = || kept.source.0.load(Ordering::SeqCst);
    kept.key().await.unwrap();
    kept.key().await.unwrap();
    assert_eq!(reads(), 1);
    kept.forget();
    kept.key().await.unwrap();
    assert_eq!(reads(), 2);
    clock.advance(Duration::from_secs(60));
    // An old key in place of a failure would be a silent fallback.
    assert!(matches!(kept.key().await, Err(KeyError::Store(503))));
    kept.key().await.unwrap();
    assert_eq!(reads(), 4);
}

#[tokio::test]
async fn commands_give_one_line_and_nothing_of_their_output_in_errors() {
    let key = CommandKey::new("printf", &["%s\\n", KEY]).key().await.unwrap();
    assert_eq!(key.reveal(), KEY);
    for script in [&format!("echo {KEY}; exit 3"), &format!("yes {KEY}"), "true"] {
        let refused = CommandKey::new("sh", &["-c", script]).key().await.unwrap_err();
        assert!(!refused.to_string().contains("cvg_live_"), "{refused}");
    }
}

fn store(
    unwrapped: Arc<AtomicUsize>,
) -> impl tower::Service<http::Request<Body>, Response = http::Response<Body>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    tower::service_fn(move |request: http::Request<Body>| {
        let unwrapped = Arc::clone(&unwrapped);
        async move {
            let token = request.headers()["x-vault-token"].to_str().unwrap().to_owned();
            let answer = match (request.uri().path(), token.as_str()) {
                ("/v1/sys/wrapping/unwrap", "wrapped") if unwrapped.fetch_add(1, Ordering::SeqCst) == 0 => {
                    r#"{"auth":{"client_token":"inner"}}"#.to_owned()
                }
                ("/v1/kv/data/ci", "inner") => format!(r#"{{"data":{{"data":{{"api_key":"{KEY}"}}}}}}"#),
                _ => String::new(),
            };
            let status = if answer.is_empty() { 400 } else { 200 };
            Ok(http::Response::builder().status(status).body(Body::from(answer))?)
        }
    })
}

#[tokio::test]
async fn a_wrapped_token_is_opened_once_and_reads_the_key() {
    let folder = TempDir::new().unwrap();
    let wrapped = file(&folder, "wrapped\n", 0o600);
    let unwrapped = Arc::new(AtomicUsize::new(0));
    let source = || {
        let token = StoreToken::Wrapped(wrapped.clone());
        VaultKey::new(store(Arc::clone(&unwrapped)), "http://127.0.0.1:8200/", "kv/data/ci", "api_key", token)
    };
    let first = source().unwrap();
    assert_eq!(first.key().await.unwrap().reveal(), KEY);
    assert_eq!(first.key().await.unwrap().reveal(), KEY);
    assert_eq!(unwrapped.load(Ordering::SeqCst), 1);
    assert!(matches!(source().unwrap().key().await, Err(KeyError::WrappedTokenUsed)));
    let far = VaultKey::new(store(unwrapped), "http://vault.example", "x", "y", StoreToken::Wrapped(wrapped));
    assert!(matches!(far, Err(KeyError::Address)));
}
