//! Workspaces and owners.

use std::sync::Arc;

use claviger_domain::{
    clock::{Clock, Entropy},
    id::{OwnerId, WorkspaceId},
    limit::{Limits, LimitsPatch},
    ports::{Change, Store},
    tenancy::{Environment, OwnerRecord, WorkspaceRecord},
};

use serde_json::json;

use crate::{Caller, ServiceError, digests, grants::Grants, keys::wish::check_limits, naming::check_name};

/// Workspaces and owners.
#[derive(Clone)]
pub struct Tenants(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    grants: Grants,
}

impl Tenants {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        grants: Grants,
    ) -> Self {
        Self(Arc::new(Inner { store, clock, entropy, grants }))
    }

    /// Makes a workspace.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`], [`ServiceError::Conflict`] when the name is taken.
    pub async fn create_workspace(
        &self,
        name: &str,
        environment: Environment,
        limits: LimitsPatch,
        caller: &Caller,
    ) -> Result<WorkspaceRecord, ServiceError> {
        check_name("name", name)?;
        check_limits(limits)?;
        if self.0.store.workspace(name).await?.is_some() {
            return Err(ServiceError::conflict("workspace name", format!("`{name}` is taken")));
        }
        let now = self.0.clock.now();
        let workspace = WorkspaceRecord {
            id: WorkspaceId::generate(self.0.entropy.as_ref())?,
            name: name.to_owned(),
            environment,
            limits: Limits::NONE.patched(&limits),
            created_at: now,
            archived_at: None,
            version: 1,
        };
        let event = caller.event(now, "workspace.create", workspace.id.as_str());
        let event = event.with("environment", environment.as_str()).with("name", name);
        let event = digests::with(event, None, Some(&json!(workspace)));
        self.0.store.apply(vec![Change::InsertWorkspace(workspace.clone())], event).await?;
        Ok(workspace)
    }

    /// All workspaces, archived ones too, by creation.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn workspaces(&self) -> Result<Vec<WorkspaceRecord>, ServiceError> {
        Ok(self.0.store.workspaces().await?)
    }

    /// One workspace by id or name.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn workspace(&self, id_or_name: &str) -> Result<WorkspaceRecord, ServiceError> {
        let found = self.0.store.workspace(id_or_name).await?;
        found.ok_or_else(|| ServiceError::not_found("workspace", id_or_name))
    }

    /// Changes a workspace's environment class and limits. What is so already stays as it is.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Invalid`], [`ServiceError::Stale`], [`ServiceError::Conflict`] when
    /// it is archived.
    pub async fn update_workspace(
        &self,
        id_or_name: &str,
        (environment, limits): (Option<Environment>, LimitsPatch),
        expected_version: Option<i64>,
        caller: &Caller,
    ) -> Result<WorkspaceRecord, ServiceError> {
        check_limits(limits)?;
        let before = self.workspace(id_or_name).await?;
        fresh("workspace", before.version, expected_version)?;
        if before.archived_at.is_some() {
            return Err(ServiceError::conflict("workspace", format!("`{}` is archived", before.name)));
        }
        let environment = environment.unwrap_or(before.environment);
        let after = WorkspaceRecord { environment, limits: before.limits.patched(&limits), ..before.clone() };
        if after == before {
            return Ok(before);
        }
        let event = caller.event(self.0.clock.now(), "workspace.update", after.id.as_str());
        let event = digests::with(event, Some(&json!(before)), Some(&json!(after)));
        let event = event.with("environment", environment.as_str());
        let applied = self.0.store.apply(vec![Change::UpdateWorkspace(after.clone())], event).await?;
        self.0.grants.workspace_changed(&after.id, applied.seq);
        Ok(WorkspaceRecord { version: after.version + 1, ..after })
    }

    /// Archives a workspace: its keys stop working before this returns. Again: nothing changes.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn archive_workspace(
        &self,
        id: &WorkspaceId,
        caller: &Caller,
    ) -> Result<WorkspaceRecord, ServiceError> {
        let mut workspace = self.workspace(id.as_str()).await?;
        if workspace.archived_at.is_some() {
            return Ok(workspace);
        }
        let now = self.0.clock.now();
        let before = json!(workspace);
        workspace.archived_at = Some(now);
        let event = caller.event(now, "workspace.archive", id.as_str()).with("name", &*workspace.name);
        let event = digests::with(event, Some(&before), Some(&json!(workspace)));
        let applied = self.0.store.apply(vec![Change::UpdateWorkspace(workspace.clone())], event).await?;
        self.0.grants.workspace_changed(id, applied.seq);
        workspace.version += 1;
        Ok(workspace)
    }

    /// Makes an owner.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`], [`ServiceError::Conflict`] when the name is taken.
    pub async fn create_owner(
        &self,
        name: &str,
        email: Option<&str>,
        limits: LimitsPatch,
        caller: &Caller,
    ) -> Result<OwnerRecord, ServiceError> {
        check_name("name", name)?;
        email.map_or(Ok(()), check_email)?;
        check_limits(limits)?;
        if self.0.store.owner(name).await?.is_some() {
            return Err(ServiceError::conflict("owner name", format!("`{name}` is taken")));
        }
        let now = self.0.clock.now();
        let owner = OwnerRecord {
            id: OwnerId::generate(self.0.entropy.as_ref())?,
            name: name.to_owned(),
            email: email.map(str::to_owned),
            limits: Limits::NONE.patched(&limits),
            created_at: now,
            archived_at: None,
            version: 1,
        };
        let event = caller.event(now, "owner.create", owner.id.as_str()).with("name", name);
        let event = digests::with(event, None, Some(&json!(owner)));
        self.0.store.apply(vec![Change::InsertOwner(owner.clone())], event).await?;
        Ok(owner)
    }

    /// All owners, archived ones too, by creation.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn owners(&self) -> Result<Vec<OwnerRecord>, ServiceError> {
        Ok(self.0.store.owners().await?)
    }

    /// One owner by id or name.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn owner(&self, id_or_name: &str) -> Result<OwnerRecord, ServiceError> {
        let found = self.0.store.owner(id_or_name).await?;
        found.ok_or_else(|| ServiceError::not_found("owner", id_or_name))
    }

    /// Changes an owner's address (`Some(None)`: it has none any more) and limits. What is so already stays as it is.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Invalid`], [`ServiceError::Stale`],
    /// [`ServiceError::Conflict`] when it is archived.
    pub async fn update_owner(
        &self,
        id_or_name: &str,
        (email, limits): (Option<Option<&str>>, LimitsPatch),
        expected_version: Option<i64>,
        caller: &Caller,
    ) -> Result<OwnerRecord, ServiceError> {
        email.flatten().map_or(Ok(()), check_email)?;
        check_limits(limits)?;
        let before = self.owner(id_or_name).await?;
        fresh("owner", before.version, expected_version)?;
        if before.archived_at.is_some() {
            return Err(ServiceError::conflict("owner", format!("`{}` is archived", before.name)));
        }
        let email = email.map_or_else(|| before.email.clone(), |email| email.map(str::to_owned));
        let after = OwnerRecord { email, limits: before.limits.patched(&limits), ..before.clone() };
        if after == before {
            return Ok(before);
        }
        let event = caller.event(self.0.clock.now(), "owner.update", after.id.as_str());
        let event = digests::with(event, Some(&json!(before)), Some(&json!(after)));
        let applied = self.0.store.apply(vec![Change::UpdateOwner(after.clone())], event).await?;
        self.0.grants.owner_changed(&after.id, applied.seq);
        Ok(OwnerRecord { version: after.version + 1, ..after })
    }

    /// Archives an owner: it gets no new keys; those that it has go on. Again: nothing changes.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn archive_owner(&self, id: &OwnerId, caller: &Caller) -> Result<OwnerRecord, ServiceError> {
        let mut owner = self.owner(id.as_str()).await?;
        if owner.archived_at.is_some() {
            return Ok(owner);
        }
        let now = self.0.clock.now();
        let before = json!(owner);
        owner.archived_at = Some(now);
        let event = caller.event(now, "owner.archive", id.as_str()).with("name", &*owner.name);
        let event = digests::with(event, Some(&before), Some(&json!(owner)));
        self.0.store.apply(vec![Change::UpdateOwner(owner.clone())], event).await?;
        owner.version += 1;
        Ok(owner)
    }

    /// Where a new key goes: the one that is named, or the first that is not archived.
    pub(crate) async fn home(
        &self,
        workspace: Option<&str>,
        owner: Option<&str>,
    ) -> Result<(WorkspaceId, OwnerId), ServiceError> {
        let workspace = match workspace {
            Some(wanted) => self.workspace(wanted).await?,
            None => {
                let first = self.0.store.first_workspace().await?;
                first
                    .ok_or_else(|| ServiceError::invalid("workspace", "there is none yet: make one first"))?
            }
        };
        let owner = match owner {
            Some(wanted) => self.owner(wanted).await?,
            None => {
                let first = self.0.store.first_owner().await?;
                first.ok_or_else(|| ServiceError::invalid("owner", "there is none yet: make one first"))?
            }
        };
        if workspace.archived_at.is_some() {
            return Err(ServiceError::conflict("workspace", format!("`{}` is archived", workspace.name)));
        }
        if owner.archived_at.is_some() {
            return Err(ServiceError::conflict("owner", format!("`{}` is archived", owner.name)));
        }
        Ok((workspace.id, owner.id))
    }
}

fn fresh(what: &'static str, version: i64, expected: Option<i64>) -> Result<(), ServiceError> {
    if expected.is_some_and(|expected| expected != version) {
        return Err(ServiceError::Stale { what, version });
    }
    Ok(())
}

fn check_email(email: &str) -> Result<(), ServiceError> {
    let legal = |c: char| !c.is_control() && !c.is_whitespace();
    match email.split_once('@') {
        Some((local, domain))
            if !local.is_empty() && !domain.is_empty() && email.len() <= 254 && email.chars().all(legal) =>
        {
            Ok(())
        }
        Some(_) | None => Err(ServiceError::invalid("email", "expected an address such as ann@example.com")),
    }
}
