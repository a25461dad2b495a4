use super::*;

fn refused(text: &str) -> String {
    Declared::parse(Path::new("team.toml"), text.to_owned()).unwrap_err().message
}

#[test]
fn a_mistake_is_named_with_line_column_and_field() {
    let key = "[[key]]\nname = \"app\"\nworkspace = \"a\"\nowner = \"ann\"\n";
    for (text, place, expected) in [
        ("[[workspace]]\nname = \"a\"\nenviroment = \"x\"\n".to_owned(), "team.toml:3:1: ", "`enviroment`"),
        (
            "[[workspace]]\nname = \"a\"\nenvironment = \"prod\"\n".to_owned(),
            "team.toml:3:15: environment: ",
            "`production`",
        ),
        (format!("{key}expires_in = \"90\"\n"), "team.toml:5:14: expires_in: ", "expected 30m, 12h, 90d"),
        (format!("{key}hours = \"Fun\"\n"), "team.toml:5:9: hours: ", "Fun"),
        (
            format!("{key}allow_ip = [\"10.0.0.0/99\"]\n"),
            "team.toml:5:12: allow_ip: ",
            "not an address block",
        ),
        (format!("{key}models = [\n  \"a b\",\n]\n"), "team.toml:5:10: models: ", "not a model pattern"),
        (format!("{key}limits = {{ rpm = -1 }}\n"), "team.toml:5:18: rpm: ", "-1"),
        (format!("{key}{key}"), "team.toml:6:8: name: ", "the key `a/app` is declared twice"),
        ("[policy]\nmax_keys = 0\n".to_owned(), "team.toml:1:1: ", "max_keys: expected 1 to 1000000"),
        ("[[owner]]\nname = \"a\\tb\"\n".to_owned(), "team.toml:2:8: name: ", "letters, digits"),
        ("[[channel]]\nname = \"ops\"\n".to_owned(), "team.toml:2:8: name: ", "either `smtp` or `webhook`"),
        ("[[key]]\nname = \"app\"\n".to_owned(), "team.toml:1:1: ", "missing field `workspace`"),
        ("[[key]\n".to_owned(), "team.toml:1:", ""),
    ] {
        let got = refused(&text);
        assert!(got.starts_with(place) && got.contains(expected), "{text}\n{got}");
    }
}

#[test]
fn what_is_absent_is_not_said() {
    let said = Declared::parse(Path::new("x"), String::new()).unwrap().all;
    assert!(said.policy.is_none() && said.key.is_empty());
    let policy = PolicyTable { revoke_unused_days: Some(0), ..PolicyTable::default() };
    let over = policy.over(&Policy::default());
    assert_eq!(over, Policy { revoke_unused_days: None, ..Policy::default() });
}
