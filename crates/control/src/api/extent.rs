//! Which calls a report is about, as asked for.

use claviger_service::reports::Extent;

use super::keys;
use crate::{problem::Problem, state::ControlState};

/// As it came.
pub struct ExtentParams {
    /// Only of this key.
    pub key: Option<String>,
    /// Only of this workspace, by id or name.
    pub workspace: Option<String>,
    /// From this moment on.
    pub since: Option<String>,
    /// Before this moment.
    pub until: Option<String>,
}

impl ExtentParams {
    /// As the reports take it.
    ///
    /// # Errors
    /// A problem with status 400 or 404.
    pub async fn extent(self, state: &ControlState) -> Result<Extent, Problem> {
        let workspace = match &self.workspace {
            Some(wanted) => Some(state.services.tenants.workspace(wanted).await?.id),
            None => None,
        };
        Ok(Extent {
            from: self.since.as_deref().map(|t| keys::moment("since", t)).transpose()?,
            until: self.until.as_deref().map(|t| keys::moment("until", t)).transpose()?,
            key: self.key.as_deref().map(keys::key_id).transpose()?,
            workspace,
        })
    }
}
