use std::sync::Mutex;

use claviger_domain::audit::{Digest, checkpoint::PublicKey};

use super::*;
use crate::{Settings, fake::House, lock::lock};

#[derive(Default)]
struct Kept(Mutex<Vec<Checkpoint>>);

impl CheckpointSink for Kept {
    fn keep(&self, checkpoint: &Checkpoint) -> std::io::Result<()> {
        lock(&self.0).push(checkpoint.clone());
        Ok(())
    }
}

async fn signing() -> (House, Checkpoints, Arc<Kept>) {
    let house = House::with(Settings::default()).await;
    let kept = Arc::new(Kept::default());
    let checkpoints = Checkpoints {
        store: Arc::clone(&house.deps.store),
        ledger: Arc::clone(&house.deps.ledger),
        clock: Arc::clone(&house.deps.clock),
        key: CheckpointKey::from_seed(&[7; 32]).unwrap(),
        sink: Some(Arc::clone(&kept) as Arc<dyn CheckpointSink>),
        health: house.services.health.clone(),
        due: Arc::new(Notify::new()),
    };
    (house, checkpoints, kept)
}

#[tokio::test]
async fn a_checkpoint_is_signed_when_anything_happened_and_only_then() {
    let (house, checkpoints, kept) = signing().await;
    let first = checkpoints.sign().await.unwrap().unwrap();
    first.verify(&PublicKey::parse(&first.public_key).unwrap()).unwrap();
    first.follows(None).unwrap();
    assert_eq!(checkpoints.sign().await.unwrap(), None);
    let caller = crate::Caller::system();
    house
        .services
        .tenants
        .create_owner("ann", None, claviger_domain::limit::LimitsPatch::default(), &caller)
        .await
        .unwrap();
    let second = checkpoints.sign().await.unwrap().unwrap();
    second.follows(Some(&first)).unwrap();
    assert_eq!(*lock(&kept.0), [first, second.clone()]);
    let names: Vec<_> = second.heads.iter().map(|h| h.chain.as_str()).collect();
    assert_eq!(names, ["control", house.services.recorder.chain().as_str()]);
}

#[tokio::test]
async fn chains_of_earlier_starts_stand_in_the_control_chain_and_not_in_checkpoints() {
    let (house, _, _) = signing().await;
    let next = House::on(Arc::clone(&house.store), Settings::default(), 9).await;
    let checkpoints = &next.background.jobs.checkpoints;
    let signed = checkpoints.sign().await.unwrap().unwrap();
    assert_eq!(signed.heads.len(), 2);
    let state = lock(&house.store.state);
    assert_eq!(state.chains.len(), 2);
    let close = state.audit.iter().find(|r| r.event.action == "audit.chain.close").unwrap();
    assert_eq!(close.event.details["why"], "died");
    assert_eq!(close.event.details["head"], Digest::EMPTY.to_hex());
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_kept_is_a_warning_until_the_next_is() {
    let (house, checkpoints, _) = signing().await;
    house.store.set_down(true);
    checkpoints.sign_and_report().await;
    let audit =
        |house: &House| house.services.health.parts().into_iter().find(|p| p.name == "audit").unwrap();
    assert_eq!(audit(&house).state, crate::health::PartState::Warning);
    house.store.set_down(false);
    checkpoints.sign_and_report().await;
    assert_eq!(audit(&house).state, crate::health::PartState::Ok);
}
