//! Something to deliver.

use claviger_domain::{
    clock::Timestamp,
    id::{ChannelId, KeyId, NoticeId, OwnerId, WorkspaceId},
    notice::{
        About, Notice, NoticeRecord, Severity,
        channel::{ChannelRecord, ChannelTarget},
        message::Message,
    },
    ports::notices::Letter,
    upstream::ServiceState,
};

pub fn letter() -> Letter {
    let about = About {
        key: Some(KeyId::parse("key_0123456789").unwrap()),
        owner: Some(OwnerId::parse("own_1").unwrap()),
        workspace: Some(WorkspaceId::parse("ws_1").unwrap()),
    };
    let at = Timestamp::from_secs(1_772_452_800);
    let notice = Notice::KeyExpiring {
        name: "Bäckerei".to_owned(),
        expires_at: at.plus_micros(3 * 86_400_000_000),
        days: 3,
    };
    let record = NoticeRecord::new(NoticeId::parse("ntc_1").unwrap(), about, notice, at);
    Letter {
        id: record.id.clone(),
        at,
        severity: record.severity,
        message: Message::of(&record),
        copies: Vec::new(),
    }
}

pub fn channel(target: ChannelTarget) -> ChannelRecord {
    ChannelRecord {
        id: ChannelId::parse("chn_1").unwrap(),
        name: "ops".to_owned(),
        target,
        sealed: Vec::new(),
        min_severity: Severity::Info,
        workspace: None,
        state: ServiceState::Active,
        created_at: Timestamp::from_secs(0),
        version: 1,
    }
}
