//! Each rule fires on what it forbids and stays silent on what it permits.

use super::*;

fn rules(path: &str, text: &str) -> Vec<Rule> {
    let source = Source::parse(path, text).unwrap();
    check_source(&source).into_iter().map(|violation| violation.rule).collect()
}

fn product(text: &str) -> Vec<Rule> {
    rules("crates/service/src/keys.rs", text)
}

fn lines(count: usize) -> String {
    "    step();\n".repeat(count)
}

#[test]
fn a_file_of_501_code_lines_is_too_long_and_500_are_not() {
    assert_eq!(product(&"const A: u8 = 1;\n".repeat(501)), [Rule::FileSize]);
    assert!(product(&"const A: u8 = 1;\n".repeat(500)).is_empty());
}

#[test]
fn comments_blank_lines_and_tests_do_not_count_as_code() {
    let padding = "/// Doc.\n// Comment.\n\n".repeat(300);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "const B: u8 = 1;\n".repeat(300));
    assert!(product(&format!("{padding}const A: u8 = 1;\n{tests}")).is_empty());
}

#[test]
fn a_string_over_many_lines_counts_each_of_them() {
    let text = format!("const A: &str = \"{}\";\n", "line\n".repeat(501));
    assert_eq!(product(&text), [Rule::FileSize]);
}

#[test]
fn a_function_of_81_code_lines_is_too_long_and_80_are_not() {
    assert_eq!(product(&format!("fn f() {{\n{}}}\n", lines(79))), [Rule::FunctionSize]);
    assert!(product(&format!("fn f() {{\n{}}}\n", lines(78))).is_empty());
    let method = format!("struct S;\nimpl S {{\n    fn f() {{\n{}    }}\n}}\n", lines(79));
    assert_eq!(product(&method), [Rule::FunctionSize]);
}

#[test]
fn a_sixth_parameter_is_one_too_many_and_self_counts() {
    assert_eq!(product("fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}"), [Rule::Parameters]);
    assert!(product("fn f(a: u8, b: u8, c: u8, d: u8, e: u8) {}").is_empty());
    let method = "trait T { fn f(&self, a: u8, b: u8, c: u8, d: u8, e: u8); }";
    assert_eq!(product(method), [Rule::Parameters]);
}

#[test]
fn a_fifth_level_is_too_deep() {
    let deep = "fn f() { for a in b { while c { if d { match e { F => loop {}, } } } } }";
    assert_eq!(product(deep), [Rule::Nesting]);
    let four = "fn f() { for a in b { while c { if d { match e { F => { g(); } } } } } }";
    assert!(product(four).is_empty());
}

#[test]
fn an_else_if_ladder_is_one_level() {
    let ladder = "fn f() { if a {} else if b {} else if c {} else if d {} else if e {} else {} }";
    assert!(product(ladder).is_empty());
}

#[test]
fn closures_and_async_blocks_are_levels() {
    let deep = "fn f() { g(|| { async { if a { if b { if c {} } } } }); }";
    assert_eq!(product(deep), [Rule::Nesting]);
}

#[test]
fn drawers_and_mod_files_are_refused_by_name() {
    assert_eq!(rules("crates/service/src/utils.rs", ""), [Rule::Name]);
    assert_eq!(rules("crates/service/src/common/keys.rs", ""), [Rule::Name]);
    assert_eq!(rules("crates/service/src/keys/mod.rs", ""), [Rule::Name]);
    assert!(rules("crates/service/src/manage.rs", "").is_empty());
}

#[test]
fn ambient_clocks_are_refused_however_they_are_imported() {
    assert_eq!(product("fn f() { std::time::SystemTime::now(); }"), [Rule::Clock]);
    assert_eq!(product("use std::time::Instant; fn f() { Instant::now(); }"), [Rule::Clock]);
    assert_eq!(product("use std::time::Instant as I; fn f() { I::now(); }"), [Rule::Clock]);
    assert_eq!(product("use jiff::Timestamp; fn f() { Timestamp::now(); }"), [Rule::Clock]);
    assert_eq!(product("fn f() { g.map(std::time::Instant::now); }"), [Rule::Clock]);
}

#[test]
fn tokios_clock_is_permitted_for_timers() {
    assert!(product("use tokio::time::Instant; fn f() { Instant::now(); }").is_empty());
    assert!(product("use tokio::time; fn f() { time::Instant::now(); }").is_empty());
}

#[test]
fn banned_calls_are_seen_inside_macros() {
    assert_eq!(product("fn f() { select! { _ = a => std::time::Instant::now() } }"), [Rule::Clock]);
    assert_eq!(product("fn f() { select! { _ = a => { tokio::spawn(b); } } }"), [Rule::Spawn]);
    assert!(product("fn f() { select! { _ = tokio::time::Instant::now() => {} } }").is_empty());
}

#[test]
fn a_task_without_an_owner_is_refused() {
    assert_eq!(product("fn f() { tokio::spawn(g()); }"), [Rule::Spawn]);
    assert_eq!(product("use tokio::task; fn f() { task::spawn(g()); }"), [Rule::Spawn]);
    assert!(product("fn f(tracker: &TaskTracker) { tracker.spawn(g()); }").is_empty());
}

#[test]
fn ambient_randomness_is_refused() {
    assert_eq!(product("fn f() { rand::thread_rng(); }"), [Rule::Randomness]);
    assert_eq!(product("use rand::rng; fn f() { rng(); }"), [Rule::Randomness]);
}

#[test]
fn banned_calls_in_tests_are_not_our_business() {
    let text = "#[cfg(test)] mod tests { #[test] fn f() { std::time::Instant::now(); } }";
    assert!(product(text).is_empty());
    let text = "fn f() { std::time::Instant::now(); }";
    assert!(rules("crates/service/src/keys/tests.rs", text).is_empty());
    assert!(rules("crates/server/tests/it/main.rs", text).is_empty());
}

#[test]
fn code_beside_not_test_is_product_code() {
    assert_eq!(product("#[cfg(not(test))] fn f() { std::time::Instant::now(); }"), [Rule::Clock]);
}

#[test]
fn sql_is_refused_outside_storage_only() {
    let text = "const KEY: &str = \"SELECT id\n FROM keys WHERE id = $1\";";
    assert_eq!(product(text), [Rule::Sql]);
    assert!(rules("crates/storage/src/keys.rs", text).is_empty());
    assert_eq!(product("fn f() { run!(\"DELETE FROM keys\"); }"), [Rule::Sql]);
    assert!(product("const HINT: &str = \"select a key from the list\";").is_empty());
}

#[test]
fn allow_is_refused_everywhere_and_expect_is_not() {
    let allow = "#[allow(dead_code)] fn f() {}";
    assert_eq!(product(allow), [Rule::Allow]);
    assert_eq!(rules("crates/server/tests/it/main.rs", allow), [Rule::Allow]);
    assert_eq!(product("#[cfg_attr(unix, allow(dead_code))] fn f() {}"), [Rule::Allow]);
    assert!(product("#[expect(dead_code, reason = \"allow later\")] fn f() {}").is_empty());
}

#[test]
fn files_declared_for_tests_are_tests() {
    let folder = tempfile::tempdir().unwrap();
    let sources = folder.path().join("crates/service/src/keys");
    std::fs::create_dir_all(&sources).unwrap();
    std::fs::write(sources.join("../keys.rs"), "#[cfg(test)]\nmod laws;\n").unwrap();
    std::fs::write(sources.join("laws.rs"), "fn f() { tokio::spawn(g()); }").unwrap();
    let found: Vec<Violation> =
        source::read_all(folder.path()).unwrap().iter().flat_map(check_source).collect();
    assert!(found.is_empty(), "{found:?}");
}

fn edge(package: &str, dependency: &str) -> Vec<Violation> {
    let folder = package.trim_start_matches("claviger-");
    let metadata = format!(
        r#"{{"packages":[{{"name":"{package}","manifest_path":"/x/{folder}/Cargo.toml","dependencies":[{dependency}]}}]}}"#
    );
    edges::check(&metadata).unwrap()
}

fn own(name: &str, kind: &str) -> String {
    format!(r#"{{"name":"claviger-{name}","kind":{kind},"path":"/x/{name}"}}"#)
}

fn foreign(name: &str, kind: &str) -> String {
    format!(r#"{{"name":"{name}","kind":{kind}}}"#)
}

#[test]
fn imports_point_down_only() {
    assert!(edge("claviger-gateway", &own("service", "null")).is_empty());
    assert_eq!(edge("claviger-service", &own("gateway", "null")).len(), 1);
    assert_eq!(edge("claviger-gateway", &own("control", "null")).len(), 1);
    assert_eq!(edge("claviger-service", &own("storage", "null")).len(), 1);
    assert_eq!(edge("claviger-domain", &own("claude-wire", "null")).len(), 1);
}

#[test]
fn testkit_is_seen_by_tests_only_and_not_by_the_domain() {
    assert!(edge("claviger-storage", &own("testkit", "\"dev\"")).is_empty());
    assert_eq!(edge("claviger-storage", &own("testkit", "null")).len(), 1);
    assert_eq!(edge("claviger-domain", &own("testkit", "\"dev\"")).len(), 1);
    assert!(edge("claviger-upstream", &own("claude-sim", "\"dev\"")).is_empty());
    assert_eq!(edge("claviger-upstream", &own("claude-sim", "null")).len(), 1);
}

#[test]
fn foreign_crates_stay_where_they_belong() {
    assert!(edge("claviger-storage", &foreign("sqlx", "null")).is_empty());
    assert_eq!(edge("claviger-server", &foreign("sqlx", "null")).len(), 1);
    assert_eq!(edge("claviger-domain", &foreign("tokio", "null")).len(), 1);
    assert!(edge("claviger-domain", &foreign("tokio", "\"dev\"")).is_empty());
    assert_eq!(edge("claviger-upstream", &foreign("openssl", "null")).len(), 1);
}

#[test]
fn a_crate_without_a_place_is_refused() {
    assert_eq!(edge("claviger-drawer", &foreign("serde", "null")).len(), 1);
}

#[test]
fn exceptions_excuse_their_file_and_complain_when_nobody_needs_them() {
    let text = "[[exception]]\nrule = \"clock\"\npath = \"a.rs\"\nreason = \"because\"\n";
    let exceptions = Exceptions::parse(text).unwrap();
    let violation =
        |path: &str| Violation { rule: Rule::Clock, path: path.into(), line: 1, what: "x".into() };
    assert!(exceptions.judge(vec![violation("a.rs")]).is_empty());
    assert_eq!(exceptions.judge(vec![violation("a.rs"), violation("b.rs")]).len(), 1);
    assert_eq!(exceptions.judge(Vec::new()), ["a.rs: [clock] this exception is no longer needed: strike it"]);
    let bare = text.replace("because", " ");
    assert_eq!(Exceptions::parse(&bare).unwrap().judge(vec![violation("a.rs")]).len(), 1);
}

#[test]
fn rule_names_are_those_of_the_exceptions_file() {
    for rule in [Rule::Edge, Rule::FileSize, Rule::FunctionSize, Rule::Randomness] {
        let text = format!("[[exception]]\nrule = \"{rule}\"\npath = \"a\"\nreason = \"r\"\n");
        assert!(Exceptions::parse(&text).is_ok(), "{rule}");
    }
}
