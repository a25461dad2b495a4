//! Workspaces and owners.

use std::sync::Arc;

use claviger_domain::{
    id::WorkspaceId,
    ports::Store,
    tenancy::{Environment, OwnerRecord, WorkspaceRecord},
};

use crate::{Caller, ServiceError};

/// Workspaces and owners.
#[derive(Clone)]
pub struct Tenants(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
}

impl Tenants {
    /// Makes a workspace.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`], [`ServiceError::Conflict`] when the name is taken.
    pub async fn create_workspace(
        &self,
        name: &str,
        environment: Environment,
        caller: &Caller,
    ) -> Result<WorkspaceRecord, ServiceError> {
        let _ = (name, environment, caller);
        Err(ServiceError::Unavailable(String::new()))
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
        Err(ServiceError::not_found("workspace", id_or_name))
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
        let _ = caller;
        Err(ServiceError::not_found("workspace", id))
    }

    /// Makes an owner.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`], [`ServiceError::Conflict`] when the name is taken.
    pub async fn create_owner(
        &self,
        name: &str,
        email: Option<&str>,
        caller: &Caller,
    ) -> Result<OwnerRecord, ServiceError> {
        let _ = (name, email, caller);
        Err(ServiceError::Unavailable(String::new()))
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
        Err(ServiceError::not_found("owner", id_or_name))
    }
}
