//! Who asks at the counter. A key that demands more than itself demands it here, too, but for an access token, which is
//! what is bought: whoever stole the key alone buys nothing, and renews nothing. Clients of OAuth cannot sign what they
//! ask here. So a key that is used with tokens does not demand it: each call with such a token must be signed, and what
//! is bought unsigned makes no other token give way.

use std::sync::Arc;

use claviger_domain::{
    access_token::Confirmation,
    clock::Timestamp,
    dpop::DpopError,
    grant::AuthFailure,
    proof::{Proof, Proofs},
    token::PublicId,
};
use claviger_service::{Caller as Asker, grants::LiveGrant};
use claviger_upstream::CredentialForm;

use super::{AuthError, Counter};
use crate::{
    authenticate::{AuthenticateError, Caller, basic_key, prove_key, shown},
    prove::{self, Signed},
    sender::{self, SenderError},
};

impl Counter<'_> {
    /// Whose key it is, proved as the key demands, allowed here and not too often; and what of the sender was proved.
    pub(super) async fn client(&mut self) -> Result<(Arc<LiveGrant>, Confirmation), AuthError> {
        let brand = self.shared.config().brand;
        let grants = &self.shared.services.grants;
        let live = match basic_key(&self.head.headers).map_err(AuthenticateError::from)? {
            Some((id, key)) => {
                // One way to show who asks (RFC 6749, 2.3); in two, they say the same.
                if self.form.get("client_secret").is_some_and(|secret| secret.as_bytes() != key.as_slice()) {
                    return Err(AuthenticateError::from(AuthFailure::Conflicting).into());
                }
                let live = prove_key(grants, brand, &key).await?;
                let named = live.grant.key.id.as_str();
                if named != id || self.form.get("client_id").is_some_and(|other| named != other) {
                    return Err(AuthenticateError::other_client(&live).into());
                }
                live
            }
            None => {
                let shown = self.shown().map_err(AuthenticateError::from)?;
                let live = prove_key(grants, brand, shown).await?;
                if self.form.get("client_id").is_some_and(|id| live.grant.key.id.as_str() != id) {
                    return Err(AuthenticateError::other_client(&live).into());
                }
                live
            }
        };
        let key = &live.grant.key;
        let confirmation = self.proved(&live, (key.public_id, key.created_at)).await?;
        live.check_place(self.head.client_ip, self.head.at)?;
        self.shared.services.tokens.count(&live, self.head.at)?;
        Ok((live, confirmation))
    }

    /// The key in a header, or in the form (RFC 6749, 2.3.1); in both, it is the same.
    fn shown(&self) -> Result<&[u8], AuthFailure> {
        match (shown(&self.head.headers), self.form.get("client_secret")) {
            (Err(AuthFailure::Missing), Some(secret)) => Ok(secret.as_bytes()),
            (Ok(shown), Some(secret)) if shown.text != secret.as_bytes() => Err(AuthFailure::Conflicting),
            (shown, _) => shown.map(|shown| shown.text),
        }
    }

    /// Whoever renews proves what the key demands, and to be whom the refresh token is bound to. A token that was spent
    /// for good needs no proof: whoever shows it ends its family.
    pub(super) async fn holder(&mut self, token: &[u8], asker: &Asker) -> Result<Confirmation, AuthError> {
        let held = self.shared.services.tokens.held(token, asker).await?;
        if held.is_spent {
            return Ok(Confirmation::default());
        }
        self.proved(&held.live, (held.token, held.since)).await
    }

    /// All that the key demands but an access token; proofs of possession are counted among the uses of `whose`,
    /// which there is since that moment.
    async fn proved(
        &mut self,
        live: &Arc<LiveGrant>,
        whose: (PublicId, Timestamp),
    ) -> Result<Confirmation, AuthError> {
        let (shared, head) = (self.shared, self.head);
        let proves = head.headers.contains_key(sender::PROOF);
        let mut proofs = sender::certificate(live, head)?;
        let demanded = live.demanded();
        if demanded.contains(Proof::Mtls) && !proofs.contains(Proof::Mtls) {
            return Err(SenderError::CertificateRequired.into());
        }
        if demanded.contains(Proof::Dpop) && !proves {
            return Err(SenderError::Dpop(DpopError::Missing).into());
        }
        if proves {
            // Shown, and judged below.
            proofs = proofs.with(Proof::Dpop);
        }
        let form = CredentialForm::of(&head.headers);
        let mut caller =
            Caller { live: Arc::clone(live), form, proofs, token: None, signed: Signed::default() };
        let token = Proofs::NONE.with(Proof::Token);
        let excused = if demanded.contains(Proof::Token) { token.with(Proof::Signature) } else { token };
        self.yields = demanded.contains(Proof::Signature) && self.claim.is_none();
        let proving = prove::begin(shared, head, &mut caller, self.claim.take(), excused)?;
        proving.whole(shared, self.body).await?;
        Ok(sender::confirmation(shared, head, whose).await?)
    }
}
