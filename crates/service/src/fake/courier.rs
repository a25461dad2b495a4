//! A courier that does as it is told and remembers what it carried.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use claviger_domain::{
    notice::{channel::ChannelRecord, delivery::DeliveryError},
    ports::notices::{Courier, Letter},
    secret::SecretBytes,
};

use crate::lock::lock;

/// What becomes of letters through a channel.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// They fail.
    Fail(DeliveryError),
    /// They never arrive, and nobody says so.
    Hang,
}

/// The channel, the letter and the secret that a delivery had.
pub(crate) type Carried = (String, Letter, Option<Vec<u8>>);

#[derive(Default)]
pub(crate) struct FakeCourier {
    fates: Mutex<HashMap<String, Fate>>,
    pub(crate) carried: Mutex<Vec<Carried>>,
}

impl FakeCourier {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// From now on letters through the channel of that name fare so; `None`: well.
    pub(crate) fn decide(&self, channel: &str, fate: Option<Fate>) {
        let mut fates = lock(&self.fates);
        match fate {
            Some(fate) => fates.insert(channel.to_owned(), fate),
            None => fates.remove(channel),
        };
    }

    /// Channel and subject of all letters so far.
    pub(crate) fn subjects(&self) -> Vec<(String, String)> {
        let carried = lock(&self.carried);
        carried.iter().map(|(channel, letter, _)| (channel.clone(), letter.message.subject.clone())).collect()
    }
}

#[async_trait]
impl Courier for FakeCourier {
    async fn deliver(
        &self,
        channel: &ChannelRecord,
        secret: Option<&SecretBytes>,
        letter: &Letter,
    ) -> Result<(), DeliveryError> {
        let fate = lock(&self.fates).get(&channel.name).cloned();
        match fate {
            Some(Fate::Fail(error)) => return Err(error),
            Some(Fate::Hang) => std::future::pending().await,
            None => {}
        }
        let secret = secret.map(|secret| secret.expose().to_vec());
        lock(&self.carried).push((channel.name.clone(), letter.clone(), secret));
        Ok(())
    }
}
