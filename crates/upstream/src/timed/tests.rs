use std::{future::poll_fn, io};

use tokio::sync::mpsc;

use super::*;

/// A body fed through a channel.
struct Fed(mpsc::UnboundedReceiver<&'static str>);

impl Body for Fed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|next| next.map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
    }
}

fn fed(idle_secs: u64, total_secs: u64) -> (mpsc::UnboundedSender<&'static str>, TimedBody<Fed>) {
    let (feed, fed) = mpsc::unbounded_channel();
    let limit = |secs| (secs > 0).then(|| Duration::from_secs(secs));
    (feed, TimedBody::new(Fed(fed), BodyTimeouts { idle: limit(idle_secs), total: limit(total_secs) }))
}

async fn next(body: &mut TimedBody<Fed>) -> Option<Result<Frame<Bytes>, TimedError<io::Error>>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

#[tokio::test(start_paused = true)]
async fn silence_ends_the_body_after_the_idle_limit() {
    let (feed, mut body) = fed(10, 0);
    let begun = Instant::now();
    feed.send("a").expect("open");
    assert!(next(&mut body).await.is_some_and(|f| f.is_ok()));
    assert!(matches!(next(&mut body).await, Some(Err(TimedError::Idle(d))) if d.as_secs() == 10));
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn each_frame_starts_the_silence_anew() {
    let (feed, mut body) = fed(10, 0);
    let begun = Instant::now();
    for _ in 0..5 {
        let later = async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            feed.send("a").expect("open");
        };
        let (frame, ()) = tokio::join!(next(&mut body), later);
        assert!(frame.is_some_and(|f| f.is_ok()));
    }
    assert!(matches!(next(&mut body).await, Some(Err(TimedError::Idle(_)))));
    assert_eq!(begun.elapsed().as_secs(), 55);
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nobody_asks_is_not_silence() {
    let (feed, mut body) = fed(10, 0);
    tokio::time::sleep(Duration::from_secs(100)).await;
    feed.send("a").expect("open");
    assert!(next(&mut body).await.is_some_and(|f| f.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn the_whole_body_ends_after_the_total_limit_however_busy_it_is() {
    let (feed, mut body) = fed(10, 25);
    let begun = Instant::now();
    let busy = async {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            feed.send("a").expect("open");
        }
    };
    let read = async {
        loop {
            match next(&mut body).await {
                Some(Ok(_)) => {}
                other => return other,
            }
        }
    };
    let end = tokio::select! { end = read => end, () = busy => None };
    assert!(matches!(end, Some(Err(TimedError::Total(d))) if d.as_secs() == 25));
    assert_eq!(begun.elapsed().as_secs(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_body_in_time_ends_as_it_would() {
    let (feed, mut body) = fed(10, 25);
    drop(feed);
    assert!(next(&mut body).await.is_none());
}
