//! What is there, as far as a declaration speaks of it.

use std::collections::{BTreeMap, BTreeSet};

use claviger_control::api::{
    keys::signing::{SignerView, SigningView},
    policies::PolicyView,
    view::{KeyView, OwnerView, WorkspaceView},
};
use claviger_domain::signature::secret::SigningKind;
use claviger_service::channels::CONFIGURED;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::declaration::Declaration;
use crate::cli::{
    client::{Client, query, segment},
    output::CliError,
};

/// What a comparison is made with.
pub struct Present {
    /// Workspaces, archived ones too.
    pub workspaces: Vec<WorkspaceView>,
    /// Owners, archived ones too.
    pub owners: Vec<OwnerView>,
    /// Living keys of the workspaces that are spoken of, by creation.
    pub keys: Vec<KeyView>,
    /// Those of them, by id, that shall have a signing secret and have one.
    pub signs: BTreeSet<String>,
    /// What holds by default.
    pub default_policy: PolicyView,
    /// What holds in the workspaces that are spoken of, by id.
    pub policies: BTreeMap<String, PolicyView>,
    /// Channels, when any is declared.
    pub channels: Vec<ChannelRow>,
}

/// A channel, as it is listed.
#[derive(Deserialize)]
pub struct ChannelRow {
    /// `chn_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// `smtp` or `webhook`.
    pub kind: String,
    /// Where it goes.
    pub target: String,
    /// The mail server's particulars.
    #[serde(default)]
    pub smtp: Value,
    /// The webhook's.
    #[serde(default)]
    pub webhook: Value,
    /// Row version.
    pub version: i64,
    /// Only notices at least as grave as this.
    pub min_severity: String,
    /// Only of this workspace.
    pub workspace: Option<String>,
}

impl Present {
    /// Asks for all that the declaration speaks of.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn load(client: &Client, declared: &Declaration) -> Result<Self, CliError> {
        let workspaces: Vec<WorkspaceView> = read(client.list("/admin/v1/workspaces")?)?;
        let spoken_of: BTreeSet<&str> = declared
            .workspace
            .iter()
            .map(|w| w.name.get_ref())
            .chain(declared.key.iter().map(|k| k.workspace.get_ref()))
            .filter_map(|name| find(&workspaces, name).map(|w| w.id.as_str()))
            .collect();
        let mut keys: Vec<KeyView> = Vec::new();
        let mut policies = BTreeMap::new();
        for id in spoken_of {
            let whose = query(&[("workspace", Some(id.to_owned()))]);
            if !declared.key.is_empty() {
                keys.append(&mut read(client.list(&format!("/admin/v1/keys{whose}"))?)?);
            }
            policies.insert(id.to_owned(), read(client.get(&format!("/admin/v1/policy{whose}"))?)?);
        }
        // Children end with their parent, and nobody declares them.
        keys.retain(|key| key.parent.is_none() && is_living(&key.status));
        let mut channels: Vec<ChannelRow> = Vec::new();
        if !declared.channel.is_empty() {
            channels = read(client.list("/admin/v1/channels")?)?;
            channels.retain(|channel| channel.name != CONFIGURED);
        }
        let mut present = Self {
            owners: read(client.list("/admin/v1/owners")?)?,
            default_policy: read(client.get("/admin/v1/policy")?)?,
            workspaces,
            keys,
            signs: BTreeSet::new(),
            policies,
            channels,
        };
        present.signs = present.signing(client, declared)?;
        Ok(present)
    }

    /// Which of the keys that shall have a signing secret have one.
    fn signing(&self, client: &Client, declared: &Declaration) -> Result<BTreeSet<String>, CliError> {
        let mut signs = BTreeSet::new();
        for wanted in declared.key.iter().filter(|key| key.sign == Some(true)) {
            let workspace = self.workspace(wanted.workspace.get_ref());
            let Some(key) = workspace.and_then(|w| self.key(&w.id, wanted.name.get_ref())) else { continue };
            let view = client.get(&format!("/admin/v1/keys/{}/signing", segment(&key.id)))?;
            let view: SigningView = read(view)?;
            let is_secret = |signer: &SignerView| signer.kind == SigningKind::Hmac.as_str();
            if view.signers.iter().any(|signer| is_secret(signer) && signer.state == "current") {
                signs.insert(key.id.clone());
            }
        }
        Ok(signs)
    }

    /// A workspace by name or id.
    #[must_use]
    pub fn workspace(&self, wanted: &str) -> Option<&WorkspaceView> {
        find(&self.workspaces, wanted)
    }

    /// An owner by name or id.
    #[must_use]
    pub fn owner(&self, wanted: &str) -> Option<&OwnerView> {
        find(&self.owners, wanted)
    }

    /// The newest living key of this name in a workspace.
    #[must_use]
    pub fn key(&self, workspace: &str, name: &str) -> Option<&KeyView> {
        let is_it = |key: &&KeyView| key.workspace == workspace && key.name == name;
        self.keys.iter().filter(is_it).max_by_key(|key| key.created_at.0)
    }

    /// What a workspace is called.
    #[must_use]
    pub fn workspace_name<'a>(&'a self, id: &'a str) -> &'a str {
        self.workspaces.iter().find(|w| w.id == id).map_or(id, |w| w.name.as_str())
    }
}

/// Something with an id and a name.
pub trait Named {
    /// Its id and its name.
    fn names(&self) -> (&str, &str);
}

impl Named for WorkspaceView {
    fn names(&self) -> (&str, &str) {
        (&self.id, &self.name)
    }
}

impl Named for OwnerView {
    fn names(&self) -> (&str, &str) {
        (&self.id, &self.name)
    }
}

/// By id, else by name, as the API finds things.
fn find<'a, T: Named>(all: &'a [T], wanted: &str) -> Option<&'a T> {
    all.iter().find(|t| t.names().0 == wanted).or_else(|| all.iter().find(|t| t.names().1 == wanted))
}

fn is_living(status: &str) -> bool {
    matches!(status, "pending" | "active" | "deprecated" | "suspended")
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, CliError> {
    serde_json::from_value(value)
        .map_err(|e| CliError::failed(format!("the answer is not of the shape that this version knows: {e}")))
}

/// The path of something with an id.
#[must_use]
pub fn place(collection: &str, id: &str, verb: &str) -> String {
    format!("/admin/v1/{collection}/{}{verb}", segment(id))
}
