//! THE list of kinds of channels.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use claviger_domain::{
    notice::{
        channel::{ChannelRecord, ChannelTarget},
        delivery::DeliveryError,
    },
    ports::notices::{Courier, Letter},
    secret::SecretBytes,
};

use crate::{
    dial::Lookup,
    smtp::Smtp,
    tls::{self, RootsError},
    webhook::Webhook,
};

/// No delivery takes longer.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Delivers through every kind of channel.
pub struct Post {
    smtp: Smtp,
    webhook: Webhook,
    timeout: Duration,
}

impl Post {
    /// Trusts the machine's own authorities and those in the given PEM text.
    ///
    /// # Errors
    /// [`RootsError`] when the text holds no certificate.
    pub fn new(lookup: Arc<dyn Lookup>, extra_roots: Option<&[u8]>) -> Result<Self, RootsError> {
        let roots = extra_roots.map(tls::certificates).transpose()?.unwrap_or_default();
        Ok(Self {
            smtp: Smtp::new(roots.clone()),
            webhook: Webhook::new(lookup, tls::client_config(roots)?),
            timeout: DELIVERY_TIMEOUT,
        })
    }

    /// The same with another bound on the time of a delivery.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

#[async_trait]
impl Courier for Post {
    async fn deliver(
        &self,
        channel: &ChannelRecord,
        secret: Option<&SecretBytes>,
        letter: &Letter,
    ) -> Result<(), DeliveryError> {
        let way = async {
            match &channel.target {
                ChannelTarget::Smtp(target) => self.smtp.send(target, secret, letter).await,
                ChannelTarget::Webhook(target) => self.webhook.send(target, secret, letter).await,
            }
        };
        let late = || DeliveryError::Transient(format!("no answer within {} s", self.timeout.as_secs_f32()));
        tokio::time::timeout(self.timeout, way).await.unwrap_or_else(|_| Err(late()))
    }
}
