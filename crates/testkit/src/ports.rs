//! Ports for tests in which they play no part.

use async_trait::async_trait;
use claviger_domain::{
    notice::{channel::ChannelRecord, delivery::DeliveryError},
    ports::{
        SealContext, SealError, Sealer,
        notices::{Courier, Letter},
        workload::{FetchError, FetchedKeys, KeyFetcher},
    },
    price::{PricedCall, Prices, Quote, TokenRates},
    secret::SecretBytes,
};

/// Seals by naming the place: what is moved does not open.
#[derive(Debug, Clone, Copy)]
pub struct PlainSealer;

impl Sealer for PlainSealer {
    fn seal(&self, context: SealContext<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealed = place(context);
        sealed.extend(plain.iter().map(|byte| byte ^ 0x5A));
        Ok(sealed)
    }

    fn open(&self, context: SealContext<'_>, sealed: &[u8]) -> Result<SecretBytes, SealError> {
        let rest = sealed.strip_prefix(place(context).as_slice()).ok_or(SealError::CannotOpen)?;
        Ok(SecretBytes::new(rest.iter().map(|byte| byte ^ 0x5A).collect()))
    }
}

fn place(context: SealContext<'_>) -> Vec<u8> {
    format!("{}/{}/{}|", context.table, context.column, context.row).into_bytes()
}

/// Takes every letter and carries none.
#[derive(Debug, Clone, Copy)]
pub struct NoCourier;

#[async_trait]
impl Courier for NoCourier {
    async fn deliver(
        &self,
        _channel: &ChannelRecord,
        _secret: Option<&SecretBytes>,
        _letter: &Letter,
    ) -> Result<(), DeliveryError> {
        Ok(())
    }
}

/// Reaches no issuer of identities.
#[derive(Debug, Clone, Copy)]
pub struct NoKeys;

#[async_trait]
impl KeyFetcher for NoKeys {
    async fn fetch(&self, _url: &str, _private_network: bool) -> Result<FetchedKeys, FetchError> {
        Err(FetchError::Unreachable("nobody".to_owned()))
    }
}

/// Where nothing costs anything.
pub struct FreePrices;

impl Prices for FreePrices {
    fn quote(&self, call: &PricedCall<'_>) -> Quote {
        Quote { model: call.model.to_owned(), from: None, rates: TokenRates::default(), assumed: false }
    }

    fn web_search(&self) -> i128 {
        0
    }

    fn version(&self) -> String {
        "free".to_owned()
    }
}
