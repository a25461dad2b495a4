//! What others may know of a token (RFC 7662): those of its own workspace, and nobody else.

use std::sync::Arc;

use claviger_domain::{
    access_token::AccessClaims,
    id::WorkspaceId,
    jose::looks_like_jws,
    refresh::Family,
    token::side::{SideToken, SideUse},
};

use super::{TokenRefusal, Tokens};
use crate::{ServiceError, grants::VerifyError};

/// What a token is.
#[derive(Debug, Clone)]
pub enum Introspection {
    /// Not one that works, or not one that the asker may know of.
    Inactive,
    /// An access token that works.
    Access(Arc<AccessClaims>),
    /// A refresh token that works.
    Refresh(Box<Family>),
}

impl Tokens {
    /// Looks at a token for somebody of a workspace; `None`: for somebody who may see all.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn introspect(
        &self,
        text: &[u8],
        issuer: &str,
        asker: Option<&WorkspaceId>,
    ) -> Result<Introspection, ServiceError> {
        let deps = &self.0.deps;
        let may = |workspace: &WorkspaceId| asker.is_none_or(|asker| asker == workspace);
        let away = || ServiceError::Unavailable("tokens cannot be verified now".to_owned());
        if looks_like_jws(text) {
            return match self.verify(text, issuer).await {
                Ok(shown) if may(&shown.claims.workspace) => Ok(Introspection::Access(shown.claims)),
                Err(TokenRefusal::Unavailable | TokenRefusal::Busy) => Err(away()),
                Ok(_) | Err(_) => Ok(Introspection::Inactive),
            };
        }
        let Ok(token) = SideToken::parse(deps.brand, SideUse::Refresh, text) else {
            return Ok(Introspection::Inactive);
        };
        let _turn = self.0.lookups.try_acquire().map_err(|_| away())?;
        let Some((row, family)) = self.find(&token).await? else { return Ok(Introspection::Inactive) };
        let current = row.generation == family.generation && family.is_live(deps.clock.now());
        if !current || !may(&family.workspace) {
            return Ok(Introspection::Inactive);
        }
        match deps.grants.by_id(&family.key).await {
            Ok(_) => Ok(Introspection::Refresh(Box::new(family))),
            Err(VerifyError::Auth(_)) => Ok(Introspection::Inactive),
            Err(VerifyError::Unavailable | VerifyError::Busy) => Err(away()),
        }
    }
}
