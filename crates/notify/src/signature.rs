//! Signatures of webhooks as in Standard Webhooks 1.0: HMAC-SHA-256 over `id.timestamp.body`, in `webhook-signature` as
//! `v1,<base64>`.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use claviger_domain::secret::SecretBytes;

/// What a printed secret begins with.
pub const PREFIX: &str = "whsec_";

/// The value of `webhook-signature`.
#[must_use]
pub fn sign(secret: &SecretBytes, id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose()));
    context.update(id.as_bytes());
    context.update(b".");
    context.update(timestamp.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sample of the Standard Webhooks libraries.
    #[test]
    fn the_published_sample_comes_out() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = sign(
            &SecretBytes::new(key),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
