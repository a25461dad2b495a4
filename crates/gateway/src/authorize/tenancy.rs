//! Whose is what the request names? Another workspace's ids do not exist for it.

use claviger_domain::{
    id::{CredentialId, WorkspaceId},
    permission::Endpoint,
    tenancy::Resource,
    token::KeyClass,
};

use super::{AuthorizeError, Destination, Payload};
use crate::{
    authenticate::Caller,
    path::{Operation, cursors},
    receive::Head,
    worker::Shared,
};

/// Checks every id in path and body, and finds the credential that can reach them.
pub(super) async fn check(
    shared: &Shared,
    head: &Head,
    caller: &Caller,
    payload: &Payload,
) -> Result<Destination, AuthorizeError> {
    let key = &caller.live.grant.key;
    // The simulator keeps what each workspace made with it apart by itself.
    if key.class == KeyClass::Test {
        return Ok(Destination::Any);
    }
    let mut reach = Reach { credential: None, bound: head.operation == Operation::Other };
    if let Some(id) = head.operation.resource_id() {
        let kind = if head.operation.endpoint() == Endpoint::Files { "File" } else { "Batch" };
        reach.add(find(shared, &key.workspace, kind, id).await?)?;
    }
    if let Operation::ListBatches | Operation::ListFiles = head.operation {
        let kind = if head.operation == Operation::ListFiles { "File" } else { "Batch" };
        for (name, id) in cursors(head.uri.query()) {
            if name != "page" {
                reach.add(find(shared, &key.workspace, kind, &id).await?)?;
            } else if let Some(known) = known(shared, &key.workspace, kind, &id).await? {
                // A token of the provider's own making is nobody's id, but it could be one.
                reach.add(Some(known))?;
            }
        }
    }
    for named in payload.named() {
        reach.add(find(shared, &key.workspace, named.kind, &named.id).await?)?;
    }
    reach.destination(shared, &key.workspace)
}

/// Where the ids seen so far can be reached.
struct Reach {
    /// The credential of those that are known.
    credential: Option<CredentialId>,
    /// One is not known, so it may be sent only where nobody else's are.
    bound: bool,
}

impl Reach {
    fn add(&mut self, found: Option<Resource>) -> Result<(), AuthorizeError> {
        match (&self.credential, found) {
            (_, None) => self.bound = true,
            (None, Some(found)) => self.credential = Some(found.credential),
            (Some(known), Some(found)) if *known == found.credential => {}
            (Some(_), Some(_)) => return Err(AuthorizeError::Scattered),
        }
        Ok(())
    }

    fn destination(self, shared: &Shared, workspace: &WorkspaceId) -> Result<Destination, AuthorizeError> {
        let Some(credential) = self.credential else {
            return Ok(if self.bound { Destination::Bound } else { Destination::Any });
        };
        let table = shared.services.routes.snapshot();
        let entry = table.by_credential(&credential);
        let serves_it_alone = entry.is_some_and(|e| e.credential.workspace.as_ref() == Some(workspace));
        if self.bound && !serves_it_alone {
            return Err(AuthorizeError::Scattered);
        }
        Ok(Destination::Credential(credential))
    }
}

/// The workspace's own resource of this id. One that nobody is known to have made may be named only where the
/// credential serves this workspace alone: nobody else can have made it then.
async fn find(
    shared: &Shared,
    workspace: &WorkspaceId,
    kind: &'static str,
    id: &str,
) -> Result<Option<Resource>, AuthorizeError> {
    let found = known(shared, workspace, kind, id).await?;
    let table = shared.services.routes.snapshot();
    let bound = || table.for_workspace(workspace).any(|e| e.credential.workspace.is_some());
    if found.is_some() || bound() { Ok(found) } else { Err(AuthorizeError::NotFound { kind, id: id.into() }) }
}

/// The workspace's own resource of this id, if anybody is known to have made it.
async fn known(
    shared: &Shared,
    workspace: &WorkspaceId,
    kind: &'static str,
    id: &str,
) -> Result<Option<Resource>, AuthorizeError> {
    let found = shared.services.resources.find(id).await.map_err(AuthorizeError::Unavailable)?;
    if found.as_ref().is_some_and(|f| f.workspace != *workspace) {
        return Err(AuthorizeError::NotFound { kind, id: id.into() });
    }
    Ok(found)
}
