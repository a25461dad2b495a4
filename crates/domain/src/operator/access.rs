//! THE rule of who may do what, and what it takes: from the holder, the verb and its effect in this case.

use super::{
    Role,
    token::is_for_people,
    verb::{Area, Effect, Verb},
};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder<'a> {
    /// Whoever reaches the socket while no operator is enrolled: the owner of this machine's user.
    Local,
    /// A person, by a session.
    Person,
    /// A machine, by a token with these verbs; none: all that read or change.
    Machine(&'a [Verb]),
    /// Whoever opened the sealed code.
    BreakGlass,
}

/// What is asked, by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Who asks.
    pub holder: Holder<'a>,
    /// Their role, and that of whoever minted their token: both must have the verb.
    pub roles: [Role; 2],
    /// Whether they see one workspace only.
    pub is_bound: bool,
    /// What they want to do.
    pub verb: Verb,
    /// What it does in this case.
    pub effect: Effect,
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Their role lacks the verb.
    #[error("the role {} may not use {}", role.as_str(), verb.as_str())]
    Role {
        /// The role.
        role: Role,
        /// The verb.
        verb: Verb,
    },
    /// It is bound to a workspace, and the verb reaches beyond.
    #[error("a role of one workspace may not use {}", .0.as_str())]
    Bound(Verb),
    /// No machine may.
    #[error("{} is for people: log in instead of using a machine's token", .0.as_str())]
    Machine(Verb),
    /// This machine may not: the verb does not stand in its list.
    #[error("this token was not minted with {}", .0.as_str())]
    NotListed(Verb),
    /// Break-glass may not.
    #[error("a break-glass session may not use {}", .0.as_str())]
    BreakGlass(Verb),
}

/// What it takes beside the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// A fresh second factor, bound to the action.
    pub second_factor: bool,
    /// Another person's approval.
    pub second_person: bool,
}

/// Whether the request may be, and what it takes.
///
/// # Errors
/// [`Denied`] says why not.
pub fn judge(request: &Request<'_>) -> Result<Needs, Denied> {
    let Request { holder, roles, is_bound, verb, effect } = *request;
    if holder == Holder::Local {
        return Ok(Needs { second_factor: false, second_person: false });
    }
    if is_bound && !matches!(verb.area(), Area::Workspace | Area::Own) {
        return Err(Denied::Bound(verb));
    }
    if let Some(role) = roles.into_iter().find(|role| !verb.is_open_to(*role, is_bound)) {
        return Err(Denied::Role { role, verb });
    }
    let person =
        Needs { second_factor: effect.needs_second_factor(), second_person: effect.needs_second_person() };
    match holder {
        Holder::Local | Holder::Person => Ok(person),
        Holder::Machine(verbs) => {
            if is_for_people(verb) {
                return Err(Denied::Machine(verb));
            }
            let is_listed = verbs.contains(&verb);
            let is_own = matches!(verb, Verb::SessionShow | Verb::SessionEnd | Verb::StatusShow);
            if !is_listed && (effect.needs_second_factor() || !verbs.is_empty() && !is_own) {
                return Err(Denied::NotListed(verb));
            }
            // A person proved the second factor when they minted it with this verb.
            Ok(Needs { second_factor: false, ..person })
        }
        Holder::BreakGlass if is_beyond_break_glass(verb) => Err(Denied::BreakGlass(verb)),
        Holder::BreakGlass => Ok(Needs { second_factor: false, second_person: false }),
    }
}

/// What would hide that break-glass was used, or open it again.
const fn is_beyond_break_glass(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::BreakGlassPrepare
            | Verb::BreakGlassReview
            | Verb::ChannelRemove
            | Verb::ChannelUpdate
            | Verb::ApprovalApprove
            | Verb::SessionStepUp
            | Verb::SessionEnrol
            | Verb::OperatorTokenCreate
    ) || matches!(verb.area(), Area::Audit) && !matches!(verb.effect(), Effect::Read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(holder: Holder<'_>, role: Role, verb: Verb) -> Result<Needs, Denied> {
        judge(&Request { holder, roles: [role, Role::Owner], is_bound: false, verb, effect: verb.effect() })
    }

    #[test]
    fn a_machine_does_nothing_that_is_for_people_and_grants_only_what_it_was_minted_with() {
        for verb in Verb::ALL {
            let listed = ask(Holder::Machine(Verb::ALL), Role::Owner, *verb);
            let unlisted = ask(Holder::Machine(&[]), Role::Owner, *verb);
            if is_for_people(*verb) {
                assert_eq!(listed, Err(Denied::Machine(*verb)));
            } else {
                assert_eq!(listed.map(|needs| needs.second_factor), Ok(false));
                assert_eq!(unlisted.is_ok(), !verb.effect().needs_second_factor(), "{}", verb.as_str());
            }
        }
        assert!(is_for_people(Verb::OperatorTokenCreate) && is_for_people(Verb::OperatorAdd));
        let narrow = Holder::Machine(&[Verb::KeyList]);
        assert!(ask(narrow, Role::Admin, Verb::KeyList).is_ok());
        assert_eq!(ask(narrow, Role::Admin, Verb::KeyShow), Err(Denied::NotListed(Verb::KeyShow)));
        assert_eq!(
            ask(Holder::Machine(Verb::ALL), Role::Owner, Verb::KeyPurge).map(|n| n.second_person),
            Ok(true)
        );
    }

    #[test]
    fn a_token_never_has_more_than_its_operator_has_now() {
        let roles = [Role::Admin, Role::Viewer];
        let verb = Verb::KeyRevoke;
        let request =
            Request { holder: Holder::Machine(&[]), roles, is_bound: false, verb, effect: verb.effect() };
        assert_eq!(judge(&request), Err(Denied::Role { role: Role::Viewer, verb }));
    }

    #[test]
    fn break_glass_asks_nobody_but_cannot_hide_itself() {
        let free = Needs { second_factor: false, second_person: false };
        assert_eq!(ask(Holder::BreakGlass, Role::Owner, Verb::OperatorAdd), Ok(free));
        assert_eq!(ask(Holder::BreakGlass, Role::Owner, Verb::KeyPurge), Ok(free));
        for verb in [Verb::BreakGlassPrepare, Verb::ChannelRemove, Verb::AuditExport, Verb::ApprovalApprove] {
            assert_eq!(ask(Holder::BreakGlass, Role::Owner, verb), Err(Denied::BreakGlass(verb)));
        }
        assert!(ask(Holder::BreakGlass, Role::Owner, Verb::AuditVerify).is_ok());
    }

    #[test]
    fn what_an_update_does_in_this_case_decides_what_it_takes() {
        let ask = |effect| {
            let verb = Verb::KeyUpdate;
            judge(&Request { holder: Holder::Person, roles: [Role::Admin; 2], is_bound: true, verb, effect })
        };
        let needs = |second_factor, second_person| Ok(Needs { second_factor, second_person });
        assert_eq!(ask(Effect::Change), needs(false, false));
        assert_eq!(ask(Effect::Grant), needs(true, false));
        assert_eq!(ask(Effect::Destroy), needs(true, true));
    }
}
