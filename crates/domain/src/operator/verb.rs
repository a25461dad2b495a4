//! THE list of what can be administered. From a verb's effect and area follow the roles that may use it, and whether
//! a second factor or a second person is needed.

use super::Role;

/// What using a verb does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing changes.
    Read,
    /// Something changes, and nothing gets easier for anyone.
    Change,
    /// Somebody gets something new: a second factor is needed.
    Grant,
    /// Data leave: a second factor is needed.
    Export,
    /// Something is destroyed or a guard is loosened: a second factor and a second person are needed.
    Destroy,
}

/// What a verb is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Area {
    /// What belongs to one workspace: keys, their rotations, policies and certificates.
    Workspace,
    /// What all workspaces share: upstreams, channels, jobs, settings.
    Installation,
    /// The audit log.
    Audit,
    /// Operators themselves.
    Operators,
    /// The operator's own session, approvals that wait for them: open to every role.
    Own,
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $effect:ident, $area:ident;)+) => {
        /// Something that an operator can do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Verb {
            $($(#[$doc])* $name,)+
        }

        impl Verb {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// As in audit records and approvals.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// What using it does.
            #[must_use]
            pub const fn effect(self) -> Effect {
                match self { $(Self::$name => Effect::$effect,)+ }
            }

            /// What it is about.
            #[must_use]
            pub const fn area(self) -> Area {
                match self { $(Self::$name => Area::$area,)+ }
            }
        }
    };
}

verbs! {
    /// Make a key.
    KeyCreate = "key.create", Grant, Workspace;
    /// Make many keys from a table.
    KeyImport = "key.import", Grant, Workspace;
    /// List keys.
    KeyList = "key.list", Read, Workspace;
    /// Show a key.
    KeyShow = "key.show", Read, Workspace;
    /// Show a key's limits and what is left of them.
    KeyLimits = "key.limits", Read, Workspace;
    /// Say what a string is, check by check.
    KeyInspect = "key.inspect", Read, Workspace;
    /// Change a key. A change that widens it is judged as a [`Effect::Grant`], one that drops its address list as
    /// [`Effect::Destroy`].
    KeyUpdate = "key.update", Change, Workspace;
    /// Refuse a key until it is resumed.
    KeySuspend = "key.suspend", Change, Workspace;
    /// Let a suspended key work again.
    KeyResume = "key.resume", Change, Workspace;
    /// End a key for ever.
    KeyRevoke = "key.revoke", Change, Workspace;
    /// Forget a dead key's MAC.
    KeyPurge = "key.purge", Destroy, Workspace;
    /// List the tokens that a key has bought.
    TokenList = "token.list", Read, Workspace;
    /// Refuse the tokens that a key has bought.
    TokenRevoke = "token.revoke", Change, Workspace;
    /// Make a key's successor.
    KeyRotate = "key.rotate", Grant, Workspace;
    /// Show what a key's signatures are verified with.
    KeySigningShow = "key.signing.show", Read, Workspace;
    /// Give a key a new signing secret.
    KeySigningRotate = "key.signing.rotate", Grant, Workspace;
    /// List rotations.
    RotationList = "rotation.list", Read, Workspace;
    /// Show a rotation.
    RotationShow = "rotation.show", Read, Workspace;
    /// Give a rotation up while the old key lives.
    RotationCancel = "rotation.cancel", Change, Workspace;
    /// Go back to the old key.
    RotationRollback = "rotation.rollback", Change, Workspace;
    /// Wrap a successor that nobody uses yet anew.
    RotationRedeliver = "rotation.redeliver", Grant, Workspace;
    /// Look at a wrapping token without opening it.
    WrappingShow = "wrapping.show", Read, Workspace;
    /// List certificates of revocation.
    CertificateList = "certificate.list", Read, Workspace;
    /// Show a certificate.
    CertificateShow = "certificate.show", Read, Workspace;
    /// Show the key that certificates are verified with.
    CertificatePublicKey = "certificate.public_key", Read, Own;
    /// Show a workspace's policy.
    PolicyShow = "policy.show", Read, Workspace;
    /// List policies.
    PolicyList = "policy.list", Read, Workspace;
    /// Set a workspace's policy. A change that loosens it is judged as a [`Effect::Destroy`].
    PolicySet = "policy.set", Change, Workspace;
    /// Drop a workspace's policy, so that the default holds.
    PolicyDrop = "policy.drop", Destroy, Workspace;
    /// List budgets and how they stand.
    BudgetList = "budget.list", Read, Installation;
    /// Set a ceiling on money, or change it; raising one loosens a guard.
    BudgetSet = "budget.set", Change, Installation;
    /// Drop a budget: it binds nobody any more.
    BudgetDrop = "budget.drop", Destroy, Installation;
    /// Open an account of prepaid credit: its subject spends only what is paid in.
    CreditOpen = "credit.open", Change, Installation;
    /// List accounts of prepaid credit.
    CreditList = "credit.list", Read, Installation;
    /// Show an account of prepaid credit.
    CreditShow = "credit.show", Read, Installation;
    /// List the entries of an account.
    CreditStatement = "credit.statement", Read, Installation;
    /// Book a payment.
    CreditTopUp = "credit.top_up", Grant, Installation;
    /// Set credit aside.
    CreditHold = "credit.hold", Change, Installation;
    /// Give back what was set aside.
    CreditRelease = "credit.release", Grant, Installation;
    /// Take what was set aside.
    CreditCapture = "credit.capture", Grant, Installation;
    /// Pay back.
    CreditRefund = "credit.refund", Grant, Installation;
    /// Correct an account.
    CreditAdjust = "credit.adjust", Grant, Installation;
    /// Prove that the book balances.
    CreditVerify = "credit.verify", Read, Installation;
    /// Show what is in the response cache.
    CacheShow = "cache.show", Read, Workspace;
    /// Throw away what the response cache keeps.
    CacheFlush = "cache.flush", Change, Workspace;
    /// List permission reviews.
    ReviewList = "review.list", Read, Workspace;
    /// Show what a key may do and did not use.
    ReviewShow = "review.show", Read, Workspace;
    /// Confirm or shrink what a key may do.
    ReviewDecide = "review.decide", Change, Workspace;
    /// Make a workspace.
    WorkspaceCreate = "workspace.create", Grant, Installation;
    /// List workspaces.
    WorkspaceList = "workspace.list", Read, Workspace;
    /// Change a workspace's environment class. A change to a laxer one is judged as [`Effect::Destroy`].
    WorkspaceUpdate = "workspace.update", Change, Workspace;
    /// Archive a workspace: its keys stop working.
    WorkspaceArchive = "workspace.archive", Destroy, Workspace;
    /// Make an owner.
    OwnerCreate = "owner.create", Change, Workspace;
    /// List owners.
    OwnerList = "owner.list", Read, Workspace;
    /// Change an owner's address.
    OwnerUpdate = "owner.update", Change, Installation;
    /// Archive an owner: it gets no new keys.
    OwnerArchive = "owner.archive", Change, Installation;
    /// Add an upstream.
    UpstreamAdd = "upstream.add", Grant, Installation;
    /// List upstreams.
    UpstreamList = "upstream.list", Read, Installation;
    /// Ask an upstream whether it answers.
    UpstreamProbe = "upstream.probe", Change, Installation;
    /// Remove an upstream.
    UpstreamRemove = "upstream.remove", Destroy, Installation;
    /// Seal a provider key.
    CredentialAdd = "credential.add", Grant, Installation;
    /// List credentials.
    CredentialList = "credential.list", Read, Installation;
    /// Remove a credential.
    CredentialRemove = "credential.remove", Destroy, Installation;
    /// Add an issuer of other platforms' identities.
    IssuerAdd = "issuer.add", Grant, Installation;
    /// List issuers.
    IssuerList = "issuer.list", Read, Installation;
    /// Take an issuer out.
    IssuerRemove = "issuer.remove", Change, Installation;
    /// Trust some identities: they buy keys.
    TrustAdd = "trust.add", Grant, Installation;
    /// List rules of trust.
    TrustList = "trust.list", Read, Installation;
    /// Show a rule of trust.
    TrustShow = "trust.show", Read, Installation;
    /// Take a rule of trust out.
    TrustRemove = "trust.remove", Change, Installation;
    /// Say what a token would get.
    TrustTest = "trust.test", Read, Installation;
    /// Who still uses the provider's own keys.
    CredentialUsage = "credential.usage", Read, Installation;
    /// The provider's bill held against the ledger.
    CostReconcile = "cost.reconcile", Read, Installation;
    /// Usage by key, model, day or workspace.
    UsageShow = "usage.show", Read, Workspace;
    /// What caching and batches saved.
    SavingsShow = "savings.show", Read, Workspace;
    /// Add a notice channel.
    ChannelAdd = "channel.add", Grant, Installation;
    /// List channels.
    ChannelList = "channel.list", Read, Installation;
    /// Send a trial notice.
    ChannelTest = "channel.test", Change, Installation;
    /// Change a channel. A change by which fewer notices reach fewer people is judged as [`Effect::Destroy`].
    ChannelUpdate = "channel.update", Grant, Installation;
    /// Remove a channel.
    ChannelRemove = "channel.remove", Destroy, Installation;
    /// List notices and how their delivery went.
    NoticeList = "notice.list", Read, Installation;
    /// Deliver a dead notice once more.
    NoticeRetry = "notice.retry", Change, Installation;
    /// List jobs.
    JobList = "job.list", Read, Installation;
    /// Run a job now.
    JobRun = "job.run", Change, Installation;
    /// List the keys that sign access tokens.
    TokenKeyList = "token_key.list", Read, Installation;
    /// Put the keys that sign access tokens out of use at once.
    TokenKeyRotate = "token_key.rotate", Grant, Installation;
    /// The weekly report.
    ReportShow = "report.show", Read, Installation;
    /// How fast and how well calls were answered.
    ReportPerformance = "report.performance", Read, Installation;
    /// Settings in force.
    SettingsShow = "settings.show", Read, Installation;
    /// How the process does.
    StatusShow = "status.show", Read, Own;
    /// Copy the database and what opens it.
    BackupMake = "backup.make", Export, Installation;
    /// Read the audit log.
    AuditList = "audit.list", Read, Audit;
    /// Export the audit log.
    AuditExport = "audit.export", Export, Audit;
    /// Verify the audit log.
    AuditVerify = "audit.verify", Read, Audit;
    /// The newest signed checkpoint.
    AuditCheckpoint = "audit.checkpoint", Read, Audit;
    /// Enrol an operator.
    OperatorAdd = "operator.add", Grant, Operators;
    /// List operators.
    OperatorList = "operator.list", Read, Operators;
    /// Change an operator's role or reset what they know.
    OperatorUpdate = "operator.update", Grant, Operators;
    /// Remove an operator.
    OperatorRemove = "operator.remove", Destroy, Operators;
    /// Make a machine's operator token. Never with an operator token.
    OperatorTokenCreate = "operator.token.create", Grant, Operators;
    /// List operator tokens.
    OperatorTokenList = "operator.token.list", Read, Operators;
    /// Revoke an operator token.
    OperatorTokenRevoke = "operator.token.revoke", Change, Operators;
    /// Make the sealed code that opens everything for 15 minutes.
    BreakGlassPrepare = "break_glass.prepare", Destroy, Operators;
    /// Write down what a break-glass session did, and why.
    BreakGlassReview = "break_glass.review", Change, Operators;
    /// The operator's own session.
    SessionShow = "session.show", Read, Own;
    /// End the operator's own session.
    SessionEnd = "session.end", Change, Own;
    /// Prove the second factor for an action.
    SessionStepUp = "session.step_up", Change, Own;
    /// Change the operator's own password or second factor.
    SessionEnrol = "session.enrol", Change, Own;
    /// List requests that wait for a second person.
    ApprovalList = "approval.list", Read, Own;
    /// Show a request that waits or waited, and what was answered.
    ApprovalShow = "approval.show", Read, Own;
    /// Take the answer to one's own request; a secret in it once.
    ApprovalAnswer = "approval.answer", Change, Own;
    /// Approve somebody else's request.
    ApprovalApprove = "approval.approve", Change, Own;
    /// Deny somebody else's request, or withdraw one's own.
    ApprovalDeny = "approval.deny", Change, Own;
}

impl Verb {
    /// The reverse of [`Verb::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|v| v.as_str() == text)
    }

    /// Whether a role may use it at all. A role that is bound to a workspace may use what is about workspaces only,
    /// and its own.
    #[must_use]
    pub const fn is_open_to(self, role: Role, bound_to_workspace: bool) -> bool {
        let area = self.area();
        if bound_to_workspace && !matches!(area, Area::Workspace | Area::Own) {
            return false;
        }
        match (role, area, self.effect()) {
            (Role::Owner, _, _) | (_, Area::Own, _) => true,
            (Role::Admin, Area::Workspace | Area::Installation, _) => true,
            // Those who act must not be those who keep the record: admins read the log, auditors export it.
            (Role::Admin, Area::Audit, Effect::Read) => true,
            (Role::Auditor, Area::Audit, _) => true,
            (Role::Auditor, _, Effect::Read) => true,
            (Role::Viewer, Area::Workspace | Area::Installation, Effect::Read) => true,
            (Role::Admin | Role::Auditor | Role::Viewer, _, _) => false,
        }
    }
}

impl Effect {
    /// Whether a second factor, not older than five minutes and bound to the action, is needed.
    #[must_use]
    pub const fn needs_second_factor(self) -> bool {
        match self {
            Self::Grant | Self::Export | Self::Destroy => true,
            Self::Read | Self::Change => false,
        }
    }

    /// Whether a second person must agree.
    #[must_use]
    pub const fn needs_second_person(self) -> bool {
        matches!(self, Self::Destroy)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_verb_has_its_own_name_and_reads_back() {
        let names: HashSet<&str> = Verb::ALL.iter().map(|v| v.as_str()).collect();
        assert_eq!(names.len(), Verb::ALL.len());
        assert!(Verb::ALL.iter().all(|v| Verb::parse(v.as_str()) == Some(*v)));
        assert_eq!(Verb::parse("key.steal"), None);
    }

    #[test]
    fn auditors_and_viewers_change_nothing_but_their_own() {
        for verb in Verb::ALL {
            let changes = !matches!(verb.effect(), Effect::Read | Effect::Export);
            if changes && verb.area() != Area::Own {
                assert!(!verb.is_open_to(Role::Auditor, false), "{}", verb.as_str());
                assert!(!verb.is_open_to(Role::Viewer, false), "{}", verb.as_str());
            }
            assert!(verb.is_open_to(Role::Owner, false), "{}", verb.as_str());
        }
    }

    #[test]
    fn a_role_of_one_workspace_reaches_nothing_beyond_it() {
        for verb in Verb::ALL.iter().filter(|v| v.is_open_to(Role::Owner, true)) {
            assert!(matches!(verb.area(), Area::Workspace | Area::Own), "{}", verb.as_str());
        }
        assert!(Verb::KeyCreate.is_open_to(Role::Admin, true));
        assert!(!Verb::AuditList.is_open_to(Role::Viewer, false));
        assert!(!Verb::OperatorAdd.is_open_to(Role::Admin, false));
    }
}
