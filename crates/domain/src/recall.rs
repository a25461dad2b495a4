//! When two requests are one question: the response cache gives the answer to one as the answer to the other only if
//! everything that can change an answer is the same.

use crate::{
    audit::{Digest, canonical::Canonical, chain::sha256},
    id::{CredentialId, WorkspaceId},
    token::KeyClass,
};

const FORM: &str = "claviger/question/v1";

/// Everything that decides an answer, in one digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question(Digest);

/// What decides an answer.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Whose words are in it: no workspace is given another's answers.
    pub workspace: &'a WorkspaceId,
    /// The simulator's answers are nobody else's.
    pub class: KeyClass,
    /// The one credential that can carry the request; `None`: any that serves the workspace.
    pub credential: Option<&'a CredentialId>,
    /// Path and query, as they were sent.
    pub target: &'a str,
    /// The words of `anthropic-beta`, in any order.
    pub betas: Vec<&'a str>,
    /// Names and values of the other headers that the API goes by: `anthropic-version`, `anthropic-workspace-id` and
    /// whatever else begins so.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// Digest of what the body says.
    pub body: [u8; 32],
}

impl Question {
    /// The question that these facts ask.
    #[must_use]
    pub fn of(facts: Facts<'_>) -> Self {
        let Facts { workspace, class, credential, target, mut betas, mut headers, body } = facts;
        let mut out = Canonical::new(FORM);
        out.text(workspace.as_str());
        out.text(class.as_str());
        out.optional(credential.map(CredentialId::as_str));
        out.text(target);
        betas.sort_unstable();
        betas.dedup();
        out.count(betas.len() as u64);
        betas.iter().for_each(|beta| out.text(beta));
        // Stable: of one header's lines the order may matter.
        headers.sort_by_key(|(name, _)| *name);
        out.count(headers.len() as u64);
        for (name, value) in headers {
            out.text(name);
            out.bytes(value);
        }
        out.bytes(&body);
        Self(sha256(&[&out.finish()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Facts<'_>);

    #[test]
    fn whatever_can_change_an_answer_makes_another_question() {
        let ids: Vec<WorkspaceId> = ["ws_a", "ws_b"].map(|id| WorkspaceId::parse(id).unwrap()).to_vec();
        let credentials = ["cred_a", "cred_b"].map(|id| CredentialId::parse(id).unwrap());
        let facts = |at: usize, credential: Option<usize>| Facts {
            workspace: &ids[at],
            class: KeyClass::Live,
            credential: credential.map(|n| &credentials[n]),
            target: "/v1/messages?beta=true",
            betas: vec!["b-1", "a-1"],
            headers: vec![("anthropic-version", b"2023-06-01"), ("anthropic-x", b"1"), ("anthropic-x", b"2")],
            body: [7; 32],
        };
        let asked = |change: Change| {
            let mut facts = facts(0, None);
            change(&mut facts);
            Question::of(facts)
        };
        let changes: [Change; 14] = [
            |_| (),
            |f| f.class = KeyClass::Test,
            |f| f.target = "/v1/messages",
            |f| f.target = "/v1/messages?beta=true&x=1",
            |f| f.betas = vec!["a-1"],
            |f| f.betas = vec!["a-1", "b-2"],
            |f| f.betas = vec!["a-1b-1"],
            |f| f.betas.clear(),
            |f| f.headers[0].1 = b"2024-01-01",
            |f| f.headers[1].0 = "anthropic-y",
            |f| f.headers.truncate(2),
            |f| f.headers.swap(1, 2),
            |f| f.headers.clear(),
            |f| f.body = [8; 32],
        ];
        let mut all: Vec<Question> = changes.iter().map(|change| asked(*change)).collect();
        all.push(Question::of(facts(1, None)));
        all.push(Question::of(facts(0, Some(0))));
        all.push(Question::of(facts(0, Some(1))));
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "change {at} makes no other question");
        }
        let equal: [Change; 3] =
            [|f| f.betas.reverse(), |f| f.betas.push("a-1"), |f| f.headers.rotate_left(1)];
        for change in equal {
            assert_eq!(asked(change), all[0]);
        }
    }
}
