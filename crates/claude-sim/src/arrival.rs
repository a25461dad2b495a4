//! Reading a request body whole, under a cap.

use std::pin::pin;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

use crate::error::ApiError;

/// Largest buffer reserved on the word of `Content-Length` alone.
const TRUSTED: u64 = 1 << 20;

/// All bytes of `body`; one frame is not copied when it is `Bytes` already.
///
/// # Errors
/// 413 above `limit` bytes; 400 when the client stops half way (nobody is left to read it).
pub(crate) async fn read<B>(body: B, limit: usize) -> Result<Bytes, ApiError>
where
    B: Body,
    B::Data: Buf,
{
    let expected = body.size_hint();
    let limit_bytes = u64::try_from(limit).unwrap_or(u64::MAX);
    if expected.lower() > limit_bytes {
        return Err(ApiError::too_large());
    }
    let reserve = usize::try_from(expected.lower().min(TRUSTED)).unwrap_or(0);
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::invalid("The request body ended early"))?;
        let Ok(mut data) = frame.into_data() else { continue };
        if data.remaining() > limit - whole.len() - first.len() {
            return Err(ApiError::too_large());
        }
        if first.is_empty() && whole.is_empty() {
            first = data.copy_to_bytes(data.remaining());
            continue;
        }
        if whole.is_empty() {
            whole.reserve(reserve.max(first.len() + data.remaining()));
            whole.put(std::mem::take(&mut first));
        }
        whole.put(data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}
