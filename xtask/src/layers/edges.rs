//! Which crate may import which.
//!
//! Imports point down only. A crate that is not in the table has no place in the house yet.

use anyhow::Context;
use serde::Deserialize;

use super::{Rule, Violation};

/// One crate's line in the table.
struct Layer {
    name: &'static str,
    /// Crates of ours that it may import.
    sees: &'static [&'static str],
    /// Crates of ours that its tests may import beside those.
    tests_see: &'static [&'static str],
    /// Foreign crates that may never be there.
    never: &'static [&'static str],
}

const ASYNC_AND_HTTP: &[&str] =
    &["tokio", "tokio-util", "hyper", "hyper-util", "http", "http-body", "axum", "tower", "rand", "tracing"];
const HTTP: &[&str] = &["hyper", "hyper-util", "http", "http-body", "axum", "tower"];
const TESTKIT: &[&str] = &["testkit"];
const TESTKIT_AND_SIM: &[&str] = &["testkit", "claude-sim"];

/// The house, top to bottom as the design draws it.
const LAYERS: [Layer; 14] = [
    Layer {
        name: "server",
        sees: &[
            "gateway",
            "control",
            "service",
            "storage",
            "seal",
            "notify",
            "upstream",
            "claude-wire",
            "claude-sim",
            "domain",
        ],
        // The Rust client is tried at the real gateway.
        tests_see: &["testkit", "client"],
        never: &[],
    },
    Layer {
        name: "gateway",
        sees: &["service", "upstream", "claude-wire", "domain"],
        tests_see: TESTKIT_AND_SIM,
        never: &["axum"],
    },
    // Who may do what is tried through the real router on a real store.
    Layer { name: "control", sees: &["service", "domain"], tests_see: &["testkit", "storage"], never: &[] },
    Layer { name: "service", sees: &["domain"], tests_see: TESTKIT, never: HTTP },
    Layer { name: "storage", sees: &["domain"], tests_see: TESTKIT, never: HTTP },
    Layer { name: "seal", sees: &["domain"], tests_see: TESTKIT, never: &[] },
    Layer { name: "notify", sees: &["domain"], tests_see: TESTKIT, never: &[] },
    Layer { name: "client", sees: &["domain"], tests_see: TESTKIT_AND_SIM, never: &[] },
    Layer {
        name: "upstream",
        sees: &["claude-wire", "domain"],
        tests_see: TESTKIT_AND_SIM,
        never: &["axum"],
    },
    Layer { name: "claude-sim", sees: &["claude-wire"], tests_see: TESTKIT, never: &[] },
    Layer { name: "testkit", sees: &["domain", "claude-wire", "claude-sim"], tests_see: &[], never: &[] },
    Layer { name: "domain", sees: &[], tests_see: &[], never: ASYNC_AND_HTTP },
    Layer { name: "claude-wire", sees: &[], tests_see: &[], never: ASYNC_AND_HTTP },
    Layer { name: "xtask", sees: &[], tests_see: &[], never: &[] },
];

/// One TLS stack and one door to cryptography, in every crate.
const NOWHERE: [&str; 5] = ["openssl", "native-tls", "ring", "reqwest", "rand"];
/// The only crates with a database driver: the stores, and what makes databases for their tests.
const SQL_CRATES: [&str; 2] = ["storage", "testkit"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `null` for a normal dependency.
    kind: Option<String>,
    /// Present for a crate of the workspace.
    path: Option<String>,
}

/// Reads the output of `cargo metadata --no-deps`.
pub fn check(metadata: &str) -> anyhow::Result<Vec<Violation>> {
    let metadata: Metadata = serde_json::from_str(metadata).context("cargo metadata")?;
    let mut found = Vec::new();
    for package in &metadata.packages {
        match LAYERS.iter().find(|layer| layer.name == short(&package.name)) {
            Some(layer) => check_package(package, layer, &mut found),
            None => found.push(violation(package, "is not in the table of layers".to_owned())),
        }
    }
    Ok(found)
}

fn check_package(package: &Package, layer: &Layer, found: &mut Vec<Violation>) {
    if !package.manifest_path.ends_with(&format!("{}/Cargo.toml", layer.name)) {
        found.push(violation(package, format!("stands in a folder that is not called {}", layer.name)));
    }
    for dependency in &package.dependencies {
        let complaint = match dependency.path {
            Some(_) => own_edge(layer, dependency),
            None => foreign_edge(layer, dependency),
        };
        found.extend(complaint.map(|what| violation(package, what)));
    }
}

fn own_edge(layer: &Layer, dependency: &Dependency) -> Option<String> {
    let target = short(&dependency.name);
    let for_tests = dependency.kind.as_deref() == Some("dev");
    let seen = layer.sees.contains(&target) || (for_tests && layer.tests_see.contains(&target));
    let kind = if for_tests { "in tests" } else { "in the product" };
    (!seen).then(|| format!("`{}` may not import `{target}` {kind}", layer.name))
}

fn foreign_edge(layer: &Layer, dependency: &Dependency) -> Option<String> {
    let name = dependency.name.as_str();
    if dependency.kind.as_deref() == Some("dev") {
        return None;
    }
    let misplaced = name == "sqlx" && !SQL_CRATES.contains(&layer.name);
    let banned = misplaced || NOWHERE.contains(&name) || layer.never.contains(&name);
    banned.then(|| format!("`{}` may not depend on the crate `{name}`", layer.name))
}

fn violation(package: &Package, what: String) -> Violation {
    let path = match short(&package.name) {
        "xtask" => "xtask/Cargo.toml".to_owned(),
        name => format!("crates/{name}/Cargo.toml"),
    };
    Violation { rule: Rule::Edge, path, line: 0, what: format!("{} {what}", package.name) }
}

fn short(name: &str) -> &str {
    name.strip_prefix("claviger-").unwrap_or(name)
}
